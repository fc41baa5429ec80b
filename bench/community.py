"""Pages of the community: each under row level security against the same without, and at full size against a tenth.

Both databases are on one server and asked in turn, through PostgREST, with tokens of fifty members in rotation.
"Without" is the same request of the same member (the same claims) under service_role, which no policy holds back; where
a function filters by itself, its own text without the lines that filter (TWINS). Both must give the same rows, so what
is compared is what asking costs, not what is hidden.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import jwt
import psycopg

from bench import population
from bench.core import Request, Result, alternate, http_rate
from stack.cluster import Cluster
from stack.services import Services

LARGE = 10_000  # Rows from which a sequential scan is a mistake.
SECONDS, ROUNDS = 1.0, 9  # Many short turns: what disturbs a shared machine lasts longer than one.

POST = "id,content,post_type,likes_count,comments_count,shares_count,created_at"
AUTHOR = "username,display_name,avatar_url"
LATEST = "order=created_at.desc,id.desc&limit=20"


@dataclass(frozen=True)
class Page:
    """A request a frontend makes: `path` for the n-th request at a scale, and what it is without filtering."""

    name: str
    path: Callable[[int, float], str]
    unfiltered: Callable[[str], str] = lambda path: path


def _profile(n: int, scale: float) -> str:
    embedded = f"posts!user_id({POST})&posts.group_id=is.null&posts.order=created_at.desc,id.desc&posts.limit=20"
    about = "id,username,display_name,bio,avatar_url,banner_url,followers_count,following_count"
    return f"/profiles?id=eq.{population.shown_id(n, scale)}&select={about},{embedded}"


def _group(n: int, scale: float) -> str:
    embedded = (
        f"posts!group_id({POST},author:profiles!user_id({AUTHOR}))&posts.order=created_at.desc,id.desc&posts.limit=20"
    )
    about = "id,name,slug,description,rules,visibility,members_count,posts_count"
    return f"/groups?slug=eq.group-{population.group_of(n, scale)}&select={about},{embedded}"


def _notifications(n: int, scale: float) -> str:
    # The filter is implied under row level security and says the same without it.
    return (
        f"/notifications?user_id=eq.{population.member_id(n, scale)}"
        f"&select=id,type,title,message,link_url,is_read,created_at,actor:profiles!actor_id({AUTHOR})&{LATEST}"
    )


def _search(n: int, scale: float) -> str:
    # Every other one is a word of many posts, the others each of a few.
    word = population.COMMON_WORD if n % 2 else population.rare_word(n // 2 % population.RARE_WORDS)
    return f"/rpc/search_posts?query={word}&select={POST},author:profiles!user_id({AUTHOR})"


def _twin(name: str) -> Callable[[str], str]:
    return lambda path: path.replace(f"/rpc/{name}", f"/rpc/{name}_unfiltered")


PAGES = (
    Page("feed", lambda n, scale: f"/rpc/feed?select={POST},author:profiles!user_id({AUTHOR})", _twin("feed")),
    Page("profile_page", _profile),
    Page("group_page", _group),
    Page("inbox", lambda n, scale: "/rpc/inbox?max_rows=20", _twin("inbox")),
    Page("unread", lambda n, scale: "/rpc/unread_counts", _twin("unread_counts")),
    Page("notifications", _notifications),
    Page("post_search", _search, _twin("search_posts")),
)

MEMBER = ("private.require_member()", "auth.uid()")
# What each definer's function does to filter, and what is left without it. A snippet that is not there any more fails.
TWINS: dict[str, list[tuple[str, str]]] = {
    "feed": [
        (
            "private.viewer()",
            "row(auth.uid(), false, '{}', array(select m.group_id from public.group_members as m "
            "where m.user_id = auth.uid() and m.status = 'active'))",
        ),
        ("where f.follower_id = me.id and f.following_id <> all (me.blocked)", "where f.follower_id = me.id"),
        ("and (p.audience = 'group' and p.user_id <> all (me.blocked) or p.user_id = me.id)", ""),
    ],
    "inbox": [
        MEMBER,
        ("array(select private.blocked_ids())", "'{}'"),
        ("and f.deleted_at is null and not f.is_banned and f.profile_visibility <> 'private'", ""),
        ("and f.id <> all (blocked)", ""),
    ],
    "unread_counts": [MEMBER],
    "search_posts": [
        ("private.viewer()", "row(auth.uid(), false, '{}', '{}')"),
        (
            "and ( ( ( p.audience in ('public', 'members') or p.audience = 'group' and p.group_id = any (me.groups) ) "
            "and p.user_id <> all (me.blocked) ) or p.user_id = me.id or me.is_admin )",
            "",
        ),
    ],
}


def prepare(url: str) -> None:
    """Add the functions without filters to a filled database, which nothing but a measurement uses."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name, changes in TWINS.items():
            row = connection.execute(
                "select pg_get_functiondef(p.oid), pg_get_function_identity_arguments(p.oid) from pg_proc as p "
                "where p.pronamespace = 'public'::regnamespace and p.proname = %s",
                (name,),
            ).fetchone()
            assert row is not None
            text = " ".join(row[0].replace(f"public.{name}(", f"public.{name}_unfiltered(").split())
            # Comments would swallow the rest of the one line.
            assert "--" not in text, f"{name}() has comments in its body now"
            text = text.replace("all(", "all (").replace("any(", "any (")
            for given, left in changes:
                assert given in text, f"{name}() does not say {given!r} any more: see bench/community.py"
                text = text.replace(given, left)
            connection.execute(text)
            kinds = connection.execute(
                "select p.oid::regprocedure::text from pg_proc as p where p.proname = %s", (f"{name}_unfiltered",)
            ).fetchone()
            assert kinds is not None
            connection.execute(f"grant execute on function {kinds[0]} to service_role")  # type: ignore[arg-type]
        connection.execute("notify pgrst, 'reload schema'")


class Town:
    """One filled database with its Data API."""

    def __init__(self, cluster: Cluster, database: str, scale: float, root: Path) -> None:
        self.cluster, self.database, self.scale = cluster, database, scale
        prepare(cluster.url(database, "supabase_admin"))
        self.services = Services(cluster, database, root)
        self.services.start(["rest"])
        self.http = httpx.Client(timeout=60)
        self.tokens = {
            role: [self._token(population.member_id(n, scale), role) for n in range(population.MEASURED)]
            for role in ("authenticated", "service_role")
        }

    def _token(self, member: str, role: str) -> str:
        # The same claims under the other role: tokens of one length take one time to read.
        claims = {"sub": member, "aud": "authenticated", "exp": int(time.time()) + 86_400, "role": role}
        # As Auth issues it, so that its length is a real one's.
        claims |= {"email": f"{member}@example.com", "session_id": member, "aal": "aal1", "is_anonymous": False}
        return jwt.encode(claims, self.services.jwt_secret, "HS256")

    def request(self, page: Page, role: str = "authenticated") -> Request:
        """The n-th request of a page, of the n-th member, as raw bytes."""
        host = urlsplit(self.services.rest_url).netloc
        count = population.MEASURED * population.RARE_WORDS
        raw = []
        for n in range(count):
            path = page.path(n, self.scale)
            path = page.unfiltered(path) if role == "service_role" else path
            token = self.tokens[role][n % population.MEASURED]
            raw.append(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        return lambda number: raw[number % count]

    def rows(self, page: Page, n: int, role: str) -> list[dict[str, object]]:
        """What the n-th request of a page answers."""
        path = page.path(n, self.scale)
        path = page.unfiltered(path) if role == "service_role" else path
        token = self.tokens[role][n % population.MEASURED]
        answer = self.http.get(f"{self.services.rest_url}{path}", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, f"{page.name}: {answer.status_code} {answer.text[:300]}"
        body = answer.json()
        return body if isinstance(body, list) else [body]

    def check(self, page: Page, members: int = population.MEASURED) -> None:
        """Every member gets a full page, and the same one without row level security."""
        for n in range(members):
            mine, all_rows = (self.rows(page, n, role) for role in ("authenticated", "service_role"))
            assert mine == all_rows, f"{page.name} of member {n} differs without row level security"
            shown = mine[0].get("posts", mine)
            wanted = 1 if page.name == "unread" else 20
            assert isinstance(shown, list), shown
            assert len(shown) == wanted, f"{page.name} of member {n} has {len(shown)} rows instead of {wanted}"
            assert page.name != "unread" or all(mine[0].values()), f"member {n} has read everything"

    def scans(self) -> dict[str, int]:
        """How often each large table was read from end to end so far."""
        with self.cluster.connect(self.database) as connection:
            rows = connection.execute(
                "select s.relname, s.seq_scan from pg_stat_user_tables as s "
                "inner join pg_class as c on c.oid = s.relid "
                "where c.reltuples > %s and s.schemaname in ('public', 'private')",
                (LARGE,),
            )
            return dict(rows.fetchall())

    def check_plans(self, page: Page) -> None:
        """No request of the page reads a large table from end to end."""
        before = self.scans()
        for n in range(population.MEASURED):
            self.rows(page, n, "authenticated")
        # Backends report what they did with the first transaction after a second.
        time.sleep(1.1)
        for n in range(2 * population.MEASURED):
            self.rows(page, n, "authenticated")
        after = self.scans()
        read = {name: after[name] - before[name] for name in before if after[name] > before[name]}
        if read:
            raise SystemExit(f"{page.name}: sequential scans of large tables: {json.dumps(read)}")

    def rate(self, page: Page, role: str = "authenticated") -> Callable[[], float]:
        """Measures pages a second."""
        request, url = self.request(page, role), self.services.rest_url
        return lambda: http_rate(url, request, seconds=SECONDS)

    def stop(self) -> None:
        """Stop the Data API."""
        self.http.close()
        self.services.stop()


def rls(town: Town, page: Page) -> Result:
    """Times are inverse rates, so the ratio of times is the inverse ratio of rates."""
    town.check(page)
    town.check_plans(page)
    value, ratio = alternate(town.rate(page), town.rate(page, "service_role"), ROUNDS)
    return Result(f"{page.name}_rls", value, "pages/s", 1 / ratio, "time of the same without RLS", "<= 1.15")


def growth(town: Town, tenth: Town, page: Page) -> Result:
    """The same page with ten times as many people, posts and groups around it."""
    tenth.check(page)
    value, ratio = alternate(town.rate(page), tenth.rate(page), ROUNDS)
    return Result(f"{page.name}_growth", value, "pages/s", 1 / ratio, "time with a tenth of the data", "<= 1.3")

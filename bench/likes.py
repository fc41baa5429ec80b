"""[hot_likes_16] and [hot_likes_1]: likes on one hot post, against the plain trigger that counts up the post's row.

Two databases, one a copy of the other; in the copy only the trigger that counts is replaced. Everything else a like
does (keys, foreign keys, the notification) it does in both. Each round has a post of its own, each like another member.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import psycopg

from bench.core import Result, alternate, pgbench
from stack.cluster import Cluster

PEOPLE = 120_000
POSTS = 100
SECONDS = 3
ROUNDS = 7
POST = "'00000000-0000-4000-8000-' || lpad(({})::text, 12, '0')"

FILL = f"""
set session_replication_role = replica;
insert into public.profiles (id, username) select gen_random_uuid(), 'fan' || n from generate_series(1, {PEOPLE}) as n;
insert into public.profile_settings (user_id) select p.id from public.profiles as p;
insert into public.posts (id, user_id, content, author_audience, search)
select ({POST.format("n")})::uuid, (select p.id from public.profiles as p limit 1), 'Hot', 'public', ''
from generate_series(1, {POSTS}) as n;
reset session_replication_role;
create schema bench;
create table bench.fans as
select row_number() over () as n, p.id from public.profiles as p
where p.id <> (select o.user_id from public.posts as o limit 1);
create unique index on bench.fans (n);
create sequence bench.next_fan;
"""  # noqa: S608

# What everybody writes first.
PLAIN = """
drop trigger count_inserted on public.post_likes;
drop trigger count_deleted on public.post_likes;
create function bench.count_like() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    if tg_op = 'INSERT' then
        update public.posts set likes_count = likes_count + 1 where id = new.post_id;
    else
        update public.posts set likes_count = likes_count - 1 where id = old.post_id;
    end if;
    return null;
end $$;
create trigger count_like after insert or delete on public.post_likes for each row execute function bench.count_like();
"""

LIKE = """
insert into public.post_likes (post_id, user_id)
select '{post}', f.id from bench.fans as f where f.n = (select nextval('bench.next_fan'));
"""


class Likes:
    """Both databases on a cluster; `source` has the schema and nobody in it."""

    def __init__(self, cluster: Cluster, source: str) -> None:
        self.urls = {}
        self.rounds = 0
        self.script = Path(tempfile.mkdtemp()) / "like.sql"
        for name in (source, f"{source}_plain"):
            if name != source:
                cluster.create_database(name, source)
            self.urls[name] = cluster.url(name, "supabase_admin")
            with psycopg.connect(self.urls[name], autocommit=True) as connection:
                connection.execute(FILL if name == source else PLAIN)
                connection.execute("vacuum analyze")
        self.ours, self.plain = self.urls.values()

    def _round(self, url: str, clients: int) -> float:
        """Likes per second; the post then says exactly how many there were, and nothing is left to be added."""
        self.rounds += 1
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(f"select ({POST.format(self.rounds % POSTS + 1)})").fetchone()  # type: ignore[arg-type]
            assert row is not None
            self.script.write_text(LIKE.format(post=row[0]))
            connection.execute("select setval('bench.next_fan', 1)")
            connection.execute("truncate public.post_likes")
            connection.execute("vacuum public.posts, private.pending_counts")
            rate = pgbench(url, "-M", "prepared", "-f", self.script, seconds=SECONDS, clients=clients)
            counted, likes, pending = connection.execute(
                "select p.likes_count, (select count(*) from public.post_likes as l where l.post_id = p.id), "
                "(select count(*) from private.pending_counts) from public.posts as p where p.id = %s",
                (row[0],),
            ).fetchone()  # type: ignore[misc]
            connection.execute("update public.posts set likes_count = 0 where id = %s", (row[0],))
        if counted != likes or pending or likes < rate * SECONDS * 0.9:
            raise SystemExit(f"hot likes: {counted} counted, {likes} rows, {pending} pending, {rate:.0f} a second")
        return rate

    def measure(self, clients: int, goal: str) -> Result:
        """Ours against plain, in turns."""
        value, ratio = alternate(
            lambda: self._round(self.ours, clients), lambda: self._round(self.plain, clients), ROUNDS
        )
        against = "update … set likes_count = likes_count + 1"
        return Result(f"hot_likes_{clients}", value, "likes/s", ratio, against, goal)

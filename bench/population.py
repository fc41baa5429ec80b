"""A community to measure in: `python -m bench.population <database url> [--scale 1.0]`.

At scale 1.0 there are 100,000 profiles, 1,000,000 posts, some 3,000,000 likes and 2,000,000 follows, and comments,
groups, conversations and notifications to match. The database has the schema and nobody in it yet; the URL is the
bootstrap superuser's, because row triggers and foreign keys are passed by. What triggers derive is then set by
statements over whole tables, and `load` ends by recounting every counter: it raises if one is wrong.

The same scale and the same schema give the same rows. A smaller scale has fewer people, groups and posts, but each
person has as much as at full size: growth adds people, not follows or messages per person.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import random
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

PEOPLE, POSTS, GROUPS = 100_000, 1_000_000, 2_000
MEASURED = 50  # Members whose pages are measured,
SHOWN = 50  # and authors whose profiles they look at.
RARE_WORDS, RARE_POSTS = 20, 40  # Planted words, and how many posts have each; whatever the scale.
SHARED = 20  # Posts to a text: reading a text for its search vector is the longest part of writing a post.
SEED = 20_250_601
BULK = (
    "posts", "post_likes", "follows", "comments", "group_members", "messages", "conversation_participants",
    "inbox_entries", "notifications",
)  # fmt: skip

# People are numbers; ids are made from them, so that nothing has to be looked up. u() is chance without a state.
# Odd people may be private, banned or blocked; only even ones write in groups and to others. So nothing that a measured
# member's page shows is hidden from them, and the same page without row level security has the same rows.
TOOLS = """
create schema population;
create function population.id(kind text, n bigint) returns uuid language sql immutable as
$$ select md5(kind || n::text)::uuid $$;
create function population.u(n bigint, salt bigint) returns double precision language sql immutable as
$$ select ((hashint8extended(n, salt) & 1073741823) + 1) / 1073741825.0 $$;
create function population.at(n bigint, salt bigint) returns timestamptz language sql immutable as
$$ select timestamptz '2025-06-01 00:00+00' - population.u(n, salt) * interval '365 days' $$;
create unlogged table population.texts (place integer primary key, content text, search tsvector);
create unlogged table population.drafts (
    n bigint, author integer, group_number integer, created_at timestamptz, place integer, word text
);
"""

READ = """
update population.texts set search = private.search_vector(null, '{}', content)
where place >= %(first)s and place < %(last)s
"""

PROFILES = """
insert into public.profiles (
    id, username, display_name, bio, profile_visibility, is_banned, created_at, is_confirmed
)
select
    population.id('person', n), 'person' || n, 'Person ' || n, t.content,
    case
        when n > %(people)s - 100 or n %% 2 = 0 and population.u(n, 1) < 0.8 then 'public'
        when n %% 2 = 0 then 'members_only'
        when population.u(n, 1) < 0.06 then 'private'
        else 'public'
    end::public.profile_visibility,
    n %% 2 = 1 and n <= %(people)s - 100 and population.u(n, 2) < 0.01,
    population.at(n, 3), true
from generate_series(1, %(people)s) as n
inner join population.texts as t on t.place = n %% 5000;
insert into public.profile_settings (user_id)
select population.id('person', n) from generate_series(1, %(people)s) as n;
insert into public.bans (user_id, reason) select p.id, 'Measured' from public.profiles as p where p.is_banned;
insert into public.user_blocks (blocker_id, blocked_id)
select
    population.id('person', n),
    population.id('person', 1 + 2 * floor(population.u(n * 8 + k, 4) * (%(people)s / 2 - 60))::bigint)
from generate_series(2, %(people)s, 2) as n
cross join generate_series(1, case when n > %(people)s - 50 then 3 when n %% 8 = 0 then 1 else 0 end) as k
on conflict do nothing
"""

MEMBERS = """
insert into public.groups (id, owner_id, name, slug, description, visibility, post_approval_required)
select
    population.id('group', n), population.id('person', 2 * n), 'Group ' || n, 'group-' || n, t.content,
    case when n %% 20 = 0 then 'secret' when n %% 5 = 0 then 'private' else 'public' end::public.group_visibility,
    n %% 3 = 0
from generate_series(1, %(groups)s) as n
inner join population.texts as t on t.place = n %% 5000;
insert into public.group_members (group_id, user_id, role, status, joined_at)
select population.id('group', n), population.id('person', 2 * n), 'owner', 'active', population.at(n, 11)
from generate_series(1, %(groups)s) as n;
-- 20 to some hundred members each; measured people are in ten groups each.
insert into public.group_members (group_id, user_id, status, joined_at)
select
    population.id('group', m.g), population.id('person', m.person), m.status::public.group_member_status,
    case m.status when 'active' then population.at(m.g, m.person) end
from (
    select 1 + (person * 7 + k * 13) %% %(groups)s as g, person, 'active' as status
    from generate_series(%(people)s - 49, %(people)s) as person
    cross join generate_series(1, 10) as k
    union all
    select
        g, 2 * (1 + floor(population.u(g * 10000 + k, 12) * (%(people)s / 2 - 60)))::bigint as person,
        case when k %% 15 = 0 then 'pending' else 'active' end
    from generate_series(1, %(groups)s) as g
    cross join generate_series(1, least(500, 20 + (10 / population.u(g, 13))::integer)) as k
) as m
on conflict do nothing
"""

# Popular people have more followers: the third power of chance. Measured members follow a hundred and fifty.
FOLLOWS = """
insert into public.follows (follower_id, following_id, created_at)
select population.id('person', f.person), population.id('person', f.other), population.at(f.person * 1000 + f.k, 21)
from (
    select n as person, k, 1 + floor(power(population.u(n * 1000 + k, 22), 3) * (%(people)s - 100))::bigint as other
    from generate_series(1, %(people)s) as n
    cross join generate_series(1, case when n > %(people)s - 50 then 150 else 21 end) as k
) as f
where
    f.person <> f.other and f.person > %(first)s and f.person <= %(last)s
    and not exists (
        select from public.user_blocks as b
        where
            b.blocker_id = population.id('person', f.person) and b.blocked_id = population.id('person', f.other)
            or b.blocked_id = population.id('person', f.person) and b.blocker_id = population.id('person', f.other)
    )
on conflict do nothing
"""

# Most posts are liked by nobody or by a few, some by thousands.
LIKES = """
insert into public.post_likes (post_id, user_id, created_at)
select population.id('post', l.n), population.id('person', l.person), population.at(l.n * 5000 + l.k, 31)
from (
    select n, k, 1 + floor(population.u(n * 5000 + k, 32) * %(people)s)::bigint as person
    from generate_series(%(first)s + 1, %(last)s) as n
    cross join generate_series(1, least(floor(0.36 / population.u(n, 33)), 4000, %(people)s / 4)::integer) as k
) as l
on conflict do nothing
"""

COMMENTS = """
insert into public.comments (id, user_id, post_id, content, author_audience, created_at)
select
    population.id('comment', c.n * 100 + c.k), a.id, population.id('post', c.n), t.content, private.author_audience(a),
    population.at(c.n * 100 + c.k, 41)
from (
    select n, k, 1 + floor(population.u(n * 100 + k, 42) * %(people)s)::bigint as person
    from generate_series(%(first)s + 1, %(last)s) as n
    cross join generate_series(1, least(floor(0.08 / population.u(n, 43)), 60)::integer) as k
) as c
inner join public.profiles as a on a.id = population.id('person', c.person)
inner join population.texts as t on t.place = c.n %% 5000
"""

# Written in the order of time, so that an author's posts lie as far apart as in a table that grew.
WRITE = """
insert into public.posts (
    id, user_id, group_id, content, author_audience, search, likes_count, comments_count, is_approved, created_at
)
select
    population.id('post', d.n), a.id, population.id('group', d.group_number), concat_ws(' ', d.word, t.content),
    private.author_audience(a),
    case when d.word is null then t.search else private.search_vector(null, '{}', d.word || ' ' || t.content) end,
    coalesce(l.likes, 0), coalesce(c.comments, 0), true, d.created_at
from (
    select * from population.drafts as d where d.n > %(first)s and d.n <= %(last)s
) as d
inner join population.texts as t on t.place = d.place
inner join public.profiles as a on a.id = population.id('person', d.author)
left join (select post_id, count(*) as likes from public.post_likes group by post_id) as l
    on l.post_id = population.id('post', d.n)
left join (
    select post_id, count(*) as comments from public.comments where audience <> 'owner' group by post_id
) as c on c.post_id = population.id('post', d.n)
order by d.created_at
"""

# Half a conversation per person and at least thirty for each measured one; one in ten is a group chat of five. In one
# of five some have not read the last four messages.
TALKS = """
create unlogged table population.talks as
with pairs as (
    select
        n, n %% 10 = 0 as is_group,
        2 * (1 + floor(population.u(n, 51) * (%(people)s / 2 - 60)))::bigint as person
    from generate_series(1, %(people)s / 2) as n
    union all
    select 1000000 + person * 100 + k, k %% 10 = 0, person
    from generate_series(%(people)s - 48, %(people)s, 2) as person cross join generate_series(1, 30) as k
    union all
    select 1000000 + person * 100 + k, k %% 10 = 0, person
    from generate_series(%(people)s - 49, %(people)s, 2) as person cross join generate_series(1, 30) as k
)
select
    p.n, population.id('talk', p.n) as id, p.is_group, p.person, w.people, w.people[1] as other,
    (8 + floor(24 * population.u(p.n, 52)))::integer as messages, case when p.n %% 5 = 0 then 4 else 0 end as unread,
    population.at(p.n, 53) as started_at
from pairs as p
cross join lateral (
    select array_agg(distinct 2 * (1 + floor(population.u(p.n * 10 + k, 54) * (%(people)s / 2 - 60)))::bigint) as people
    from generate_series(1, case when p.is_group then 4 else 1 end) as k
    where 2 * (1 + floor(population.u(p.n * 10 + k, 54) * (%(people)s / 2 - 60)))::bigint <> p.person
) as w
where w.people is not null;
insert into public.conversations (
    id, is_group, group_name, created_by, low_id, high_id, last_number, last_message_at, created_at
)
select
    t.id, t.is_group, case when t.is_group then 'Chat ' || t.n end, population.id('person', t.person),
    case when not t.is_group then least(population.id('person', t.person), population.id('person', t.other)) end,
    case when not t.is_group then greatest(population.id('person', t.person), population.id('person', t.other)) end,
    t.messages, t.started_at + t.messages * interval '1 hour', t.started_at
from population.talks as t
on conflict do nothing;
delete from population.talks as t where not exists (select from public.conversations as c where c.id = t.id);
insert into public.conversation_participants (conversation_id, user_id, is_manager, last_read_number, joined_at)
select
    t.id, population.id('person', p.person), t.is_group and p.person = t.person,
    t.messages - case when p.person = t.person then t.unread else 0 end, t.started_at
from population.talks as t
cross join lateral unnest(t.person || t.people) as p (person);
insert into public.messages (
    id, conversation_id, number, sender_id, content, is_read, read_at, created_at
)
select
    population.id('message', t.n * 100 + k), t.id, k,
    population.id('person', (t.person || t.people)[1 + k %% (1 + cardinality(t.people))]), x.content,
    k <= t.messages - t.unread, case when k <= t.messages - t.unread then t.started_at + k * interval '1 hour' end,
    t.started_at + k * interval '1 hour'
from population.talks as t
cross join generate_series(1, t.messages) as k
inner join population.texts as x on x.place = (t.n + k) %% 5000;
insert into public.inbox_entries (
    user_id, conversation_id, is_group, first_number, unread_count, last_message_at, last_message_preview
)
select
    p.user_id, t.id, t.is_group, 1,
    (
        select count(*) from generate_series(p.last_read_number + 1, t.messages) as k
        where population.id('person', (t.person || t.people)[1 + k %% (1 + cardinality(t.people))]) <> p.user_id
    ),
    t.started_at + t.messages * interval '1 hour', private.message_preview(x.content, '{}')
from population.talks as t
inner join public.conversation_participants as p on p.conversation_id = t.id
inner join population.texts as x on x.place = (t.n + t.messages) %% 5000
"""

NOTIFICATIONS = """
insert into public.notifications (
    id, user_id, type, title, message, link_url, actor_id, related_type, related_id, is_read, read_at, created_at
)
select
    population.id('notification', i.n * 100 + i.k), population.id('person', i.n), t.type, t.title, t.message,
    '/posts/' || i.post,
    population.id('person', 2 * (1 + floor(population.u(i.n * 100 + i.k, 61) * (%(people)s / 2 - 60)))::bigint),
    'post', i.post, i.k %% 4 <> 0, case when i.k %% 4 <> 0 then i.at end, i.at
from (
    select
        n, k, population.at(n * 100 + k, 62) as at,
        population.id('post', 1 + floor(population.u(n * 100 + k, 63) * %(posts)s)::bigint) as post
    from generate_series(1, %(people)s) as n
    cross join generate_series(1, case when n > %(people)s - 50 then 60 else 10 end) as k
) as i
inner join private.notification_types as t
    on t.type = case i.k %% 2 when 0 then 'comment' else 'like' end
on conflict do nothing
"""

INDEXES = """
select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
from pg_index as i
where
    i.indrelid = any(%s::regclass[])
    and not exists (select from pg_constraint as c where c.conindid = i.indexrelid)
    -- Unique ones tell the inserts below what to skip.
    and not i.indisunique
"""


def sizes(scale: float) -> dict[str, int]:
    """How many people, posts and groups there are at a scale; people are an even number."""
    people = max(1000, round(PEOPLE * scale / 2) * 2)
    posts = max(people * 10, round(POSTS * scale))
    return {
        "people": people, "posts": posts, "groups": max(20, round(GROUPS * scale)), "texts": max(5000, posts // SHARED)
    }  # fmt: skip


class Texts:
    """Sentences from 20,000 words whose frequencies fall as in a language (Zipf)."""

    def __init__(self, chance: random.Random) -> None:
        syllables = [c + v + e for c in "bdfgklmnprstvz" for v in "aeiou" for e in ("", "n", "r", "l", "s", "t")]
        words = sorted({"".join(chance.choices(syllables, k=chance.randint(2, 3))) for _ in range(24_000)})
        words = chance.sample(words, min(20_000, len(words)))
        # One long text, of which every text is a stretch.
        self.stream = chance.choices(words, [1 / (n + 10) for n in range(len(words))], k=500_000)
        self.chance = chance

    def text(self) -> str:
        """Some eight to thirty words."""
        start = int(self.chance.random() * 499_900)
        return " ".join(self.stream[start : start + 8 + int(self.chance.random() * 22)])


def drafts(size: dict[str, int], chance: random.Random) -> list[tuple[int, int, int | None, int, str | None]]:
    """(number, author, group, place of its text, planted word before it) of every post.

    One in five is written in a group, by an even person. The shown authors have sixty each and the measured people
    forty; of the others a few write hundreds and most a few. Rare words and a common one are planted in posts everybody
    may read.
    """
    people, posts = size["people"], size["posts"]
    in_groups = posts // 5
    authors = [n for n in range(people - 99, people - 49) for _ in range(60)]
    authors += [n for n in range(people - 49, people + 1) for _ in range(40)]
    room = posts - in_groups - len(authors)
    for n in range(1, people - 99):
        authors += [n] * min(500, int(1.2 / (chance.random() + 1e-9)))
    others = authors[100 * 50 :]
    chance.shuffle(others)
    others = others[:room]
    others += [1 + int(chance.random() * (people - 100)) for _ in range(room - len(others))]
    authors = authors[: 100 * 50] + others
    rows: list[tuple[int, int, int | None, int, str | None]] = [
        (n, a, None, int(chance.random() * size["texts"]), None) for n, a in enumerate(authors, 1)
    ]
    half = people // 2 - 60
    for n in range(len(rows) + 1, posts + 1):
        # Groups are of different liveliness; all have enough for a page.
        group = 1 + n % size["groups"] if n % 2 else 1 + int(chance.random() ** 1.5 * size["groups"])
        rows.append((n, 2 * (1 + int(chance.random() * half)), group, int(chance.random() * size["texts"]), None))
    # The posts of shown authors, who are public and blocked by nobody, and of even people.
    readable = [i for i, row in enumerate(rows) if row[2] is None and (row[1] % 2 == 0 or row[1] > people - 100)]
    planted = chance.sample(readable, RARE_WORDS * RARE_POSTS)
    for number, i in enumerate(planted):
        rows[i] = (*rows[i][:4], rare_word(number % RARE_WORDS))
    for i in chance.sample(readable, len(readable) // 50):
        rows[i] = (*rows[i][:4], " ".join(filter(None, (COMMON_WORD, rows[i][4]))))
    return rows


COMMON_WORD = "xylophone"


def rare_word(number: int) -> str:
    """The planted word of this number, in no other text."""
    return f"quixotic{chr(97 + number)}w"


def member_id(number: int, scale: float) -> str:
    """Id of the number-th measured member (from 0), at the same place at every scale."""
    return _id("person", sizes(scale)["people"] - number % MEASURED)


def shown_id(number: int, scale: float) -> str:
    """Id of the number-th author whose profile is looked at."""
    return _id("person", sizes(scale)["people"] - MEASURED - number % SHOWN)


def group_of(number: int, scale: float) -> int:
    """A group, by its number in `group-<n>`, that the number-th measured member is in."""
    size = sizes(scale)
    return 1 + ((size["people"] - number % MEASURED) * 7 + 13) % size["groups"]


def _id(kind: str, number: int) -> str:
    return str(uuid.UUID(hashlib.md5(f"{kind}{number}".encode(), usedforsecurity=False).hexdigest()))


def load(url: str, scale: float = 1.0, quiet: bool = False) -> None:
    """Fill the database and prove the counters; see the module. `url` is the bootstrap superuser's."""
    size = sizes(scale)

    def connect() -> psycopg.Connection:
        connection = psycopg.connect(url, autocommit=True)
        # As a restore does: triggers and foreign keys stay quiet, and a crash means to begin again.
        connection.execute("set session_replication_role = replica")
        connection.execute("set synchronous_commit = off")
        connection.execute("set work_mem = '64MB'")
        connection.execute("set maintenance_work_mem = '512MB'")
        return connection

    columns = (TextColumn("{task.description:24}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=quiet) as progress, connect() as admin, ThreadPoolExecutor(2) as two:

        def filled(statement: str, **bounds: int) -> bytes:
            # Products of numbers are ids and seeds, larger than an integer.
            return (statement % {name: f"{value}::bigint" for name, value in {**size, **bounds}.items()}).encode()

        def step(name: str, statements: str) -> None:
            task = progress.add_task(name, total=None)
            for statement in statements.split(";\n"):
                admin.execute(filled(statement))
            progress.update(task, total=1, completed=1)

        def in_parts(name: str, statement: str, count: int, parts: int = 8) -> None:
            """The statement over (first, last] for each part of count, two at a time."""
            bounds = [count * i // parts for i in range(parts + 1)]
            spread(
                name,
                [
                    lambda c, first=first, last=last: c.execute(filled(statement, first=first, last=last))
                    for first, last in itertools.pairwise(bounds)
                ],
            )

        def spread(name: str, work: list[Callable[[psycopg.Connection], object]]) -> None:
            task = progress.add_task(name, total=len(work))

            def one(job: Callable[[psycopg.Connection], object]) -> None:
                with connect() as connection:
                    job(connection)
                progress.advance(task)

            list(two.map(one, work))

        admin.execute("drop schema if exists population cascade")
        step("tools", TOOLS)
        indexes = admin.execute(INDEXES, ([f"public.{name}" for name in BULK],)).fetchall()
        for name, _ in indexes:
            admin.execute(f"drop index {name}")  # type: ignore[arg-type]

        task = progress.add_task("texts", total=None)
        texts = Texts(random.Random(SEED))
        with admin.cursor().copy("copy population.texts (place, content) from stdin") as copy:
            for n in range(size["texts"]):
                copy.write_row((n, texts.text()))
        with admin.cursor().copy("copy population.drafts (n, author, group_number, place, word) from stdin") as copy:
            for row in drafts(size, texts.chance):
                copy.write_row(row)
        admin.execute("update population.drafts set created_at = population.at(n, 71)")
        admin.execute("create index on population.drafts (n)")
        admin.execute("analyze population.texts, population.drafts")
        progress.update(task, total=1, completed=1)

        in_parts("words", READ, size["texts"])
        step("people", PROFILES)
        step("groups", MEMBERS)
        admin.execute("analyze public.profiles, public.user_blocks")
        in_parts("follows", FOLLOWS, size["people"])
        in_parts("likes", LIKES, size["posts"])
        in_parts("comments", COMMENTS, size["posts"])
        admin.execute("analyze public.post_likes, public.comments")
        in_parts("posts", WRITE, size["posts"], 4)
        step("conversations", TALKS)
        step("notifications", NOTIFICATIONS)
        step("counters", "select private.recount(repair => true)")
        spread("indexes", [lambda c, d=definition: c.execute(d) for _, definition in indexes])
        step("clean up", "drop schema population cascade;\nvacuum (freeze, analyze)")
        task = progress.add_task("recount", total=None)
        wrong = admin.execute("select * from private.recount()").fetchall()
        unread = (
            admin.execute("select count(*) from private.unread_messages").fetchone()
            != admin.execute("select sum(unread_count) from public.inbox_entries").fetchone()
        )
        progress.update(task, total=1, completed=1)
    if wrong or unread:
        raise RuntimeError(f"the population's counters are wrong: {wrong[:5]}{' and unread counts' if unread else ''}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="database with the schema and nobody in it, as the bootstrap superuser")
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    load(arguments.url, arguments.scale)

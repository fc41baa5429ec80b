"""Counters are exact whatever happens at once: twenty clients over HTTP do everything that moves a counter, at random,
while accounts are deleted, banned and made private and content is hidden and restored.

AVENUE_SEED replays the choices of a failed run (its seed is in the failure); who meets whom still differs. AVENUE_STEPS
is how much each client does.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from stack.services import Services
from tests.community.world import Community
from tests.harness.people import Api, Member, follow_accounts
from tests.harness.server import Database
from tests.harness.waiting import until

CLIENTS = 20
STEPS = int(os.environ.get("AVENUE_STEPS") or 60)
GROUPS = 3
VICTIMS = 6

# What each counter counts, said again without asking the code that keeps it. `seen` is whose contributions count.
SEEN = "(select id from public.profiles where not is_banned and deleted_at is null and profile_visibility <> 'private')"
TRUTH = {
    "profiles.followers_count": "select count(*) from public.follows as f where f.following_id = t.id",
    "profiles.following_count": "select count(*) from public.follows as f where f.follower_id = t.id",
    "profile_counts.published_count": "select count(*) from public.artworks as a where a.seller_id = t.user_id "
    "and t.kind = 'artwork' and a.status in ('published', 'sold') and not a.is_hidden",
    "posts.likes_count": "select count(*) from public.post_likes as l where l.post_id = t.id",
    "posts.shares_count": "select count(*) from public.post_shares as s where s.post_id = t.id",
    "posts.comments_count": "select count(*) from public.comments as c where c.post_id = t.id and not c.is_hidden "
    f"and c.user_id in {SEEN}",
    "articles.likes_count": "select count(*) from public.article_likes as l where l.article_id = t.id",
    "articles.comments_count": "select count(*) from public.comments as c where c.article_id = t.id "
    f"and not c.is_hidden and c.user_id in {SEEN}",
    "catalog_items.favorites_count": "select count(*) from public.favorites as f where f.item_id = t.id",
    "catalog_items.comments_count": "select count(*) from public.comments as c where c.item_id = t.id "
    f"and not c.is_hidden and c.user_id in {SEEN}",
    "comments.likes_count": "select count(*) from public.comment_likes as l where l.comment_id = t.id",
    "poll_options.votes_count": "select count(*) from public.poll_votes as v where v.option_id = t.id",
    "groups.members_count": "select count(*) from public.group_members as m where m.group_id = t.id "
    "and m.status = 'active'",
    "groups.posts_count": "select count(*) from public.posts as p where p.group_id = t.id and p.is_approved "
    f"and not p.is_hidden and p.user_id in {SEEN}",
}
# Kept for others than readers: tested where they live.
ELSEWHERE = {
    "catalog_items.reviews_count",
    *(f"item_ratings.stars_{n}" for n in range(1, 6)),
    "license_keys.activations_count",
    "reviews.helpful_count",
    "catalog_items.purchases_count",
    "custom_field_requests.request_count",
    "inbox_entries.unread_count",
    "tags.usage_count",
    "webinar_counts.registrations_count",
    "webinars.attendees_count",
}


@dataclass
class Crowd:
    """Everybody, and the things they meet at."""

    community: Community
    members: list[Member]
    admin: Member
    victims: list[Member]
    things: dict[str, list[str]]
    seed: int
    failures: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def remember(self, kind: str, answer: httpx.Response) -> httpx.Response:
        """Let others find what was just made."""
        if answer.status_code == 201:
            with self.lock:
                self.things[kind].append(answer.json()[0]["id"])
        return answer

    def judge(self, step: str, answer: httpx.Response) -> None:
        """Refusals are fine; deadlocks, violated checks and errors of the server are not."""
        code = str(answer.json().get("code")) if answer.status_code >= 400 else ""
        with self.lock:
            self.outcomes[f"{step} {answer.status_code}"] += 1
            if ended_by_others(answer):
                return
            if answer.status_code >= 500 or code[:2] in ("40", "53", "55", "57", "58", "XX") or code == "23514":
                self.failures.append(f"{step}: {answer.status_code} {answer.text}")


def ended_by_others(answer: httpx.Response) -> bool:
    """Whoever moderates, blocks or leaves ends what holds their rows for a second: honest ones on a busy machine."""
    return answer.status_code >= 500 and "due to user request" in answer.text


@pytest.fixture(scope="module")
def crowd(services: Services, database: Database) -> Iterator[Crowd]:
    seed = int(os.environ.get("AVENUE_SEED") or random.randrange(10**6))
    with database.connect() as connection:
        yield settle(Community(services, database, connection), seed)


def settle(community: Community, seed: int) -> Crowd:
    """Members who have things to react to; victims, whose accounts end meanwhile, are as connected as all others."""
    names = [f"client-{n}" for n in range(CLIENTS)] + [f"victim-{n}" for n in range(VICTIMS)]
    community.enroll("admin", *names)
    community.run("update public.profiles set role = 'admin' where username = 'the-admin'")
    community.run("update public.profiles set role = 'author' where role = 'member'")
    things: dict[str, list[str]] = {
        kind: [] for kind in ("group", "post", "comment", "article", "item", "option", "group post")
    }
    for number in range(GROUPS):
        group = community.insert(
            names[number], "groups", name=f"Group {number}", visibility="public", post_approval_required=number == 1
        )["id"]
        things["group"].append(group)
    for name in names:
        for group in things["group"]:
            community.call(name, "join_group", group_id=group)
    for name in names[:4] + names[-VICTIMS:]:
        post = community.insert(name, "posts", content="post")["id"]
        poll = community.call(name, "create_poll", content="poll?", options=["yes", "no"])["id"]
        things["post"] += [post, poll]
        options = community.run("select id from public.poll_options where post_id = %s", poll)
        things["option"] += [f"{poll} {row['id']}" for row in options]
        things["group post"].append(
            community.insert(name, "posts", content="in a group", group_id=things["group"][0])["id"]
        )
        things["article"].append(community.insert(name, "articles", title="news", is_published=True)["id"])
        art = {"image_url": "https://art.example/x", "category": "digital", "price_cents": 500}
        things["item"].append(community.insert(name, "artworks", title="art", status="published", **art)["id"])
        things["comment"].append(community.insert(name, "comments", content="comment", post_id=post)["id"])
    things["post"] += things["group post"]
    people = community.people
    return Crowd(
        community, [people[name] for name in names[:CLIENTS]], people["admin"],
        [people[name] for name in names[CLIENTS:]], things, seed,
    )  # fmt: skip


# -- what a client does -----------------------------------------------------------------------------------------------


@dataclass
class Client:
    """One member who acts at random."""

    crowd: Crowd
    me: Member
    dice: random.Random

    def any(self, kind: str) -> str:
        with self.crowd.lock:
            # Some are far more popular than others.
            known = self.crowd.things[kind]
            return known[min(int(self.dice.expovariate(0.3)), len(known) - 1)]

    def anybody(self) -> str:
        return self.dice.choice([m for m in self.crowd.members + self.crowd.victims if m is not self.me]).id

    def add(self, relation: str, **row: str) -> httpx.Response:
        headers = {"prefer": "return=representation"}
        return self.me.api.http.post(f"/rest/v1/{relation}", json=row, headers=headers)

    def remove(self, relation: str, **key: str) -> httpx.Response:
        query = {name: f"eq.{value}" for name, value in key.items()}
        return self.me.api.http.delete(f"/rest/v1/{relation}", params=query)

    def react(self, relation: str, column: str, kind: str) -> httpx.Response:
        """Do it, or undo it."""
        if self.dice.random() < 0.6:
            return self.add(relation, **{column: self.any(kind)})
        return self.remove(relation, **{column: self.any(kind), "user_id": self.me.id})

    def like_post(self) -> httpx.Response:
        return self.react("post_likes", "post_id", "post")

    def like_comment(self) -> httpx.Response:
        return self.react("comment_likes", "comment_id", "comment")

    def like_article(self) -> httpx.Response:
        return self.react("article_likes", "article_id", "article")

    def share(self) -> httpx.Response:
        return self.react("post_shares", "post_id", "post")

    def favorite(self) -> httpx.Response:
        return self.react("favorites", "item_id", "item")

    def vote(self) -> httpx.Response:
        poll, option = self.any("option").split()
        if self.dice.random() < 0.3:
            return self.remove("poll_votes", post_id=poll, user_id=self.me.id)
        headers = {"prefer": "resolution=merge-duplicates"}
        row = {"post_id": poll, "option_id": option}
        return self.me.api.http.post("/rest/v1/poll_votes", json=row, headers=headers)

    def follow(self) -> httpx.Response:
        if self.dice.random() < 0.6:
            return self.add("follows", following_id=self.anybody())
        return self.remove("follows", following_id=self.anybody(), follower_id=self.me.id)

    def comment(self) -> httpx.Response:
        column, kind = self.dice.choice([("post_id", "post"), ("item_id", "item"), ("article_id", "article")])
        return self.crowd.remember("comment", self.add("comments", content="comment", **{column: self.any(kind)}))

    def reply(self) -> httpx.Response:
        parent = self.any("comment")
        rows = self.me.api.http.get(f"/rest/v1/comments?id=eq.{parent}&select=post_id,item_id,article_id").json()
        if not isinstance(rows, list) or not rows:
            return self.add("comments", content="reply", parent_comment_id=parent)
        target = {name: value for name, value in rows[0].items() if value}
        return self.crowd.remember("comment", self.add("comments", content="reply", parent_comment_id=parent, **target))

    def delete_comment(self) -> httpx.Response:
        return self.remove("comments", id=self.any("comment"))

    def write(self) -> httpx.Response:
        # Mostly where posts wait to be approved, or a run may have none.
        groups = self.crowd.things["group"] + self.crowd.things["group"][1:2] * 3
        group = {"group_id": self.dice.choice(groups)} if self.dice.random() < 0.8 else {}
        answer = self.add("posts", content="post", **group)
        if group:
            self.crowd.remember("group post", answer)
        return self.crowd.remember("post", answer)

    def delete_post(self) -> httpx.Response:
        return self.remove("posts", user_id=self.me.id, id=self.any("post"))

    def join(self) -> httpx.Response:
        return self.me.api.rpc("join_group", group_id=self.any("group"))

    def leave(self) -> httpx.Response:
        return self.me.api.rpc("leave_group", group_id=self.any("group"))

    def approve(self) -> httpx.Response:
        moderator = self.crowd.members[1].api
        waiting = moderator.rpc("pending_posts", group_id=self.crowd.things["group"][1]).json()
        posts = [post["id"] for post in waiting if isinstance(post, dict)] or [self.any("group post")]
        action = self.dice.choice(["approve_post", "approve_post", "reject_post"])
        return moderator.rpc(action, post_id=self.dice.choice(posts))

    def moderate(self) -> httpx.Response:
        api: Api = self.crowd.admin.api
        kind = self.dice.choice(["post", "comment", "article", "item"])
        target = {"target_type": "artwork" if kind == "item" else kind, "target_id": self.any(kind)}
        if self.dice.random() < 0.5:
            return api.rpc("hide_content", reason="at random", **target)
        return api.rpc("restore_content", **target)

    def ban(self) -> httpx.Response:
        api: Api = self.crowd.admin.api
        # Mostly ended soon, or nobody is left to act.
        if self.dice.random() < 0.3:
            return api.rpc("ban_user", user_id=self.anybody(), reason="at random")
        return api.rpc("unban_user", user_id=self.anybody())

    def hide_away(self) -> httpx.Response:
        visibility = self.dice.choice(["private", "public", "public", "members_only"])
        return self.me.api.rpc("set_profile_visibility", visibility=visibility)

    def block(self) -> httpx.Response:
        if self.dice.random() < 0.3:
            return self.add("user_blocks", blocked_id=self.anybody())
        return self.remove("user_blocks", blocker_id=self.me.id)

    def draw(self) -> httpx.Response:
        status = self.dice.choice(["published", "draft"])
        return self.me.api.http.patch(f"/rest/v1/artworks?seller_id=eq.{self.me.id}", json={"status": status})

    def act(self) -> None:
        """One step."""
        step: Callable[[], httpx.Response] = self.dice.choices(STEPS_TAKEN, WEIGHTS)[0].__get__(self)
        self.crowd.judge(step.__name__, step())


_CHANCES = {
    Client.like_post: 12, Client.like_comment: 8, Client.like_article: 4, Client.share: 5, Client.favorite: 5,
    Client.vote: 5, Client.follow: 10, Client.comment: 10, Client.reply: 6, Client.delete_comment: 5, Client.write: 5,
    Client.delete_post: 2, Client.join: 4, Client.leave: 3, Client.approve: 4, Client.moderate: 5, Client.ban: 4,
    Client.hide_away: 4, Client.block: 3, Client.draw: 1,
}  # fmt: skip
STEPS_TAKEN, WEIGHTS = list(_CHANCES), list(_CHANCES.values())


def test_counters_equal_a_recount_after_everything_at_once(crowd: Crowd, database: Database) -> None:
    services = crowd.community.services
    service = Api(services, services.service_role_key)
    service.http.headers["apikey"] = services.service_role_key
    start = threading.Barrier(CLIENTS + 1)

    def live(number: int) -> None:
        client = Client(crowd, crowd.members[number], random.Random(f"{crowd.seed} {number}"))
        start.wait()
        for _ in range(STEPS):
            client.act()

    def end_accounts() -> None:
        dice = random.Random(f"{crowd.seed} end")
        start.wait()
        for number, victim in enumerate(crowd.victims):
            # Spread over the run by what was done, not by the clock.
            due = (number + 1) * CLIENTS * STEPS // (VICTIMS + 2)
            until(lambda due=due: sum(crowd.outcomes.values()) >= due, "the others to go on", 100)
            if dice.random() < 0.5:
                crowd.judge("delete_user", service.http.delete(f"/auth/v1/admin/users/{victim.id}"))
            else:
                answer = victim.api.rpc("delete_my_account")
                while ended_by_others(answer):
                    answer = victim.api.rpc("delete_my_account")
                crowd.judge("delete_my_account", answer)

    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        for running in [threads.submit(end_accounts), *(threads.submit(live, n) for n in range(CLIENTS))]:
            running.result()

    if crowd.failures:
        crowd.failures += deadlocks(database)
    said = f"AVENUE_SEED={crowd.seed}; {sorted(crowd.outcomes.items())}"
    assert not crowd.failures, "\n".join([*crowd.failures, said])
    # What would have been less than nothing for a moment waits for this job.
    database.run("select private.fold_counts()")
    assert database.run("select * from private.pending_counts") == [], said
    assert database.run("select * from private.recount()") == [], said
    follow_accounts(database)
    assert database.run("select * from private.recount()") == [], said
    for counter, truth in TRUTH.items():
        relation, column = counter.split(".")
        wrong = database.run(
            f"select to_jsonb(t) as row, t.{column} as counted, ({truth}) as truth from public.{relation} as t "
            f"where t.{column} <> ({truth})"
        )
        assert wrong == [], f"{counter}: {said}"
    left = database.value("select count(*) from public.profiles where id = any(%s)", [v.id for v in crowd.victims])
    assert left == 0, "accounts without a history leave nothing behind"
    # Something happened of everything: a run of refusals would prove nothing.
    worked = {step.split()[0] for step, times in crowd.outcomes.items() if step.split()[1].startswith("2")}
    assert worked >= {step.__name__ for step in STEPS_TAKEN}, said


def deadlocks(database: Database) -> list[str]:
    """What the server's log says of deadlocks: who waited for whom, in which statements."""
    lines = database.cluster.log.read_text().splitlines()
    return ["\n".join(lines[n : n + 30]) for n, line in enumerate(lines) if "deadlock detected" in line]


def test_every_counter_is_recounted_here(database: Database) -> None:
    registered = {row["counter"] for row in database.run("select counter from private.counters")}
    assert registered - ELSEWHERE <= set(TRUTH)

"""A random month of orders, refunds, bans, votes and deletions: after each step averages and counters equal a recount.

AVENUE_MARKET_EXAMPLES sets how many runs of up to 60 steps are made; given at all, they are new ones each time and a
failing one is shortened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.market.reviews import Reviews
from tests.money.market import Market

EXAMPLES = os.environ.get("AVENUE_MARKET_EXAMPLES")
STEPS = 60
PEOPLE = 4
RATINGS = st.integers(1, 5)

# What must be true beside the counters; each query finds nothing.
STATE = {
    "a review is valid exactly while its grant is": """
        select r.id, r.is_valid from public.reviews as r
        where r.is_valid <> exists (
            select from public.purchases as p
            where p.order_item_id = r.order_item_id and p.item_id = r.item_id and p.owner_id = r.buyer_id
                and p.revoked_at is null
        )
    """,
    "nobody counts twice, and nothing that is not shown": """
        select r.id from public.reviews as r where r.is_counted and not r.is_eligible
    """,
    "a blind review waits for nobody who is in": """
        select r.id from public.reviews as r
        join public.reviews as o on o.order_item_id = r.order_item_id and o.item_id = r.item_id and o.side <> r.side
        where r.status = 'blind' and o.status = 'published'
    """,
    "visitors see exactly what counts or was outdone by the same buyer's": """
        select r.id from public.reviews as r
        where r.is_eligible and not r.is_counted and not exists (
            select from public.reviews as n
            where n.is_counted and n.reviewer_id = r.reviewer_id and n.item_id = r.item_id
                and (n.created_at, n.id) > (r.created_at, r.id)
        )
    """,
    "votes are of readers": """
        select v.* from public.review_votes as v join public.reviews as r on r.id = v.review_id
        where v.user_id in (r.reviewer_id, r.seller_id)
    """,
    "a licence works exactly while its product is owned and its seller lets it": """
        select k.id from public.license_keys as k
        where (k.disabled_by_refund_at is null) <> exists (
            select from public.purchases as p
            where p.order_item_id = k.order_item_id and p.item_id = k.product_id and p.revoked_at is null
        ) or k.activations_count > k.seats
    """,
}


@dataclass
class Bought:
    """A line, and what was given back of it."""

    seller: str
    buyer: str
    item: str
    line: str
    refunds: list[str] = field(default_factory=list)


class Month(RuleBasedStateMachine):
    """What people do with reviews."""

    connection: ClassVar[psycopg.Connection[Any]]

    users = Bundle("users")
    items = Bundle("items")
    lines = Bundle("lines")
    reviews = Bundle("reviews")

    def __init__(self) -> None:
        super().__init__()
        self.transaction = self.connection.transaction(force_rollback=True)
        self.transaction.__enter__()
        self.market = Market(self.connection)
        self.books = Reviews(self.market)
        self.gone: set[str] = set()

    def teardown(self) -> None:
        self.transaction.__exit__(None, None, None)

    @contextmanager
    def may_be_refused(self) -> Iterator[None]:
        """Business errors are answers; anything else is a failure."""
        try:
            with self.connection.transaction():
                yield
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith("PT"):
                raise

    @initialize(target=users)
    def people(self) -> MultipleResults[str]:
        self.market.make_kinds()
        self.market.rows("update private.kinds set reviewing = 'blind' where kind = 'task'")
        self.market.rows("update private.settings set review_burst = 4")
        self.market.rows("delete from private.activity_limits where kind = 'review'")
        self.admin = self.market.sign_up(role="admin")
        return multiple(*[self.market.sign_up() for _ in range(PEOPLE)])

    @rule(target=items, seller=users, kind=st.sampled_from(["product", "good", "task", "good"]))
    def publish(self, seller: str, kind: str) -> tuple[str, str] | MultipleResults[tuple[str, str]]:
        with self.may_be_refused():
            if kind != "product":
                return seller, self.market.good(seller, 500, kind, is_repeatable=True)
            # Nobody publishes who is gone or banned.
            if seller in self.gone or self.market.rows("select 1 from public.bans where user_id = %s", seller):
                return multiple()
            item = self.market.product(seller, 500)
            self.market.rows("update public.products set license_seats = 1 where id = %s", item)
            return seller, item
        return multiple()

    @rule(target=lines, buyer=users, thing=items)
    def buy(self, buyer: str, thing: tuple[str, str]) -> Bought | MultipleResults[Bought]:
        seller, item = thing
        with self.may_be_refused():
            return Bought(seller, buyer, item, self.market.line(self.market.buy(buyer, item)["order_id"]))
        return multiple()

    @rule(line=lines)
    def finish(self, line: Bought) -> None:
        self.market.finish(line.line)

    @rule(target=reviews, line=lines, rating=RATINGS)
    def write(self, line: Bought, rating: int) -> str | MultipleResults[str]:
        with self.may_be_refused():
            return str(self.books.write(line.buyer, line.item, rating, "Text.")["id"])
        return multiple()

    @rule(target=reviews, line=lines, rating=RATINGS)
    def answer_blind(self, line: Bought, rating: int) -> str | MultipleResults[str]:
        with self.may_be_refused():
            return str(self.market.rpc(line.seller, "review_buyer", order_item_id=line.line, rating=rating)["id"])
        return multiple()

    @rule(review=reviews, rating=RATINGS)
    def edit(self, review: str, rating: int) -> None:
        with self.may_be_refused():
            self.books.edit(self.writer(review), review, rating)

    @rule(review=reviews, seldom=st.integers(0, 3))
    def take_back(self, review: str, seldom: int) -> None:
        if not seldom:
            with self.may_be_refused():
                self.market.rpc(self.writer(review), "delete_review", review_id=review)

    @rule(review=reviews, user=users, vote=st.sampled_from([True, True, False, None]))
    def vote(self, review: str, user: str, vote: bool | None) -> None:
        with self.may_be_refused():
            self.books.vote(user, review, vote)

    @rule(review=reviews, user=users)
    def respond(self, review: str, user: str) -> None:
        with self.may_be_refused():
            self.market.rpc(user, "respond_to_review", review_id=review, response="Thanks.")

    @rule(review=reviews, hide=st.booleans())
    def moderate(self, review: str, hide: bool) -> None:
        more = {"reason": "rude"} if hide else {}
        with self.may_be_refused():
            self.market.rpc(
                self.admin,
                "hide_content" if hide else "restore_content",
                target_type="review",
                target_id=review,
                **more,
            )

    @rule(review=reviews, approve=st.booleans())
    def decide(self, review: str, approve: bool) -> None:
        with self.may_be_refused():
            self.market.rpc(self.admin, "decide_review", review_id=review, approve=approve)

    @rule(line=lines, cents=st.sampled_from([None, None, 100]))
    def refund(self, line: Bought, cents: int | None) -> None:
        with self.may_be_refused():
            refund = self.market.request_refund(self.admin, line.line, cents)["id"]
            self.market.worker("select private.claim_refund(%s)", refund)
            self.market.worker("select private.record_refund(%s, %s, 'succeeded')", refund, f"re_{refund}")
            line.refunds.append(refund)

    @rule(line=lines)
    def refund_fails(self, line: Bought) -> None:
        with self.may_be_refused():
            if line.refunds:
                refund = line.refunds.pop()
                self.market.worker("select private.record_refund(%s, %s, 'failed')", refund, f"re_{refund}")

    @rule(days=st.integers(1, 15))
    def pass_days(self, days: int) -> None:
        """All that waits for a time is so much older."""
        self.market.rows(
            "update public.reviews set publish_at = publish_at - make_interval(days => %s) where status = 'blind'", days
        )

    @rule()
    def publish_due(self) -> None:
        self.market.worker("select private.publish_reviews_due()")

    @rule(user=users, seldom=st.integers(0, 1))
    def ban_or_unban(self, user: str, seldom: int) -> None:
        if seldom or user in self.gone:
            return
        if self.market.rows("select 1 from public.bans where user_id = %s", user):
            self.market.unban(user)
        else:
            self.market.ban(user)

    @rule(user=users, seldom=st.integers(0, 9))
    def leave(self, user: str, seldom: int) -> None:
        if not seldom and user not in self.gone:
            self.market.rows("delete from public.bans where user_id = %s", user)
            self.market.rows("delete from auth.users where id = %s", user)
            self.gone.add(user)

    def writer(self, review: str) -> str:
        return str(self.market.one("select reviewer_id from public.reviews where id = %s", review) or self.admin)

    @invariant()
    def counters_equal_a_recount(self) -> None:
        self.books.check()
        for meaning, query in STATE.items():
            assert (rows := self.market.rows(query)) == [], (meaning, rows)
        for row in self.market.rows("select item_id from public.item_ratings"):
            told = self.books.as_visitor("select id from public.catalog_items where id = %s", row["item_id"])
            if told:
                histogram = self.books.histogram(row["item_id"])
                assert sum(histogram["percentages"] or [100]) == 100
                assert (histogram["rating_average"] is None) == (sum(histogram["counts"]) == 0)


def test_a_random_month_equals_a_recount(connection: psycopg.Connection[Any]) -> None:
    Month.connection = connection
    new = EXAMPLES is not None
    run_state_machine_as_test(
        Month,
        settings=settings(
            max_examples=int(EXAMPLES or 8),
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not new,
            database=None,
            print_blob=new,
            phases=(Phase.generate, Phase.shrink) if new else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )

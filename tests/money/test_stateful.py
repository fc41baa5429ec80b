"""Thousands of random steps over the whole money: after each one every invariant of the books holds.

A small model of the provider says what really happened to charges, refunds and transfers; its events are delivered at
once, late, in another order, repeatedly. When all of them have arrived, our clearing account must say the same.

AVENUE_MONEY_EXAMPLES sets how many runs of up to 100 steps are made; given at all, they are new ones each time and a
failing one is shortened.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.money.market import Market, number

EXAMPLES = os.environ.get("AVENUE_MONEY_EXAMPLES")
STEPS = 100

# What must be true beside the audit; each query finds nothing.
STATE = {
    "entries sum to zero": "select sum(amount_cents) from ledger.entries having sum(amount_cents) <> 0",
    "nobody has what was not paid for, or was paid back": """
        select p.* from public.purchases as p
        join public.order_items as l on l.id = p.order_item_id
        join public.orders as o on o.id = l.order_id
        left join public.transactions as t on t.order_item_id = l.id
        where p.revoked_at is null and not case
            when t.id is not null then t.refunded_cents < t.amount_total_cents
            else l.charged_cents = 0 and o.status in ('completed', 'refunded', 'partially_refunded')
        end or (p.owner_id, p.payer_id, p.option_id) is distinct from (l.owner_id, l.buyer_id, case
            when p.item_id = l.item_id then l.option_id
            else (
                select x.option_id from private.line_parts as x where x.order_item_id = l.id and x.item_id = p.item_id
            )
        end)
    """,
    "a line that was paid granted all that it promised, any other nothing": """
        select l.id, l.kind, g.n
        from public.order_items as l
        join public.orders as o on o.id = l.order_id
        left join public.transactions as t on t.order_item_id = l.id
        left join (
            select id, extras from public.goods union all select id, extras from public.tasks
            union all select id, extras from public.packs
        ) as e on e.id = l.item_id
        cross join lateral (select count(*) as n from public.purchases as p where p.order_item_id = l.id) as g
        where g.n <> case
            when t.id is not null or l.charged_cents = 0 and o.status in ('completed', 'refunded', 'partially_refunded')
            then case when l.is_counted then l.quantity else 1 end + coalesce(cardinality(e.extras), 0) + (
                select count(*) from private.line_parts as x where x.order_item_id = l.id
            )
            else 0
        end
    """,
    # Somebody else has it since; or its buyer, of what is owned once, by another line.
    "who paid and was not paid back has it, but for what was sold again meanwhile": """
        select p.*, t.refunded_cents, t.amount_total_cents
        from public.purchases as p
        join public.transactions as t on t.order_item_id = p.order_item_id
        join public.catalog_items as c on c.id = p.item_id
        left join public.catalog_options as o on o.id = p.option_id
        where p.revoked_at is not null and t.refunded_cents < t.amount_total_cents and p.revoked_reason <> 'cancelled'
            and not (
                p.revoked_reason = 'refunded' and exists (
                    select from public.audit_log as a
                    where a.action = 'refund_failed_after_resale' and a.details ->> 'purchase_id' = p.id::text
                ) and (
                    c.stock > 1 or o.stock is not null or exists (
                        select from public.purchases as y
                        where y.item_id = p.item_id and y.revoked_at is null and (
                            p.is_single and y.is_single
                            or y.owner_id = p.owner_id and y.option_id is not distinct from p.option_id
                        )
                    )
                )
            )
    """,
    "what was cancelled by its buyer is being paid back, was, or could not be": """
        select p.* from public.purchases as p
        where p.revoked_reason = 'cancelled'
            and not exists (select from public.refunds as r where r.order_item_id = p.order_item_id)
    """,
    "a work is sold exactly while all of it is somebody's or away, one of a kind is one person's": """
        select c.id, a.status, c.stock, p.n, p.live
        from public.catalog_items as c
        join public.artworks as a on a.id = c.id
        cross join lateral (
            select
                count(*) filter (where p.revoked_at is null) as live,
                count(*) filter (where p.revoked_at is null or p.is_away) as n
            from public.purchases as p where p.item_id = c.id
        ) as p
        where (a.status = 'sold') <> (p.n >= c.stock) or p.n > c.stock
            or c.stock = 1 and a.status <> 'sold' and exists (
                select from public.transactions as t
                join public.purchases as y on y.order_item_id = t.order_item_id
                where t.related_id = c.id and t.refunded_cents < t.amount_total_cents
                    and y.revoked_reason is distinct from 'cancelled'
            )
    """,
    "what is taken is what is sold and held": """
        select c.id, c.stock, c.taken, n.n, n.aside, s.aside
        from public.catalog_items as c
        cross join lateral (
            select count(*) filter (where x.is_set_aside) as aside, count(*) as n
            from (
                select p.option_id from public.purchases as p
                where p.item_id = c.id and (p.revoked_at is null or p.is_away)
                union all
                select h.option_id from private.holds as h cross join generate_series(1, h.quantity)
                where h.item_id = c.id
            ) as u
            left join public.catalog_options as x on x.id = u.option_id
        ) as n
        cross join lateral (
            select coalesce(sum(x.stock), 0) as aside from public.catalog_options as x
            where x.item_id = c.id and x.is_set_aside
        ) as s
        where c.taken <> case when c.stock > 1 then n.n else 0 end
            or c.stock > 1 and (n.n > c.stock or n.n - n.aside > c.stock - s.aside)
    """,
    "what is taken of an option is what is sold and held": """
        select o.id, o.stock, o.taken, n.n
        from public.catalog_options as o
        cross join lateral (
            select (
                select count(*) from public.purchases as p
                where p.option_id = o.id and (p.revoked_at is null or p.is_away)
            ) + (
                select coalesce(sum(h.quantity), 0) from private.holds as h where h.option_id = o.id
            ) as n
        ) as n
        where o.taken <> case when o.stock is null then 0 else n.n end or n.n > o.stock
    """,
    "copies have the numbers of their series, each once": """
        select p.item_id, p.option_id, array_agg(p.number)
        from public.purchases as p
        join public.artworks as a on a.id = p.item_id
        left join public.catalog_options as o on o.id = p.option_id
        where p.revoked_at is null or p.is_away
        group by p.item_id, p.option_id, a.edition_size, o.stock
        having case
            when a.edition_size is null then count(p.number) > 0
            else count(distinct p.number) <> count(*) or min(p.number) < 1
                or max(p.number) > coalesce(o.stock, a.edition_size)
        end
    """,
    "while somebody pays for the exclusive licence nobody else does for any": """
        select h.* from private.holds as h
        join public.catalog_options as o on o.id = h.option_id and o.is_exclusive
        join private.holds as x on x.item_id = h.item_id and x.order_id <> h.order_id
    """,
    "what was sold exclusively is not on sale": """
        select c.id, c.is_exclusively_sold from public.catalog_items as c
        where c.is_exclusively_sold <> exists (
            select from public.purchases as p join public.catalog_options as o on o.id = p.option_id and o.is_exclusive
            where p.item_id = c.id and p.revoked_at is null
        )
    """,
    "only pending orders hold pieces": """
        select r.* from private.holds as r
        join public.orders as o on o.id = r.order_id
        where o.status <> 'pending'
    """,
    "orders follow their payments": """
        select o.status, o.status_reason, p.status, p.failure_reason
        from public.orders as o join public.payments as p on p.order_id = o.id
        where o.status <> case
            when p.failure_reason = 'item_not_available' then 'cancelled'
            when p.status in ('requires_payment', 'processing', 'failed') then 'pending'
            when p.status = 'succeeded' then 'completed'
            else p.status::text
        end::public.order_status
    """,
    "purchases are counted": """
        select c.id, c.purchases_count from public.catalog_items as c
        where c.purchases_count <> (
            select count(*) from public.purchases as p
            where p.item_id = c.id and (p.revoked_at is null or p.is_away)
        )
    """,
    "lifetime totals are sums": """
        select w.user_id from public.wallets as w
        where w.total_earned_cents <> coalesce((
            select sum(p.cents - p.refunded_cents) from public.transaction_payees as p where p.payee_id = w.user_id
        ), 0) or w.total_withdrawn_cents <> coalesce((
            select sum(p.amount_cents) from public.payouts as p where p.user_id = w.user_id and p.status = 'completed'
        ), 0) or w.total_spent_on_platform_cents <> coalesce((
            select sum(t.amount_total_cents - t.refunded_cents) from public.transactions as t
            where t.buyer_id = w.user_id and t.payment_processor = 'wallet'
        ), 0)
    """,
    "a payment's lines bear its fee": """
        select p.id from public.payments as p
        join public.transactions as t on t.payment_id = p.id
        group by p.id
        having sum(t.amount_fees_cents) <> coalesce(p.provider_fee_cents, p.fee_estimate_cents)
    """,
    "a charge taken back leaves nobody anything of what was refunded": """
        select t.id, t.amount_seller_cents, t.refunded_seller_cents, t.amount_commission_cents
        from public.transactions as t
        join public.payments as p on p.id = t.payment_id
        where p.charge_reversed_at is not null and (
            t.amount_fees_cents <> 0
            or t.refunded_cents = t.amount_total_cents and (
                t.amount_seller_cents <> t.refunded_seller_cents
                or t.amount_commission_cents <> t.refunded_commission_cents
                or t.amount_promotions_cents <> t.refunded_promotions_cents
            )
        )
    """,
    "what the platform gave by its coupons is its own, and comes back by the share of what was refunded": """
        select t.id, t.amount_promotions_cents, t.refunded_promotions_cents, l.promoted_cents
        from public.transactions as t
        join public.order_items as l on l.id = t.order_item_id
        where t.amount_promotions_cents <> l.promoted_cents
            or t.refunded_promotions_cents <> div(
                t.amount_promotions_cents * t.refunded_cents * 2 + t.amount_total_cents, t.amount_total_cents * 2
            )
    """,
    "a coupon is held or redeemed as often as its orders say, and within its limit but for late money": """
        select c.id, u.n
        from public.coupons as c
        cross join lateral (
            select count(*) filter (where u.status <> 'released') as n, count(*) as ever
            from private.coupon_uses as u where u.coupon_id = c.id
        ) as u
        where u.n > c.usage_limit and u.ever <= c.usage_limit
    """,
    "who gave nothing back has lost nothing by a sale": """
        select t.id from public.transactions as t where t.refunded_cents = 0 and t.amount_seller_cents < 0
    """,
    "payees share the seller's part, each to the cent": """
        select t.id, t.amount_seller_cents, t.refunded_seller_cents, p.parts
        from public.transactions as t
        cross join lateral (
            select
                coalesce(sum(p.cents), 0) as cents, coalesce(sum(p.refunded_cents), 0) as refunded,
                coalesce(sum(p.share_bps), 0) as bps, array_agg(p) as parts,
                coalesce(bool_or(
                    abs(p.cents - t.amount_seller_cents * p.share_bps / 10000.0) >= 1
                    or abs(
                        p.cents - p.refunded_cents
                        - (t.amount_seller_cents - t.refunded_seller_cents) * p.share_bps / 10000.0
                    ) >= 1
                ), false) as off
            from public.transaction_payees as p where p.transaction_id = t.id
        ) as p
        where p.off or (p.cents, p.refunded) <> (t.amount_seller_cents, t.refunded_seller_cents)
            or p.bps <> case when private.is_platform(t.seller_id) then 0 else 10000 end
    """,
    "what the platform sells is its own": """
        select t.* from public.transactions as t
        where private.is_platform(t.seller_id) and (
            t.amount_seller_cents <> 0 or t.refunded_seller_cents <> 0 or t.refunded_fee_cents <> 0
            or t.amount_commission_cents <> t.amount_total_cents - t.amount_fees_cents
            or t.refunded_commission_cents <> t.refunded_cents
        )
    """,
    "nothing of an unfinished line is released": """
        select t.id, p.* from public.transactions as t
        join public.transaction_payees as p on p.transaction_id = t.id
        join public.payments as y on y.id = t.payment_id
        where t.completed_at is null and (
            t.release_at is not null or t.release_journal_id is not null or p.release_journal_id is not null
            or y.charge_reversed_at is null and p.pending_cents < p.cents - p.refunded_cents
        )
    """,
    "a line that earns at once is finished, a task or a parcel not before it is done": """
        select t.id, t.kind from public.transactions as t
        join public.order_items as l on l.id = t.order_item_id
        where (t.completed_at is not null) < (l.kind <> 'task' and not l.is_shipped)
            or l.is_shipped and t.completed_at is not null and not exists (
                select from public.shipments as s where s.order_item_id = l.id and s.delivered_at is not null
            )
    """,
    "refunds at the platform's cost leave the seller what was not refunded": """
        select t.* from public.transactions as t
        join public.payments as p on p.id = t.payment_id
        where t.refunded_cents > 0 and t.refunded_cents = t.free_refunded_cents and p.charge_reversed_at is null
            and not private.is_platform(t.seller_id) and (
                abs(
                    t.amount_seller_cents * (1 - t.refunded_cents::numeric / t.amount_total_cents)
                    - (t.amount_seller_cents - t.refunded_seller_cents)
                ) > 1
                or t.refunded_cents = t.amount_total_cents and (
                    t.refunded_seller_cents <> t.amount_seller_cents or t.refunded_fee_cents <> t.amount_fees_cents
                    or t.refunded_commission_cents <> t.amount_commission_cents
                )
            )
    """,
    "of the fee of what went back the seller bears at most what was at their cost": """
        select t.* from public.transactions as t
        where t.refunded_cents = t.amount_total_cents
            and t.amount_seller_cents - t.refunded_seller_cents
            not between t.refunded_fee_cents - t.amount_fees_cents and 0
    """,
    "the fee of a refund is borne as its act says": """
        select t.id, t.free_refunded_cents, t.refunded_fee_cents, r.free
        from public.transactions as t
        cross join lateral (
            select coalesce(sum(l.amount_cents) filter (where r.fee_bearer = 'platform'), 0) as free
            from public.refund_lines as l
            join public.refunds as r on r.id = l.refund_id
            where l.transaction_id = t.id and r.reversed_at is null
        ) as r
        where t.free_refunded_cents <> r.free
            or not private.is_platform(t.seller_id) and t.refunded_fee_cents <> div(
                t.amount_fees_cents * r.free * 2 + t.amount_total_cents, t.amount_total_cents * 2
            )
    """,
    "tips follow their money": """
        select t.id, y.* from public.transactions as t
        left join public.tips as y on y.order_item_id = t.order_item_id
        where t.kind = 'tip_jar' and (
            (y.sender_id, y.recipient_id, y.amount_cents, y.closed_at is null)
            is distinct from (t.buyer_id, t.seller_id, t.amount_total_cents, t.refunded_cents < t.amount_total_cents)
        )
    """,
    "there is no tip without money": """
        select y.* from public.tips as y
        where not exists (select from public.transactions as t where t.order_item_id = y.order_item_id)
    """,
    "what was agreed is paid once, and returned when it was paid back": """
        select a.id, a.status, s.*
        from public.payables as a
        cross join lateral (
            select count(*) as n, count(*) filter (where t.refunded_cents < t.amount_total_cents) as paid
            from public.order_items as i join public.transactions as t on t.order_item_id = i.id
            where i.payable_id = a.id
        ) as s
        where s.n > 1 or case
            when s.paid > 0 then a.status <> 'paid' when s.n > 0 then a.status <> 'returned'
            else a.status in ('paid', 'returned')
        end
    """,
    "nobody has more than one open payout": """
        select user_id from public.payouts where status in ('requested', 'approved', 'processing')
        group by user_id having count(*) > 1
    """,
    "no event contradicts the books": "select type, last_error from private.webhook_events where status = 'dead'",
}
# The kinds of tests/money/goods.sql: earned at once, earned when it is done, the platform's.
KINDS = ("good", "task", "pack")
# Which of the lines that are there.
PICKS = st.integers(0, 30)
# Why an event may wait: everything else is a bug that the inbox would hide behind its retries.
MAY_WAIT = "The provider's report needs an earlier one."


@dataclass
class Charge:
    """A payment as the provider knows it."""

    payment: str
    buyer: str
    amount: int
    state: str = "open"  # succeeded, cancelled, reversed
    refunds: dict[str, Refund] = field(default_factory=dict)

    # What the buyer keeps of a charge that was taken back: refunds made or begun before.
    kept: int = 0

    @property
    def left(self) -> int:
        """What the provider would still give back."""
        taken = sum(refund.amount for refund in self.refunds.values() if refund.status in ("pending", "succeeded"))
        return self.amount - taken if self.state == "succeeded" else 0


@dataclass
class Refund:
    """A refund as the provider knows it."""

    charge: Charge
    ref: str
    amount: int
    status: str
    ours: str | None = None


@dataclass(frozen=True)
class Thing:
    """What can be bought: an item, or an option of it."""

    item: str
    seller: str
    price: int
    kind: str = "product"
    option: str | None = None
    minimum: int | None = None
    repeatable: bool = False
    extras: tuple[str, ...] = ()

    @property
    def takes_discounts(self) -> bool:
        return self.kind in KINDS


@dataclass(frozen=True)
class Agreement:
    """What two people agreed on, to be paid in one part or more."""

    parts: tuple[str, ...]
    buyer: str
    item: str | None


@dataclass
class Order:
    """A buyer's order and where its money is asked for."""

    id: str
    buyer: str
    payment: str | None
    provider: str


class Money(RuleBasedStateMachine):
    """Members, workers, admins and the provider, all in one transaction that is rolled back."""

    connection: ClassVar[psycopg.Connection[Any]]
    checks: ClassVar[bytes | None] = None
    users = Bundle("users")
    items = Bundle("items")
    orders = Bundle("orders")
    agreements = Bundle("agreements")
    refunds = Bundle("refunds")
    provider_refunds = Bundle("provider_refunds")
    payouts = Bundle("payouts")
    events = Bundle("events")

    def __init__(self) -> None:
        super().__init__()
        self.transaction = self.connection.transaction(force_rollback=True)
        self.transaction.__enter__()
        self.market = Market(self.connection)
        self.market.rows("update private.settings set event_attempts = 1000000")
        self.charges: dict[str, Charge] = {}
        self.transfers: dict[str, tuple[int, str]] = {}
        # What was agreed and ended before it was paid.
        self.ended: dict[str, str] = {}
        # What somebody wanted, by item and option.
        self.wanted: dict[tuple[str, str | None], Thing] = {}
        # Coupons, by code.
        self.codes: list[str] = []
        self.people = 0
        self.admin = self.market.sign_up(role="admin")
        self.platform = self.market.platform()

    def teardown(self) -> None:
        """Every report arrives at last; then the provider and the books agree."""
        try:
            for charge in self.charges.values():
                for refund in charge.refunds.values():
                    self.report(refund, False)
            self.drain()
            for payout, (amount, state) in self.transfers.items():
                if state == "made":
                    self.market.complete(payout, amount)
            self.the_books_are_right()
            received = sum(
                c.amount if c.state == "succeeded" else c.kept
                for c in self.charges.values()
                if c.state in ("succeeded", "reversed")
            )
            returned = sum(
                refund.amount
                for charge in self.charges.values()
                for refund in charge.refunds.values()
                if refund.status == "succeeded"
            )
            transferred = sum(amount for amount, state in self.transfers.values() if state == "made")
            assert self.market.balances().get("clearing:stripe", 0) == -(received - returned - transferred)
        finally:
            self.transaction.__exit__(None, None, None)

    def drain(self) -> None:
        """Processes what waits until nothing waits any more."""
        waiting = None
        while (
            ids := self.market.one("select array_agg(id) from private.webhook_events where status = 'pending'")
        ) != waiting:
            waiting = ids
            for event in ids or []:
                self.process(event)
        assert waiting is None, self.market.rows("select * from private.webhook_events where status = 'pending'")

    def drain_quietly(self) -> None:
        """Delivers what waits, in the order it happened; what still needs something later goes on waiting."""
        waiting = "select array_agg(id order by id) from private.webhook_events where status = 'pending'"
        for event in self.market.one(waiting) or []:
            self.process(event)

    @contextmanager
    def may_be_refused(self) -> Iterator[None]:
        """Business errors and a closed door (42501, to the banned) are answers. Anything else is a bug."""
        try:
            yield
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(("PT", "42501")):
                raise

    def process(self, event: int) -> None:
        """One delivery."""
        outcome = self.market.process(event)
        if outcome == "retry":
            assert self.market.why_of(event).startswith(MAY_WAIT), self.market.why_of(event)

    def emit(self, type_: str, payload: Any, now: bool) -> int:
        """The provider reports something."""
        event = self.market.store(type_, payload)
        if now:
            self.process(event)
        return event

    # -- people and goods ---------------------------------------------------------------------------------------------

    @initialize(target=users)
    def people_arrive(self) -> MultipleResults[str]:
        return multiple(*(self.sign_up(tier) for tier in ("standard", "basic", "ultimate")))

    @initialize(target=items, seller=users, other=users)
    def goods_arrive(self, seller: str, other: str) -> MultipleResults[Thing]:
        """Something of everything to begin with, of few sellers: everybody else wants the same."""
        song, beat = (Thing(self.market.product(seller, price), seller, price) for price in (999, 7777))
        edition, series = self.market.edition(other, 1500, 2, AP=1)
        self.market.member(other, "update public.artworks set is_physical = true where id = %s", edition)
        return multiple(
            song,
            beat,
            *self.licenses(beat, "exclusive"),
            Thing(self.market.artwork(other, 2000), other, 2000, "artwork"),
            Thing(self.market.artwork(other, 50000, is_physical=True), other, 50000, "artwork"),
            Thing(edition, other, 1500, "artwork"),
            Thing(edition, other, 1500, "artwork", series["AP"]),
            self.make("good", other, 2000, stock=3, payees=[[other, 3333], [seller, 6667]]),
            self.make("good", seller, 1200, extras=(song.item, beat.item)),
            self.make("task", seller, 3000, payees=[[other, 1], [seller, 9999]]),
            self.make("pack", self.platform, 2000, is_repeatable=True),
            *self.make_bundle(seller, [song, Thing(self.market.product(other, 777), other, 777)], 1501),
        )

    @initialize(seller=users, other=users)
    def coupons_arrive(self, seller: str, other: str) -> None:
        self.give_coupon(seller, {"amount_cents": 300}, {"usage_limit": 3}, None)
        self.give_coupon(other, {"percent_bps": 3333}, {}, None)
        self.give_coupon(None, {"amount_cents": 40}, {"usage_limit": 3}, None)

    @initialize(
        target=orders,
        sales=st.lists(st.tuples(users, st.lists(items, min_size=1, max_size=3, unique=True)), min_size=4, max_size=4),
    )
    def sales_arrive(self, sales: list[tuple[str, list[Thing]]]) -> MultipleResults[Order]:
        """Half of what can happen needs a sale, so some are made at once."""
        orders = [self.buy(buyer, wanted) for buyer, wanted in sales]
        return multiple(*(order for order in orders if isinstance(order, Order)))

    def sign_up(self, tier: str) -> str:
        """Somebody who can sell, buy and be paid out, and sends what they sell everywhere."""
        user = self.market.sign_up(tier)
        self.market.onboard(user)
        self.market.member(
            user,
            "insert into public.shipping_rates (name, price_cents, free_above_cents) values ('Everywhere', 500, 5000)",
        )
        self.market.rpc(
            self.admin, "adjust_wallet", user_id=user, amount_cents=6000, reason="welcome", idempotency_key=user
        )
        return user

    @precondition(lambda self: self.people < 3)
    @rule(target=users)
    def another_signs_up(self) -> str:
        self.people += 1
        return self.sign_up("premium")

    @rule(
        target=items,
        seller=users,
        price=st.sampled_from([0, 50, 53, 999, 2000, 7777, 250000]),
        minimum=st.sampled_from([None, None, 0, 50]),
    )
    def list_product(self, seller: str, price: int, minimum: int | None) -> Thing | MultipleResults[Thing]:
        minimum = minimum if minimum is None or price >= minimum else None
        with self.may_be_refused():
            return Thing(self.market.product(seller, price, minimum), seller, price, minimum=minimum)
        return multiple()

    @rule(target=items, product=items, type_=st.sampled_from(["commercial", "exclusive"]))
    def list_license(self, product: Thing, type_: str) -> MultipleResults[Thing]:
        if product.kind != "product" or product.option is not None:
            return multiple()
        with self.may_be_refused():
            return multiple(*self.licenses(product, type_))
        return multiple()

    def licenses(self, product: Thing, *types: str) -> list[Thing]:
        """Further licences of a product."""
        prices = {"commercial": 3000, "exclusive": 20000}
        return [
            Thing(
                product.item,
                product.seller,
                prices[type_],
                option=self.market.license(product.seller, product.item, prices[type_], type_),
            )
            for type_ in types
        ]

    @rule(
        target=items,
        seller=users,
        price=st.sampled_from([0, 50, 2000, 50000]),
        is_physical=st.booleans(),
        copies=st.sampled_from([1, 1, 2, 3]),
        proofs=st.integers(0, 2),
    )
    def list_artwork(
        self, seller: str, price: int, is_physical: bool, copies: int, proofs: int
    ) -> MultipleResults[Thing]:
        """One of a kind, or so many copies with artist's proofs beside them."""
        with self.may_be_refused():
            if copies == 1:
                return multiple(
                    Thing(self.market.artwork(seller, price, is_physical=is_physical), seller, price, "artwork")
                )
            item, series = self.market.edition(seller, price, copies, **({"AP": proofs} if proofs else {}))
            self.market.member(seller, "update public.artworks set is_physical = %s where id = %s", is_physical, item)
            return multiple(*(Thing(item, seller, price, "artwork", option) for option in (None, *series.values())))
        return multiple()

    @rule(
        target=items,
        seller=users,
        kind=st.sampled_from(KINDS),
        price=st.sampled_from([0, 50, 101, 2000, 90001]),
        stock=st.sampled_from([None, None, 1, 2, 4]),
        repeatable=st.booleans(),
        others=st.lists(
            st.tuples(users, st.sampled_from([1, 500, 3333])), max_size=2, unique_by=lambda other: other[0]
        ),
        songs=st.lists(items, max_size=2, unique=True),
        is_shipped=st.booleans(),
    )
    def list_good(
        self,
        seller: str,
        kind: str,
        price: int,
        stock: int | None,
        repeatable: bool,
        others: list[tuple[str, int]],
        songs: list[Thing],
        is_shipped: bool,
    ) -> Thing:
        """Whatever selling can do: stock, several payees, several rights, late completion, the platform's."""
        shares = [(other, share) for other, share in others if other != seller]
        return self.make(
            kind,
            self.platform if kind == "pack" else seller,
            price,
            stock=stock,
            is_repeatable=repeatable,
            payees=[*shares, (seller, 10000 - sum(share for _, share in shares))],
            extras=tuple(song.item for song in songs if song.kind == "product" and song.option is None),
            is_shipped=is_shipped and kind == "good",
        )

    def make(self, kind: str, seller: str, price: int, **more: Any) -> Thing:
        """One of the goods of tests/money/goods.sql."""
        extras = more.pop("extras", ())
        shares = Counter[str]()
        for payee, share in more.pop("payees", ()):
            shares[payee] += share
        payees = [[payee, share] for payee, share in shares.items()] or None
        item = self.market.good(seller, price, kind, extras=list(extras), payees=payees, **more)
        return Thing(item, seller, price, kind, repeatable=bool(more.get("is_repeatable")), extras=extras)

    @rule(
        target=items,
        seller=users,
        parts=st.lists(items, min_size=2, max_size=4, unique_by=lambda part: part.item),
        percent=st.sampled_from([1, 50, 67, 99]),
        share=st.sampled_from([None, None, 0, 1, 3333]),
    )
    def list_bundle(self, seller: str, parts: list[Thing], percent: int, share: int | None) -> MultipleResults[Thing]:
        """Of what others sell too, who agree to whatever share; refused where a part is none."""
        price = sum(part.price for part in parts) * percent // 100
        shares = {part.seller: share for part in parts if part.seller != seller} if share is not None else None
        with self.may_be_refused():
            return multiple(*self.make_bundle(seller, parts, price, shares))
        return multiple()

    def make_bundle(
        self, seller: str, parts: list[Thing], price: int, shares: dict[str, int] | None = None
    ) -> list[Thing]:
        """A bundle whose sellers agreed."""
        (row,) = self.market.member(seller, "insert into public.bundles (title) values ('Bundle') returning id")
        item = str(row["id"])
        wanted = [{"item_id": part.item, "option_id": part.option} for part in parts]
        self.market.rpc(seller, "set_bundle_terms", bundle_id=item, price_cents=price, parts=wanted, shares=shares)
        self.market.member(seller, "update public.bundles set status = 'active' where id = %s", item)
        for other in {part.seller for part in parts} - {seller}:
            self.market.rpc(other, "agree_to_bundle", bundle_id=item, terms_version=2)
        return [Thing(item, seller, price, "bundle", extras=tuple(part.item for part in parts))]

    @rule(bundle=items, seller=users, agrees=st.booleans())
    def answer_bundle(self, bundle: Thing, seller: str, agrees: bool) -> None:
        """Somebody whose part is in it declines, or agrees again; the shop follows."""
        if bundle.kind != "bundle":
            return
        with self.may_be_refused():
            if agrees:
                self.market.rpc(seller, "agree_to_bundle", bundle_id=bundle.item, terms_version=2)
            else:
                self.market.rpc(seller, "decline_bundle", bundle_id=bundle.item)
        self.market.worker("select private.follow_bundles()")

    @rule(thing=items, on_sale=st.booleans())
    def change_item(self, thing: Thing, on_sale: bool) -> None:
        """Its seller takes it off sale, or puts it there."""
        if thing.kind in KINDS:
            self.market.rows(f"update public.{thing.kind}s set is_for_sale = %s where id = %s", on_sale, thing.item)
        elif thing.kind == "artwork":
            with self.may_be_refused():
                self.market.member(
                    thing.seller,
                    "update public.artworks set status = %s::public.artwork_status where id = %s",
                    "published" if on_sale else "archived",
                    thing.item,
                )
        elif thing.kind in ("bundle", "product") and thing.option is None:
            self.market.rows(
                f"update public.{thing.kind}s set status = %s::public.{thing.kind}_status where id = %s",
                "active" if on_sale else "paused",
                thing.item,
            )
        elif thing.option is not None:
            self.market.member(
                thing.seller, "update public.catalog_options set is_active = %s where id = %s", on_sale, thing.option
            )

    @rule(user=users, seldom=st.integers(0, 3))
    def ban_or_unban(self, user: str, seldom: int) -> None:
        if seldom:
            return
        if self.market.rows("select 1 from public.bans where user_id = %s", user):
            self.market.unban(user)
        else:
            self.market.ban(user)

    @rule(user=users, cents=st.sampled_from([-700, 1, 2000, 8000]))
    def adjust(self, user: str, cents: int) -> None:
        with self.may_be_refused():
            self.market.rpc(
                self.admin,
                "adjust_wallet",
                user_id=user,
                amount_cents=cents,
                reason="x",
                idempotency_key=uuid.uuid4().hex,
            )

    # -- buying -------------------------------------------------------------------------------------------------------

    @rule(
        target=orders,
        buyer=users,
        wanted=st.lists(items, min_size=1, max_size=3, unique=True),
        provider=st.sampled_from(["stripe", "stripe", "wallet"]),
        quantity=st.sampled_from([1, 1, 2, 3]),
        generous=st.booleans(),
        discount=st.sampled_from([None, None, 1, 700, 10**8]),
        twice=st.booleans(),
        codes=st.lists(PICKS, max_size=3),
        receiver=st.one_of(st.none(), st.none(), users),
    )
    def checkout(
        self,
        buyer: str,
        wanted: list[Thing],
        provider: str,
        quantity: int,
        generous: bool,
        discount: int | None,
        twice: bool,
        codes: list[int] | None = None,
        receiver: str | None = None,
    ) -> Order | MultipleResults[Order]:
        lines: list[dict[str, Any]] = []
        self.wanted |= {(thing.item, thing.option): thing for thing in wanted}
        for thing in wanted:
            line: dict[str, Any] = {"item_id": thing.item, "option_id": thing.option, "quantity": quantity}
            if thing.minimum is not None:
                line["offered_price_cents"] = thing.price + 501 if generous else thing.minimum
            if thing.takes_discounts and discount is not None:
                line["details"] = {"discount_cents": min(discount, thing.price * quantity)}
            if receiver is not None and receiver not in (buyer, thing.seller):
                line["gift_to"] = receiver
            lines += [line] * (2 if twice and thing.repeatable and not thing.extras else 1)
        with self.may_be_refused():
            if codes and self.codes:
                return self.checkout_with_coupons(
                    buyer, lines, provider, [self.codes[n % len(self.codes)] for n in codes]
                )
            answer = self.market.checkout(buyer, *lines, provider=provider, country="DE")
            return Order(answer["order_id"], buyer, answer["payment_id"], provider)
        return multiple()

    def checkout_with_coupons(self, buyer: str, lines: list[dict[str, Any]], provider: str, codes: list[str]) -> Order:
        """With those of the codes that can be used: what was shown is what is charged."""
        wanted = {"items": lines, "shipping_address": {"country": "DE"}}
        shown = self.market.rpc(buyer, "preview_checkout", **wanted, coupon_codes="{" + ",".join(codes) + "}")
        usable = [coupon["code"] for coupon in shown["coupons"] if coupon["problem"] is None]
        answer = self.market.rpc(
            buyer, "checkout", **wanted, provider=provider, coupon_codes="{" + ",".join(usable) + "}"
        )
        assert answer["total_cents"] == shown["total_cents"]
        return Order(answer["order_id"], buyer, answer["payment_id"], provider)

    @rule(
        seller=st.one_of(users, st.none()),
        terms=st.sampled_from(
            [{"amount_cents": 300}, {"percent_bps": 3333}, {"percent_bps": 9999}, {"amount_cents": 2000}]
        ),
        limits=st.sampled_from(
            [{}, {"usage_limit": 1}, {"usage_limit": 3}, {"usage_limit_per_customer": 1}, {"minimum_cents": 1000}]
        ),
        budget=st.sampled_from([None, 700]),
    )
    def give_coupon(
        self, seller: str | None, terms: dict[str, int], limits: dict[str, int], budget: int | None
    ) -> None:
        """Of a seller, or of the platform."""
        columns: dict[str, Any] = {"code": f"CODE{number()}", **terms, **limits}
        if seller is None:
            columns |= {"seller_id": self.platform, "budget_cents": budget}
        elif columns.get("percent_bps") == 9999:
            columns["percent_bps"] = 10000
        with self.may_be_refused():
            self.market.member(
                seller or self.admin,
                f"insert into public.coupons ({', '.join(columns)}) values ({', '.join(['%s'] * len(columns))})",
                *columns.values(),
            )
            self.codes.append(columns["code"])

    @rule(target=orders, sender=users, recipient=users, cents=st.sampled_from([50, 100, 2000]), wallet=st.booleans())
    def tip(self, sender: str, recipient: str, cents: int, wallet: bool) -> Order | MultipleResults[Order]:
        provider = "wallet" if wallet else "stripe"
        with self.may_be_refused():
            answer = self.market.rpc(sender, "send_tip", recipient_id=recipient, amount_cents=cents, provider=provider)
            return Order(answer["order_id"], sender, answer["payment_id"], provider)
        return multiple()

    @rule(
        target=agreements,
        seller=users,
        buyer=users,
        kind=st.sampled_from(["good", "task", "task"]),
        cents=st.sampled_from([50, 4000]),
        shipping=st.sampled_from([0, 500]),
        parts=st.integers(1, 2),
        bps=st.sampled_from([None, 0, 10000]),
        is_free=st.sampled_from([None, True, False]),
    )
    def agree(
        self,
        seller: str,
        buyer: str,
        kind: str,
        cents: int,
        shipping: int,
        parts: int,
        bps: int | None,
        is_free: bool | None,
    ) -> Agreement | MultipleResults[Agreement]:
        """On something that is in no shop, paid in parts."""
        if seller == buyer:
            return multiple()
        terms: dict[str, Any] = {
            "kind": kind,
            "subject_id": str(uuid.uuid4()),
            "shipping_cents": shipping,
            "commission_bps": bps,
            "free_until": {None: None, True: "2100-01-01T00:00:00Z", False: "2020-01-01T00:00:00Z"}[is_free],
        }
        ids = [self.market.agree(seller, buyer, cents, part=part, **terms) for part in range(1, parts + 1)]
        return Agreement(tuple(ids), buyer, None)

    @rule(target=agreements, thing=items, buyer=users)
    def award(self, thing: Thing, buyer: str) -> Agreement | MultipleResults[Agreement]:
        """Somebody won a work that was in the shop: whoever was buying it there gets the money back."""
        on_sale = self.market.one("select is_buyable and is_unique from public.catalog_items where id = %s", thing.item)
        if thing.kind != "artwork" or not on_sale or buyer == thing.seller:
            return multiple()
        self.market.rows("update public.artworks set is_for_sale = false where id = %s", thing.item)
        self.market.one("select private.end_holds(%s)", thing.item)
        return Agreement(
            (self.market.agree(thing.seller, buyer, 6000, kind="artwork", item_id=thing.item),), buyer, thing.item
        )

    @rule(target=orders, agreement=agreements, part=st.integers(0, 1), wallet=st.booleans(), now=st.booleans())
    def pay_agreed(self, agreement: Agreement, part: int, wallet: bool, now: bool) -> Order | MultipleResults[Order]:
        provider = "wallet" if wallet else "stripe"
        payable = agreement.parts[part % len(agreement.parts)]
        with self.may_be_refused():
            answer = self.market.pay_agreed(agreement.buyer, payable, provider, country="DE")
            assert payable not in self.ended
            order = Order(answer["order_id"], agreement.buyer, answer["payment_id"], provider)
            if now and not wallet:
                self.succeed_at_once(order)
            return order
        return multiple()

    @rule(agreement=agreements, part=st.integers(0, 1), how=st.sampled_from(["lapsed", "withdrawn"]))
    def end_agreement(self, agreement: Agreement, part: int, how: str) -> None:
        """Its time is over, or it is taken back: unless money may still arrive."""
        payable = agreement.parts[part % len(agreement.parts)]
        if how == "lapsed":
            self.market.rows("update public.payables set pay_by = now() where id = %s", payable)
        over = "select private.end_payable(%s, %s::public.payable_status)"
        if self.market.one(over, payable, how):
            self.ended[payable] = how
            if agreement.item is not None:
                self.market.rows(
                    "update public.artworks set is_for_sale = true where id = %s and status <> 'sold'", agreement.item
                )

    @rule(order=orders)
    def start(self, order: Order) -> None:
        self.open_attempt(order)

    def open_attempt(self, order: Order) -> Charge | None:
        """The worker creates the PaymentIntent; None when it may not."""
        if order.payment is not None:
            with self.may_be_refused():
                self.market.start(order.buyer, order.payment)
                amount = self.market.one("select amount_cents from public.payments where id = %s", order.payment)
                return self.charges.setdefault(order.payment, Charge(order.payment, order.buyer, amount))
        return None

    @rule(target=orders, buyer=users, wanted=st.lists(items, min_size=1, max_size=3, unique=True))
    def buy(self, buyer: str, wanted: list[Thing]) -> Order | MultipleResults[Order]:
        """The usual way, without anything in between."""
        order = self.order(buyer, wanted)
        if isinstance(order, Order):
            self.succeed_at_once(order)
        return order

    def order(self, buyer: str, wanted: list[Thing]) -> Order | MultipleResults[Order]:
        """Of each thing one, at its price."""
        return self.checkout(
            buyer, [thing for thing in wanted if thing.seller != buyer], "stripe", 1, True, None, False
        )

    def succeed_at_once(self, order: Order) -> None:
        """Its charge, if it is not under way yet."""
        charge = self.open_attempt(order)
        if charge is not None and charge.state == "open":
            charge.state = "succeeded"
            self.emit("payment_intent.succeeded", self.market.intent(charge.payment), True)

    @rule(
        target=orders,
        sales=st.lists(st.tuples(users, st.lists(items, min_size=1, max_size=2, unique=True)), min_size=2, max_size=4),
        others=st.lists(orders, max_size=3),
        rest=st.booleans(),
    )
    def buy_together(
        self, sales: list[tuple[str, list[Thing]]], others: list[Order], rest: bool
    ) -> MultipleResults[Order]:
        """Several charges succeed and their events are settled in one go, with whatever else waits."""
        made = [order for buyer, wanted in sales if isinstance(order := self.order(buyer, wanted), Order)]
        for order in made:
            self.open_attempt(order)
        for order in [*made, *others]:
            charge = self.charges.get(order.payment or "")
            if charge is not None and charge.state == "open":
                charge.state = "succeeded"
                self.emit("payment_intent.succeeded", self.market.intent(charge.payment), False)
        waiting = self.market.one(
            "select array_agg(id order by id) from private.webhook_events where status = 'pending'"
        )
        settled = self.settle_together(waiting or [])
        if rest:
            for event in waiting or []:
                if event not in settled:
                    self.process(event)
        return multiple(*made)

    def settle_together(self, events: list[int]) -> list[int]:
        """In halves where one order brings what another one buys, as the workers do; which of them were settled."""
        try:
            return list(self.market.worker("select private.settle_batch(%s::bigint[])", events) or [])
        except psycopg.errors.UniqueViolation:
            assert len(events) > 1
            middle = len(events) // 2
            return self.settle_together(events[:middle]) + self.settle_together(events[middle:])

    @rule(order=orders)
    def cancel_order(self, order: Order) -> None:
        with self.may_be_refused():
            self.market.rpc(order.buyer, "cancel_order", order_id=order.id)

    @rule(order=orders)
    def time_runs_out(self, order: Order) -> None:
        self.market.rows("update public.payments set expires_at = now() where order_id = %s", order.id)
        self.market.worker("select private.expire_unstarted_payments(10)")

    @rule(target=events, now=st.booleans())
    def worker_cancels_attempts(self, now: bool) -> MultipleResults[int]:
        """The provider is asked to cancel; what it already took is settled by its event instead."""
        told = []
        for payment in (
            self.market.worker("select array_agg(payment_id::text) from private.payments_to_cancel(5)") or []
        ):
            charge = self.charges[payment]
            if charge.state == "open":
                charge.state = "cancelled"
                payload = self.market.intent(payment, amount_received=0, latest_charge=None)
                told.append(self.emit("payment_intent.canceled", payload, now))
            if charge.state == "cancelled":
                self.market.worker("select private.payment_cancelled(%s)", payment)
        return multiple(*told)

    # -- what happens at the provider ---------------------------------------------------------------------------------

    @rule(target=events, order=orders, now=st.booleans())
    def charge_succeeds(self, order: Order, now: bool) -> int | MultipleResults[int]:
        charge = self.charges.get(order.payment or "")
        if charge is None or charge.state != "open":
            return multiple()
        charge.state = "succeeded"
        return self.emit("payment_intent.succeeded", self.market.intent(charge.payment), now)

    @rule(target=events, order=orders, now=st.booleans(), after_success=st.booleans())
    def charge_declines(self, order: Order, now: bool, after_success: bool) -> int | MultipleResults[int]:
        """Another card before, or this very charge after it succeeded."""
        charge = self.charges.get(order.payment or "")
        if charge is None:
            return multiple()
        latest = f"ch_{number()}"
        if after_success:
            if charge.state != "succeeded":
                return multiple()
            # What the provider did to refunds before is known when it takes the rest back.
            for refund in charge.refunds.values():
                self.report(refund, True)
            self.drain_quietly()
            charge.kept = charge.amount - charge.left
            charge.state = "reversed"
            latest = f"ch_{charge.payment}"
        elif charge.state != "open":
            return multiple()
        payload = self.market.intent(
            charge.payment, amount_received=0, latest_charge=latest, last_payment_error={"code": "card_declined"}
        )
        # A refund that fails after the charge was taken back and is reported before it looks like one that failed
        # before; the nightly comparison with the provider finds that, no event can.
        return self.emit("payment_intent.payment_failed", payload, now or (after_success and bool(charge.refunds)))

    @rule(target=events, event=events, again=st.booleans())
    def deliver(self, event: int, again: bool) -> int | MultipleResults[int]:
        """Late, repeatedly, or as another event that says the same."""
        if again:
            row = self.market.row("select type, payload from private.webhook_events where id = %s", event)
            return self.emit(row["type"], row["payload"]["data"]["object"], True)
        self.process(event)
        return multiple()

    @rule(order=orders, fee=st.sampled_from([0, 31, 88, 150, 5000]))
    def fee_is_read(self, order: Order, fee: int) -> None:
        charge = self.charges.get(order.payment or "")
        if charge is None or charge.state == "open":
            return
        sales = (
            "select id, amount_seller_cents - refunded_seller_cents as net from public.transactions "
            "where payment_id = %s"
        )
        before = {row["id"]: row["net"] for row in self.market.rows(sales, charge.payment)}
        self.market.fee(charge.payment, fee)
        for row in self.market.rows(sales, charge.payment):
            assert row["net"] >= min(before[row["id"]], 0), "a fee is never its seller's debt"

    # -- refunds ------------------------------------------------------------------------------------------------------

    def line(self, pick: int, where: str) -> dict[str, Any] | None:
        """One of the lines that are as wanted, by the order in which they were ordered."""
        rows = self.market.rows(
            "select i.id, i.seller_id, i.buyer_id, t.payment_id, s.id as parcel from public.order_items as i "
            "join public.orders as o on o.id = i.order_id "
            "left join public.transactions as t on t.order_item_id = i.id "
            f"left join public.shipments as s on s.order_item_id = i.id where {where} "
            "order by o.order_number, i.line_no, s.tracking_number"
        )
        return rows[pick % len(rows)] if rows else None

    @rule(
        target=refunds,
        pick=PICKS,
        by=st.sampled_from(["seller", "admin", "platform"]),
        cents=st.sampled_from([None, None, None, 1, 25, 500, 1000, 2001]),
        now=st.booleans(),
    )
    def ask_for_refund(
        self, pick: int, by: str, cents: int | None, now: bool
    ) -> tuple[str, str] | MultipleResults[tuple[str, str]]:
        """By its seller or an admin at the seller's cost, or at the platform's."""
        line = self.line(pick, "t.id is not null")
        if line is None:
            return multiple()
        with self.may_be_refused():
            if by == "platform":
                refund = self.at_platforms_cost(line["id"], cents)
            else:
                asking = line["seller_id"] if by == "seller" and line["seller_id"] != self.platform else self.admin
                refund = str(self.market.request_refund(asking, line["id"], cents)["id"])
            return self.asked(refund, line["payment_id"], now)
        return multiple()

    def asked(self, refund: str, payment: str, now: bool) -> tuple[str, str]:
        """A refund that was asked for; now: and made at once."""
        if now:
            self.send_refund((refund, payment), "succeeded", False)
        return refund, payment

    def at_platforms_cost(self, line: str, cents: int | None) -> str:
        """As the acts of the kinds ask for it."""
        with self.connection.transaction():
            return self.market.refund_part(line, cents, "platform")

    @rule(target=refunds, pick=PICKS, late=st.booleans(), now=st.booleans())
    def step_back(self, pick: int, late: bool, now: bool) -> tuple[str, str] | MultipleResults[tuple[str, str]]:
        """Its buyer, in the free window or when it was not sent in time."""
        line = self.line(pick, "t.free_until is not null or t.ship_by is not null")
        if line is None:
            return multiple()
        if late:
            self.market.rows(
                "update public.transactions set free_until = free_until - interval '99 years', "
                "ship_by = ship_by - interval '1 year' where order_item_id = %s",
                line["id"],
            )
        with self.may_be_refused():
            refund = self.market.cancel_line(line["buyer_id"], line["id"])
            return self.asked(str(refund["id"]), line["payment_id"], now)
        return multiple()

    # -- what was promised --------------------------------------------------------------------------------------------

    @rule(pick=PICKS)
    def finish(self, pick: int) -> None:
        """A task is done, with every other part of what was agreed; a second time nothing happens."""
        line = self.line(pick, "i.kind = 'task'")
        if line is None:
            return
        lines = self.market.one(
            "select array_agg(i.id) from public.order_items as i "
            "left join public.payables as a on a.id = i.payable_id "
            "where i.kind = 'task' and (i.id = %s or a.subject_id = (select o.subject_id "
            "from public.order_items as j join public.payables as o on o.id = j.payable_id where j.id = %s))",
            line["id"],
            line["id"],
        )
        done = "select id, completed_at, release_at from public.transactions where order_item_id = any (%s::uuid[])"
        self.market.finish(*lines)
        before = self.market.rows(done, lines)
        assert self.market.finish(*lines) == 0
        assert self.market.rows(done, lines) == before

    @rule(pick=PICKS, tracked=st.booleans())
    def ship(self, pick: int, tracked: bool) -> None:
        line = self.line(pick, "i.is_shipped and (t.id is not null or i.charged_cents = 0)")
        if line is not None:
            with self.may_be_refused():
                self.market.rpc(
                    line["seller_id"],
                    "ship_line",
                    order_item_id=line["id"],
                    carrier="DHL",
                    tracking_number=f"AAAA{number():09}" if tracked else None,
                )

    @rule(
        pick=PICKS,
        who=st.sampled_from(["buyer", "seller", "carrier", "nobody"]),
        status=st.sampled_from(["in_transit", "delivered", "lost", "returned"]),
        hours=st.integers(-2, 2),
    )
    def parcel_moves(self, pick: int, who: str, status: str, hours: int) -> None:
        """Its buyer has it, its seller has it again, the carrier says something, nobody says anything."""
        line = self.line(pick, "s.id is not null")
        if line is None:
            return
        with self.may_be_refused():
            if who == "buyer":
                self.market.rpc(line["buyer_id"], "confirm_delivery", order_item_id=line["id"])
            elif who == "seller":
                self.market.rpc(line["seller_id"], "confirm_return", order_item_id=line["id"])
            elif who == "carrier":
                report = "select private.record_shipment(%s, %s, now() + %s * interval '1 hour')"
                self.market.worker(report, line["parcel"], status, hours)
            else:
                silence = "update public.shipments set status_at = status_at - interval '15 days' where id = %s"
                self.market.rows(silence, line["parcel"])
                self.market.worker("select private.assume_deliveries(100)")

    # -- the provider's side of refunds -------------------------------------------------------------------------------

    @rule(
        target=provider_refunds,
        refund=refunds,
        status=st.sampled_from(["succeeded", "succeeded", "pending", "failed"]),
        answer_lost=st.booleans(),
    )
    def send_refund(self, refund: tuple[str, str], status: str, answer_lost: bool) -> Refund | MultipleResults[Refund]:
        """The worker's job; with the answer lost the provider knows it and we do not."""
        id_, payment = refund
        wanted = self.market.claim_refund(id_)
        if wanted is None:
            return multiple()
        charge = self.charges[payment]
        made = charge.refunds.get(f"re_{id_}")  # The idempotency key finds the one already made.
        if made is None:
            if charge.left < wanted["amount_cents"]:
                self.market.worker("select private.record_refund(%s, null, 'failed', 'charge_already_refunded')", id_)
                return multiple()
            made = charge.refunds[f"re_{id_}"] = Refund(charge, f"re_{id_}", wanted["amount_cents"], status, id_)
        if answer_lost:
            return made
        with self.may_wait():
            self.market.worker("select private.record_refund(%s, %s, %s)", id_, made.ref, made.status)
        return made

    @contextmanager
    def may_wait(self) -> Iterator[None]:
        """A worker's report may need an earlier one; its job is tried again later."""
        try:
            yield
        except psycopg.Error as error:
            if error.sqlstate != "AV002":
                raise

    @rule(
        target=provider_refunds,
        order=orders,
        cents=st.sampled_from([1, 500, 1000, 10**8]),
        status=st.sampled_from(["succeeded", "pending"]),
    )
    def dashboard_refund(self, order: Order, cents: int, status: str) -> Refund | MultipleResults[Refund]:
        charge = self.charges.get(order.payment or "")
        if charge is None or charge.left == 0:
            return multiple()
        ref = f"re_{number()}"
        charge.refunds[ref] = Refund(charge, ref, min(cents, charge.left), status)
        return charge.refunds[ref]

    @rule(
        target=events,
        refund=provider_refunds,
        status=st.sampled_from(["succeeded", "failed", "canceled"]),
        now=st.booleans(),
    )
    def refund_moves_on(self, refund: Refund, status: str, now: bool) -> int:
        """pending → succeeded → failed, and so on; or the same said again."""
        order = ["pending", "succeeded", "failed", "canceled"]
        if order.index(status) > order.index(refund.status) and refund.status in ("pending", "succeeded"):
            refund.status = status
        return self.report(refund, now)

    @rule(target=orders, pick=PICKS, buyer=users, in_time=st.booleans())
    def refund_fails_after_resale(self, pick: int, buyer: str, in_time: bool) -> Order | MultipleResults[Order]:
        """What was given back is bought again, or is just being paid for, when its refund fails after all."""
        made = [
            refund
            for charge in self.charges.values()
            for refund in charge.refunds.values()
            if refund.status == "succeeded" and charge.state == "succeeded"
        ]
        if not made:
            return multiple()
        refund = made[pick % len(made)]
        self.report(refund, True)
        lines = self.market.rows(
            "select i.item_id, i.option_id from public.order_items as i "
            "join public.transactions as t on t.order_item_id = i.id "
            "where t.payment_id = %s and t.refunded_cents = t.amount_total_cents order by i.line_no",
            refund.charge.payment,
        )
        wanted = [self.wanted.get((line["item_id"], line["option_id"])) for line in lines]
        order = self.order(buyer, list({thing: None for thing in wanted if thing is not None}))
        if in_time and isinstance(order, Order):
            self.succeed_at_once(order)
        refund.status = "failed"
        self.report(refund, True)
        return order

    def report(self, refund: Refund, now: bool) -> int:
        """refund.updated as it stands."""
        payload = {
            "object": "refund",
            "id": refund.ref,
            "amount": refund.amount,
            "currency": "usd",
            "payment_intent": f"pi_{refund.charge.payment}",
            "status": refund.status,
            "metadata": {"refund_id": refund.ours, "payment_id": refund.charge.payment} if refund.ours else {},
        }
        return self.emit("refund.updated", payload, now)

    # -- time and payouts ---------------------------------------------------------------------------------------------

    @rule(batch=st.integers(1, 5))
    def days_pass(self, batch: int) -> None:
        self.market.mature()
        self.market.worker("select private.release_matured_earnings(%s)", batch)

    @rule(target=payouts, user=users, cents=st.sampled_from([5000, 5001, 120000]))
    def request_payout(self, user: str, cents: int) -> str | MultipleResults[str]:
        with self.may_be_refused():
            return self.market.request_payout(user, cents)
        return multiple()

    @rule(payout=payouts, what=st.sampled_from(["approve_payout", "cancel_payout"]))
    def decide_payout(self, payout: str, what: str) -> None:
        with self.may_be_refused():
            self.market.rpc(self.admin, what, payout_id=payout)

    @rule(payout=payouts, refused=st.booleans(), answer_lost=st.booleans())
    def send_payout(self, payout: str, refused: bool, answer_lost: bool) -> None:
        claimed = self.market.claim(payout)
        if claimed is None:
            return
        if payout not in self.transfers:
            if refused:
                self.market.fail(payout, "account_closed")
                return
            self.transfers[payout] = (claimed["amount_cents"], "made")
        if not answer_lost:
            self.market.complete(payout, claimed["amount_cents"])

    @rule(target=events, payout=payouts, returned=st.booleans(), now=st.booleans())
    def transfer_is_reported(self, payout: str, returned: bool, now: bool) -> int | MultipleResults[int]:
        if payout not in self.transfers:
            return multiple()
        amount, state = self.transfers[payout]
        if returned:
            self.transfers[payout] = (amount, state := "reversed")
        row = self.market.row("select destination from public.payouts where id = %s", payout)
        payload = {
            "object": "transfer",
            "id": f"tr_{payout}",
            "amount": amount,
            "amount_reversed": amount if state == "reversed" else 0,
            "currency": "usd",
            "destination": row["destination"],
            "metadata": {"payout_id": payout},
        }
        return self.emit("transfer.reversed" if returned else "transfer.created", payload, now)

    @rule(user=users, change=st.booleans())
    def destination(self, user: str, change: bool) -> None:
        """Changed, or the time of waiting is over."""
        if change:
            self.market.onboard(user, f"acct_{number()}")
        else:
            self.market.rows("update public.wallets set payouts_held_until = null where user_id = %s", user)

    # -- always -------------------------------------------------------------------------------------------------------

    @invariant()
    def the_books_are_right(self) -> None:
        with self.connection.cursor() as cursor:
            assert cursor.execute(self.everything(), prepare=True).fetchall() == []
        for payable, how in self.ended.items():
            assert self.market.status("payables", payable) == how

    @classmethod
    def everything(cls) -> bytes:
        """The text of ledger.audit() and of all queries: one prepared statement is planned once, not 5,000 times."""
        if cls.checks is None:
            audit = cls.connection.execute("select prosrc from pg_proc where oid = 'ledger.audit'::regproc").fetchone()
            assert audit is not None
            # The query in its plpgsql body.
            text = audit[0].partition("return query")[2].rpartition(";\nend")[0]
            named = {"the books are right": text, **STATE}.items()
            cls.checks = " union all ".join(
                f"select $name${name}$name$ as what, wrong::text from ({query}) as wrong" for name, query in named
            ).encode()
        return cls.checks


@pytest.fixture(scope="module", autouse=True)
def kinds(connection: psycopg.Connection[Any]) -> None:
    """Kinds of goods that can do everything."""
    Market(connection).make_kinds()


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_money_holds(connection: psycopg.Connection[Any]) -> None:
    Money.connection = connection
    connection.execute("set log_min_messages = fatal")  # Thousands of refusals would bury what matters.
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=int(EXAMPLES or 36),
            stateful_step_count=STEPS,
            derandomize=EXAMPLES is None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # Finding the shortest failing run takes minutes: for those who ask.
            phases=[Phase.generate] if EXAMPLES is None else list(Phase),
        ),
    )

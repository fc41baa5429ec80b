"""Thousands of random steps over the whole money: after each one every invariant of the books holds.

A small model of the provider says what really happened to charges, refunds and transfers; its events are delivered at
once, late, in another order, repeatedly. When all of them have arrived, our clearing account must say the same.

AVENUE_MONEY_EXAMPLES sets how many runs of up to 100 steps are made; given at all, they are new ones each time and a
failing one is shortened.
"""

from __future__ import annotations

import os
import uuid
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
    "a product is owned exactly by those who paid and were not paid back": """
        select l.buyer_id, l.item_id
        from public.order_items as l
        join public.orders as o on o.id = l.order_id
        join public.catalog_items as c on c.id = l.item_id
        left join public.transactions as t on t.order_item_id = l.id
        where not c.is_unique
        group by l.buyer_id, l.item_id
        having private.owns_item(l.buyer_id, l.item_id) <> coalesce(bool_or(case
            when t.id is not null then t.refunded_cents < t.amount_total_cents
            else l.total_cents = 0 and o.status in ('completed', 'refunded', 'partially_refunded')
        end), false)
    """,
    "one of a kind has one owner who paid, and is sold exactly while it has one": """
        select c.id, a.status, p.buyers
        from public.catalog_items as c
        join public.artworks as a on a.id = c.id
        cross join lateral (
            select array_agg(p.owner_id) as buyers from public.purchases as p
            where p.item_id = c.id and p.revoked_at is null
        ) as p
        where (a.status = 'sold') <> (coalesce(cardinality(p.buyers), 0) = 1)
            or cardinality(p.buyers) > 1
            or a.status <> 'sold' and exists (
                select from public.transactions as t
                where t.related_id = c.id and t.refunded_cents < t.amount_total_cents
            )
    """,
    "an entitlement rests on a line that was not paid back": """
        select p.* from public.purchases as p
        join public.transactions as t on t.order_item_id = p.order_item_id
        where p.revoked_at is null
            and (t.refunded_cents = t.amount_total_cents or (t.buyer_id, t.related_id) <> (p.owner_id, p.item_id))
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
            select count(*) from public.purchases as p where p.item_id = c.id and p.revoked_at is null
        )
    """,
    "lifetime totals are sums": """
        select w.user_id from public.wallets as w
        where w.total_earned_cents <> coalesce((
            select sum(t.amount_seller_cents - t.refunded_seller_cents) from public.transactions as t
            where t.seller_id = w.user_id
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
            )
        )
    """,
    "who gave nothing back has lost nothing by a sale": """
        select t.id from public.transactions as t where t.refunded_cents = 0 and t.amount_seller_cents < 0
    """,
    "nobody has more than one open payout": """
        select user_id from public.payouts where status in ('requested', 'approved', 'processing')
        group by user_id having count(*) > 1
    """,
    "no event contradicts the books": "select type, last_error from private.webhook_events where status = 'dead'",
}
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
    users = Bundle("users")
    items = Bundle("items")
    orders = Bundle("orders")
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
        self.prices: dict[str, tuple[int, int | None]] = {}
        self.sellers: dict[str, str] = {}
        self.people = 0
        self.admin = self.market.sign_up(role="admin")

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
    def goods_arrive(self, seller: str, other: str) -> MultipleResults[str]:
        """Something to begin with, of few sellers: everybody else wants the same."""
        goods = [(self.market.product(seller, price), price) for price in (999, 7777)]
        goods += [(self.market.artwork(other, price), price) for price in (2000, 50000)]
        self.prices |= {item: (price, None) for item, price in goods}
        items = [item for item, _ in goods]
        self.sellers |= dict(zip(items, [seller, seller, other, other], strict=True))
        return multiple(*items)

    @initialize(
        target=orders,
        sales=st.lists(st.tuples(users, st.lists(items, min_size=1, max_size=3, unique=True)), min_size=4, max_size=4),
    )
    def sales_arrive(self, sales: list[tuple[str, list[str]]]) -> MultipleResults[Order]:
        """Half of what can happen needs a sale, so some are made at once."""
        orders = [self.buy(buyer, wanted) for buyer, wanted in sales]
        return multiple(*(order for order in orders if isinstance(order, Order)))

    def sign_up(self, tier: str) -> str:
        """Somebody who can sell, buy and be paid out."""
        user = self.market.sign_up(tier)
        self.market.onboard(user)
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
    def list_product(self, seller: str, price: int, minimum: int | None) -> str | MultipleResults[str]:
        minimum = minimum if minimum is None or price >= minimum else None
        with self.may_be_refused():
            item = self.market.product(seller, price, minimum)
            self.prices[item], self.sellers[item] = (price, minimum), seller
            return item
        return multiple()

    @rule(target=items, seller=users, price=st.sampled_from([0, 50, 2000, 50000]))
    def list_artwork(self, seller: str, price: int) -> str | MultipleResults[str]:
        with self.may_be_refused():
            item = self.market.artwork(seller, price)
            self.prices[item], self.sellers[item] = (price, None), seller
            return item
        return multiple()

    @rule(item=items, status=st.sampled_from(["archived", "published"]))
    def change_artwork(self, item: str, status: str) -> None:
        with self.may_be_refused():
            query = "update public.artworks set status = %s::public.artwork_status where id = %s"
            self.market.member(self.sellers[item], query, status, item)

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
        provider=st.sampled_from(["stripe", "stripe", "stripe", "wallet"]),
        quantity=st.sampled_from([1, 1, 3]),
        generous=st.booleans(),
    )
    def checkout(
        self, buyer: str, wanted: list[str], provider: str, quantity: int, generous: bool
    ) -> Order | MultipleResults[Order]:
        lines: list[dict[str, Any]] = []
        for item in wanted:
            price, minimum = self.prices[item]
            line: dict[str, Any] = {"item_id": item, "quantity": quantity}
            if minimum is not None:
                line["price_cents"] = price + 501 if generous else minimum
            lines.append(line)
        with self.may_be_refused():
            answer = self.market.checkout(buyer, *lines, provider=provider)
            return Order(answer["order_id"], buyer, answer["payment_id"], provider)
        return multiple()

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
    def buy(self, buyer: str, wanted: list[str]) -> Order | MultipleResults[Order]:
        """The usual way, without anything in between."""
        wanted = [item for item in wanted if self.sellers[item] != buyer]
        order = self.checkout(buyer, wanted, "stripe", 1, True)
        charge = self.open_attempt(order) if isinstance(order, Order) else None
        if charge is not None:
            charge.state = "succeeded"
            self.emit("payment_intent.succeeded", self.market.intent(charge.payment), True)
        return order

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

    @rule(
        target=refunds,
        order=orders,
        line=st.integers(1, 2),
        by_seller=st.booleans(),
        cents=st.sampled_from([None, None, 1, 25, 500, 1000, 2001]),
    )
    def ask_for_refund(
        self, order: Order, line: int, by_seller: bool, cents: int | None
    ) -> tuple[str, str] | MultipleResults[tuple[str, str]]:
        rows = self.market.rows(
            "select id, seller_id from public.order_items where order_id = %s and line_no = %s", order.id, line
        )
        with self.may_be_refused():
            for row in rows:
                refund = self.market.request_refund(row["seller_id"] if by_seller else self.admin, row["id"], cents)
                return str(refund["id"]), str(order.payment)
        return multiple()

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
            assert cursor.execute(self.audit(), prepare=True).fetchall() == []
            for name, query in STATE.items():
                assert cursor.execute(query.encode(), prepare=True).fetchall() == [], name

    @classmethod
    def audit(cls) -> bytes:
        """The text of ledger.audit(): as a prepared statement it is planned once instead of 5,000 times."""
        if not hasattr(cls, "_audit"):
            row = cls.connection.execute("select prosrc from pg_proc where oid = 'ledger.audit'::regproc").fetchone()
            assert row is not None
            cls._audit = row[0].encode()
        return cls._audit  # type: ignore[no-any-return]


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_money_holds(connection: psycopg.Connection[Any]) -> None:
    Money.connection = connection
    connection.execute("set log_min_messages = fatal")  # Thousands of refusals would bury what matters.
    run_state_machine_as_test(
        Money,
        settings=settings(
            max_examples=int(EXAMPLES or 60),
            stateful_step_count=STEPS,
            derandomize=EXAMPLES is None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # Finding the shortest failing run takes minutes: for those who ask.
            phases=[Phase.generate] if EXAMPLES is None else list(Phase),
        ),
    )

"""Service orders on connections of their own: one winner, no deadlock, the books right whoever comes first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.harness.server import Database
from tests.market.order_market import Sold, by_offer, extra, offer
from tests.money.market import Market
from tests.money.races import Job, committing, together


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


def act(sold: Sold, side: str, function: str, **arguments: object) -> Job:
    """One side's call on a connection of its own; its answer is the order's state then."""

    def call(market: Market) -> str:
        return str(market.rpc(sold.side(side), function, service_order_id=sold.id, **arguments)["status"])

    return call


def sweep(market: Market) -> str:
    """The job."""
    return f"swept {market.worker('select private.advance_service_orders(100)')}"


@pytest.mark.parametrize("round_", range(6))
def test_market_03_the_job_revise_and_cancel_in_one_second(database: Database, market: Market, round_: int) -> None:
    """One winner, and the others hear what it is now; the deadline has passed for all of them, or for none."""
    sold = by_offer(market)
    sold.deliver()
    is_due = round_ % 2 == 0
    if is_due:
        sold.pass_time(72)
    answers = together(
        database,
        [
            sweep,
            act(sold, "buyer", "request_revision", note="Louder."),
            act(sold, "seller", "cancel_service_order", reason="No time."),
            act(sold, "buyer", "approve_service_order"),
            sweep,
        ],
    )
    won = [answer for answer in answers[1:4] if answer != "state_changed"]
    final = sold.status
    if is_due:
        assert won == []
        market.worker("select private.advance_service_orders(100)")
        assert sold.row()["status"] == "completed"
    else:
        # A revision may still be cancelled by the seller: that is two moves, one after the other.
        assert 1 <= len(won) <= 2
        assert final in won
        assert final == "cancelled" or len(won) == 1
    moves = market.rows(
        "select from_state, to_state from public.service_order_events where service_order_id = %s and "
        "from_state is distinct from to_state order by id",
        sold.id,
    )
    assert all(a["to_state"] == b["from_state"] for a, b in itertools.pairwise(moves))


def test_market_06_the_last_revision_from_two_tabs(database: Database, market: Market) -> None:
    """The second finds it asked for."""
    for _ in range(5):
        sold = by_offer(market, revisions=1)
        sold.deliver()
        ask = act(sold, "buyer", "request_revision", note="Louder.")
        assert sorted(together(database, [ask, ask])) == ["revision_requested", "state_changed"]
        assert sold.row()["revisions_used"] == 1


def test_market_07_accepted_and_changed_at_once(database: Database, market: Market) -> None:
    """Either the version that was seen is agreed, or nothing is."""
    for _ in range(5):
        seller, buyer = market.sign_up(), market.sign_up()
        made = offer(market, seller, buyer)
        until = str(made["valid_until"])

        def accept(on: Market, made: object = made["id"], buyer: str = buyer) -> str:
            return str(on.rpc(buyer, "accept_offer", offer_id=made, version=1)["payable_id"])

        def change(on: Market, made: object = made["id"], seller: str = seller, until: str = until) -> str:
            terms = {"title": "A mix", "terms": "Three.", "price_cents": 90000, "delivery_days": 5, "revisions": 0}
            return str(on.rpc(seller, "revise_offer", offer_id=made, valid_until=until, **terms)["version"])

        first, second, changed = together(database, [accept, accept, change])
        assert first == second
        assert (first == "offer_changed") == (changed == "2")
        amounts = market.rows("select amount_cents from public.payables where subject_id = %s", made["id"])
        assert [row["amount_cents"] for row in amounts] == ([] if changed == "2" else [10000])


def test_an_extra_is_paid_while_the_order_ends(database: Database, market: Market) -> None:
    """It goes back with the order or by itself: nothing is kept, nobody waits in a circle."""
    for _ in range(8):
        sold = by_offer(market)
        more = extra(sold)
        attempt = market.pay_agreed(sold.buyer, more["payable_id"])
        market.start(sold.buyer, attempt["payment_id"])
        event = market.store("payment_intent.succeeded", market.intent(attempt["payment_id"]))

        def settle(on: Market, event: int = event) -> str:
            return on.process(event)

        settled, ended = together(database, [settle, act(sold, "seller", "cancel_service_order", reason="No time.")])
        assert (settled, ended) == ("processed", "cancelled")
        assert (
            market.one("select sum(amount_cents) from public.refunds where payment_id = %s", attempt["payment_id"])
            == 2000
        )


def test_a_refund_is_booked_while_both_sides_act(database: Database, market: Market) -> None:
    """The seller's refund of all of it arrives as the buyer approves: one end, and the books agree."""
    for _ in range(6):
        sold = by_offer(market)
        sold.deliver()
        refund = market.request_refund(sold.seller, sold.row()["order_item_id"])["id"]
        market.claim_refund(refund)

        def book(on: Market, refund: str = refund) -> str:
            on.worker("select private.record_refund(%s, %s, 'succeeded')", refund, f"re_{refund}")
            return "booked"

        booked, answer = together(database, [book, act(sold, "buyer", "approve_service_order")])
        assert booked == "booked"
        assert answer in ("completed", "state_changed")
        assert sold.status == "refunded"


def test_the_seller_is_banned_while_the_order_is_delivered(database: Database, market: Market) -> None:
    """Delivered first: it runs on. Banned first: it is cancelled with its refund."""
    for _ in range(5):
        sold = by_offer(market)
        admin = market.sign_up(role="admin")

        def ban(on: Market, admin: str = admin, sold: Sold = sold) -> str:
            return str(on.rpc(admin, "ban_user", user_id=sold.seller, reason="spam"))

        together(database, [act(sold, "seller", "deliver_service_order", notes="Here."), ban])
        while market.one("select count(*) from private.account_changes where user_id = %s", sold.seller):
            market.worker("select private.advance_account(%s)", sold.seller)
        assert sold.status in ("delivered", "cancelled")
        assert len(sold.refunds()) == (sold.status == "cancelled")

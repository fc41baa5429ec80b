"""money.md's sharp cases, each under its number, as far as its flow exists."""

from __future__ import annotations

import uuid

import pytest

from tests.money.market import Json, Market, refused

Sale = tuple[str, str, str, Json]


def sale(market: Market, price: int = 2000, artwork: bool = False, tier: str = "standard") -> Sale:
    """A settled card sale: (seller, buyer, item, order)."""
    seller, buyer = market.sign_up(tier), market.sign_up()
    item = market.artwork(seller, price) if artwork else market.product(seller, price)
    return seller, buyer, item, market.buy(buyer, item)


# -- 6: declined at settlement after success --------------------------------------------------------------------------


def test_06_a_charge_declined_after_success_is_a_full_reversal(market: Market) -> None:
    seller, buyer, item, order = sale(market, artwork=True)
    for _ in range(2):
        assert market.decline(order["payment_id"], order["charge"]) == "processed"
        assert market.status("payments", order["payment_id"]) == "refunded"
        assert market.status("orders", order["order_id"]) == "refunded"
        assert not market.owns(buyer, item)
        assert market.listed(item)
        # Unlike a refund's, the provider gives its fee back: the seller loses what the sale brought, nothing more.
        assert market.wallet(seller) == (0, 0, 0)
    assert len(market.rows("select * from public.refunds")) == 1


def test_06_in_the_other_order_the_success_is_reversed_at_once(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    assert market.decline(order["payment_id"], "ch_1") == "processed"
    assert market.status("payments", order["payment_id"]) == "failed"
    assert market.succeed(order["payment_id"], charge="ch_1") == "processed"
    assert market.status("payments", order["payment_id"]) == "refunded"
    assert not market.owns(buyer, item)
    assert market.listed(item)
    assert market.wallet(seller) == (0, 0, 0)


def test_06_both_orders_end_in_the_same_books(market: Market) -> None:
    ends = []
    for first in ("success", "decline"):
        with market.connection.transaction(force_rollback=True):
            buyer = market.sign_up()
            order = market.checkout(buyer, market.product(market.sign_up("standard"), 2000))
            market.start(buyer, order["payment_id"])
            steps = [market.succeed, market.decline]
            for step in steps if first == "success" else reversed(steps):
                step(order["payment_id"], "ch_1")
            market.check()
            ends.append((market.balances(), market.status("orders", order["order_id"])))
    assert ends[0] == ends[1]


def test_06_another_cards_decline_takes_nothing_back(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.decline(order["payment_id"], "ch_1")
    market.succeed(order["payment_id"], charge="ch_2")
    market.decline(order["payment_id"], "ch_3")
    assert market.status("payments", order["payment_id"]) == "succeeded"
    assert market.owns(buyer, item)
    assert market.wallet(seller) == (0, 1312, 0)


def test_06_after_a_partial_refund_only_the_rest_is_reversed(market: Market) -> None:
    seller, _, _, order = sale(market)
    market.refund(seller, market.line(order["order_id"]), 500)
    market.decline(order["payment_id"], order["charge"])
    assert market.balances() == {}, "everybody is where they were before the sale"


def test_06_paid_again_after_the_decline_is_another_sale(market: Market) -> None:
    seller, buyer, item, order = sale(market, artwork=True)
    payment = order["payment_id"]
    second = market.store("payment_intent.succeeded", market.intent(payment, latest_charge="ch_2"))
    assert market.process(second) == "retry", "which charge is left nobody knows before the decline"
    assert market.decline(payment, order["charge"]) == "processed"
    assert market.process(second) == "processed", market.why_of(second)
    assert market.owns(buyer, item)
    assert market.wallet(seller) == (0, 1312, 0)
    (again,) = market.rows("select * from public.payments where provider_ref = 'ch_2'")
    assert market.status("orders", again["order_id"]) == "completed"
    market.fee(str(again["id"]), 90)
    assert market.decline(payment, "ch_2") == "processed"
    assert market.wallet(seller) == (0, 0, 0)
    assert market.succeed(payment, charge="ch_2") == market.succeed(payment, charge=order["charge"]) == "processed"
    assert market.succeed(payment, charge="ch_3") == "processed"
    assert market.owns(buyer, item)
    assert market.balances()["clearing:stripe"] == -2000


def test_06_a_late_success_of_a_declined_charge_leaves_the_intent_to_be_cancelled(market: Market) -> None:
    _, _, _, order = sale(market)
    payment = order["payment_id"]
    closings = "select count(*) from private.payment_closings"
    assert market.decline(payment, order["charge"]) == "processed"
    assert market.decline(payment, "ch_2") == "processed"
    assert market.succeed(payment, charge="ch_2") == "processed"
    assert market.one(closings) == 1, "it pays nothing, and the buyer could pay again"
    assert market.succeed(payment, charge="ch_3") == "processed"
    assert market.one(closings) == 0
    assert market.decline(payment, "ch_3") == "processed"
    assert market.succeed(payment, charge="ch_3") == "processed"
    assert market.one(closings) == 1


def test_06_a_declined_success_for_gone_goods_sends_no_refund(market: Market) -> None:
    """There is nothing left at the provider to give back."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.decline(order["payment_id"], "ch_1")
    market.cancel(order["payment_id"])
    market.buy(market.sign_up(), item)
    assert market.succeed(order["payment_id"], charge="ch_1") == "processed"
    assert market.status("payments", order["payment_id"]) == "refunded"
    assert market.balances().get("refunds_payable") is None
    assert market.rows("select * from public.refunds where status = 'requested'") == []


# -- 7: partial refunds add up ----------------------------------------------------------------------------------------


def test_07_partial_refunds_add_up_and_the_last_flips_to_refunded(market: Market) -> None:
    seller, buyer, item, order = sale(market)
    line = market.line(order["order_id"])
    for cents, status in ((500, "partially_refunded"), (700, "partially_refunded"), (800, "refunded")):
        assert market.owns(buyer, item)
        market.refund(seller, line, cents)
        assert market.status("payments", order["payment_id"]) == status
        assert market.status("orders", order["order_id"]) == status
        assert market.sales(order["order_id"])[0]["status"] == status
    assert not market.owns(buyer, item)
    assert market.balances() == {"fees:stripe": 88, "users debt": -88}


@pytest.mark.parametrize("cents", [1501, 2000, 0, -1])
def test_07_more_than_the_rest_zero_and_negative_are_refused(market: Market, cents: int) -> None:
    seller, _, _, order = sale(market)
    line = market.line(order["order_id"])
    market.refund(seller, line, 500)
    with refused("refund_amount_invalid"):
        market.request_refund(seller, line, cents)


def test_07_refunds_under_way_count(market: Market) -> None:
    seller, _, _, order = sale(market)
    line = market.line(order["order_id"])
    market.request_refund(seller, line, 1500)
    with refused("refund_amount_invalid"):
        market.request_refund(seller, line, 501)
    market.request_refund(seller, line, 500)
    with refused("refund_amount_invalid"):
        market.request_refund(seller, line, 1)


def test_07_a_pending_refund_of_the_dashboard_counts_too(market: Market) -> None:
    seller, _, _, order = sale(market)
    market.provider_refund(order["payment_id"], 1500, status="pending")
    with refused("refund_amount_invalid"):
        market.request_refund(seller, market.line(order["order_id"]), 501)
    market.request_refund(seller, market.line(order["order_id"]), 500)


def test_07_a_refund_under_way_can_fail_and_be_asked_for_again(market: Market) -> None:
    seller, _, _, order = sale(market)
    line = market.line(order["order_id"])
    refund = market.request_refund(seller, line)
    market.worker("select private.record_refund(%s, 're_1', 'failed', 'expired_or_canceled_card')", refund["id"])
    assert market.wallet(seller) == (0, 1312, 0)
    market.refund(seller, line)
    assert market.status("payments", order["payment_id"]) == "refunded"


def test_07_the_same_provider_refund_id_twice_is_one_another_is_another(market: Market) -> None:
    seller, _, _, order = sale(market)
    for ref, total in (("re_1", 300), ("re_1", 300), ("re_2", 600)):
        assert market.provider_refund(order["payment_id"], 300, ref=ref) == "processed"
        assert market.one("select refunded_cents from public.payments") == total
    assert market.wallet(seller) == (0, 1312 - 2 * 210, 0)


def test_07_the_same_key_is_the_same_refund(market: Market) -> None:
    seller, _, _, order = sale(market)
    first = market.request_refund(seller, market.line(order["order_id"]), 300, key="k")
    again = market.request_refund(seller, market.line(order["order_id"]), 300, key="k")
    assert first["id"] == again["id"]


# -- 8: made in the provider's dashboard ------------------------------------------------------------------------------


def test_08_a_dashboard_refund_is_booked_from_its_event(market: Market) -> None:
    seller, buyer, item, order = sale(market, artwork=True)
    assert market.provider_refund(order["payment_id"], 2000) == "processed"
    assert market.status("orders", order["order_id"]) == "refunded"
    assert not market.owns(buyer, item)
    assert market.listed(item)
    assert market.wallet(seller) == (0, 0, 88)


def test_08_a_partial_dashboard_refund_is_spread_over_the_lines(market: Market) -> None:
    sellers = [market.sign_up("standard"), market.sign_up("basic"), market.sign_up("ultimate")]
    items = [market.product(seller, price) for seller, price in zip(sellers, [999, 499, 77], strict=True)]
    buyer = market.sign_up()
    order = market.buy(buyer, *items)
    assert market.provider_refund(order["payment_id"], 500) == "processed"
    # 500 × 999/1575 = 317.14, × 499/1575 = 158.41, × 77/1575 = 24.44: the odd cent goes to the largest remainder.
    assert [row["refunded_cents"] for row in market.sales(order["order_id"])] == [317, 158, 25]
    assert all(market.owns(buyer, item) for item in items)
    assert market.provider_refund(order["payment_id"], 1075) == "processed"
    assert [row["refunded_cents"] for row in market.sales(order["order_id"])] == [999, 499, 77]
    assert not any(market.owns(buyer, item) for item in items)
    assert market.balances() == {"fees:stripe": 76, "users debt": -76}


def test_08_a_dashboard_refund_after_a_line_refund_takes_what_is_left(market: Market) -> None:
    first, second = market.sign_up("standard"), market.sign_up("standard")
    order = market.buy(market.sign_up(), market.product(first, 2000), market.product(second, 2000))
    market.refund(first, market.line(order["order_id"]))
    assert market.provider_refund(order["payment_id"], 1000) == "processed"
    assert [row["refunded_cents"] for row in market.sales(order["order_id"])] == [2000, 1000]
    assert market.provider_refund(order["payment_id"], 1001) == "retry"
    assert market.provider_refund(order["payment_id"], 1000) == "processed"
    assert market.status("payments", order["payment_id"]) == "refunded"


def test_08_a_dashboard_refund_crossing_one_of_ours_is_booked_beside_it(market: Market) -> None:
    """Ours of line 2 is on its way when somebody gives back 500 of the whole; the provider made both."""
    sellers = [market.sign_up("standard") for _ in range(2)]
    items = [market.product(seller, price) for seller, price in zip(sellers, [2000, 500], strict=True)]
    buyer = market.sign_up()
    order = market.buy(buyer, *items)
    ours = market.request_refund(sellers[1], market.line(order["order_id"], 2))
    assert market.provider_refund(order["payment_id"], 500) == "processed"
    assert market.provider_refund(order["payment_id"], 500, ours=ours["id"]) == "processed"
    assert [row["refunded_cents"] for row in market.sales(order["order_id"])] == [500, 500]
    assert market.one("select refunded_cents from public.payments") == 1000
    assert [market.owns(buyer, item) for item in items] == [True, False]


def test_08_a_refund_that_overtakes_anothers_failure_waits_for_it(market: Market) -> None:
    _, _, _, order = sale(market)
    market.provider_refund(order["payment_id"], 2000, ref="re_1")
    assert market.provider_refund(order["payment_id"], 1500, ref="re_2", event_id="evt_second") == "retry"
    event = market.one("select id from private.webhook_events where event_id = 'evt_second'")
    assert market.why_of(event).startswith("The provider's report needs an earlier one.")
    market.provider_refund(order["payment_id"], 2000, ref="re_1", status="failed")
    assert market.process(event) == "processed"
    assert market.one("select refunded_cents from public.payments") == 1500


def test_08_an_unknown_total_on_the_charge_asks_for_the_refunds(market: Market) -> None:
    _, _, _, order = sale(market)
    charge = {"object": "charge", "id": order["charge"], "amount_refunded": 500, "metadata": {}}
    charge["payment_intent"] = f"pi_{order['payment_id']}"
    assert market.event("charge.refunded", charge) == "processed"
    jobs = market.rows("select args from jobs.procrastinate_jobs where task_name = 'sync_refunds'")
    assert [job["args"] for job in jobs] == [{"payment_id": order["payment_id"]}]
    market.provider_refund(order["payment_id"], 500)
    assert market.event("charge.refunded", charge) == "processed"
    assert len(market.rows("select args from jobs.procrastinate_jobs where task_name = 'sync_refunds'")) == 1


def test_08_a_refund_that_overtakes_its_payments_success_waits(market: Market) -> None:
    buyer = market.sign_up()
    order = market.checkout(buyer, market.product(market.sign_up(), 2000))
    market.start(buyer, order["payment_id"])
    assert market.provider_refund(order["payment_id"], 500, ref="re_1", event_id="evt_refund") == "retry"
    market.succeed(order["payment_id"])
    event = market.one("select id from private.webhook_events where event_id = 'evt_refund'")
    assert market.process(event) == "processed"
    assert market.status("payments", order["payment_id"]) == "partially_refunded"


def test_08_our_refund_reported_before_its_answer_arrived_is_ours(market: Market) -> None:
    """The worker died between sending and noting: the event knows our id."""
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]), 500)
    assert market.provider_refund(order["payment_id"], 500, ref="re_9", ours=refund["id"]) == "processed"
    market.worker("select private.record_refund(%s, 're_9', 'succeeded')", refund["id"])
    assert market.status("refunds", refund["id"]) == "succeeded"
    assert market.one("select count(*) from public.refunds") == 1
    assert market.wallet(seller) == (0, 1312 - 350, 0)


# -- 9: pending, and failed after success -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "requires_action"])
def test_09_a_pending_refund_books_nothing(market: Market, status: str) -> None:
    seller, buyer, item, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]))
    market.provider_refund(order["payment_id"], 2000, status=status, ours=refund["id"])
    assert market.status("refunds", refund["id"]) == "pending"
    assert market.wallet(seller) == (0, 1312, 0)
    assert market.owns(buyer, item)
    assert market.status("orders", order["order_id"]) == "completed"


@pytest.mark.parametrize("end", ["failed", "canceled"])
@pytest.mark.parametrize("released", [False, True], ids=["held", "released"])
@pytest.mark.parametrize("cents", [2000, 1000, 1])
def test_09_a_refund_failing_after_success_restores_everything(
    market: Market, end: str, released: bool, cents: int
) -> None:
    seller, buyer, item, order = sale(market, artwork=True)
    if released:
        market.mature()
        market.release()
    before = market.balances(), market.wallet(seller)
    refund = market.request_refund(seller, market.line(order["order_id"]), cents)
    reports = ["pending", "succeeded", end, end, "succeeded", "pending"]
    for status in reports:
        assert market.provider_refund(order["payment_id"], cents, status=status, ours=refund["id"]) == "processed"
        if status == "succeeded" and reports:
            reports = []
            assert market.listed(item) == (cents == 2000)
            assert market.owns(buyer, item) == (cents < 2000)
    assert (market.balances(), market.wallet(seller)) == before
    assert market.owns(buyer, item)
    assert not market.listed(item)
    assert market.status("orders", order["order_id"]) == "completed"
    assert market.status("payments", order["payment_id"]) == "succeeded"
    assert market.sales(order["order_id"])[0]["status"] == "completed"
    assert market.rows("select * from public.audit_log where action = 'refund_failed_after_resale'") == []


def test_09_failed_before_it_succeeded_stays_failed(market: Market) -> None:
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]))
    for status in ("failed", "succeeded"):
        market.provider_refund(order["payment_id"], 2000, status=status, ours=refund["id"])
    assert market.status("refunds", refund["id"]) == "failed"
    assert market.wallet(seller) == (0, 1312, 0)


def test_09_of_two_half_refunds_the_first_failing_restores_the_entitlement(market: Market) -> None:
    seller, buyer, item, order = sale(market, artwork=True)
    first = market.refund(seller, market.line(order["order_id"]), 1000)
    market.refund(seller, market.line(order["order_id"]), 1000)
    assert not market.owns(buyer, item)
    market.provider_refund(order["payment_id"], 1000, ref=first["provider_ref"], status="failed", ours=first["id"])
    assert market.owns(buyer, item)
    assert not market.listed(item)
    assert market.status("orders", order["order_id"]) == "partially_refunded"


def test_09_failing_after_the_item_was_sold_again_is_left_to_people(market: Market) -> None:
    seller, first, item, order = sale(market, artwork=True)
    refund = market.refund(seller, market.line(order["order_id"]))
    second = market.sign_up()
    market.buy(second, item)
    market.provider_refund(order["payment_id"], 2000, ref=refund["provider_ref"], status="failed", ours=refund["id"])
    assert not market.owns(first, item)
    assert market.owns(second, item)
    assert len(market.rows("select * from public.audit_log where action = 'refund_failed_after_resale'")) == 1
    # They give the first buyer's money back again: the item stays the second's.
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert market.owns(second, item)
    assert not market.listed(item)


def test_09_failing_after_the_buyer_bought_again_keeps_one_entitlement(market: Market) -> None:
    seller, buyer, item, order = sale(market)
    refund = market.refund(seller, market.line(order["order_id"]))
    again = market.buy(buyer, item)
    market.provider_refund(order["payment_id"], 2000, ref=refund["provider_ref"], status="failed", ours=refund["id"])
    assert market.owns(buyer, item)
    # Paid twice; giving one of them back leaves the other.
    market.refund(seller, market.line(again["order_id"]))
    assert market.owns(buyer, item)
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert not market.owns(buyer, item)


def test_09_failing_while_another_buyer_pays_gives_that_money_back(market: Market) -> None:
    """Relisted, reserved by a second buyer, then the first one's refund fails: the piece is the first one's again."""
    seller, first, item, order = sale(market, artwork=True)
    refund = market.refund(seller, market.line(order["order_id"]))
    second = market.sign_up()
    held = market.checkout(second, item)
    market.start(second, held["payment_id"])
    market.provider_refund(order["payment_id"], 2000, ref=refund["provider_ref"], status="failed", ours=refund["id"])
    assert market.owns(first, item)
    assert market.succeed(held["payment_id"]) == "processed"
    assert market.owns(first, item)
    assert not market.owns(second, item)
    assert market.balances()["refunds_payable"] == 2000


def test_09_a_failed_automatic_refund_leaves_the_money_owed(market: Market) -> None:
    buyer, item = market.sign_up(), market.product(market.sign_up(), 2000)
    orders = []
    for _ in range(2):
        orders.append(market.checkout(buyer, item))
        market.start(buyer, orders[-1]["payment_id"])
    for order in orders:
        market.succeed(order["payment_id"])
    refund = market.row("select * from public.refunds")
    for status, owed in (("succeeded", None), ("failed", 2000)):
        market.provider_refund(orders[1]["payment_id"], 2000, status=status, ours=refund["id"])
        assert market.balances().get("refunds_payable") == owed
    # Then somebody pays it back by hand.
    assert market.provider_refund(orders[1]["payment_id"], 2000, ref="re_by_hand") == "processed"
    assert market.balances().get("refunds_payable") is None


# -- 10: one line -----------------------------------------------------------------------------------------------------


def test_10_refunding_one_line_of_a_combined_charge_sends_that_lines_amount(market: Market) -> None:
    sellers = [market.sign_up("standard"), market.sign_up("basic")]
    items = [market.product(seller, price) for seller, price in zip(sellers, [2000, 500], strict=True)]
    buyer = market.sign_up()
    order = market.buy(buyer, *items)
    before = market.wallet(sellers[0])
    refund = market.request_refund(sellers[1], market.line(order["order_id"], 2))
    sent = market.claim_refund(refund["id"])
    assert (sent["amount_cents"], sent["provider_ref"]) == (500, f"pi_{order['payment_id']}")
    market.worker("select private.record_refund(%s, 're_1', 'succeeded')", refund["id"])
    assert market.wallet(sellers[0]) == before
    assert market.owns(buyer, items[0])
    assert not market.owns(buyer, items[1])
    assert market.status("payments", order["payment_id"]) == "partially_refunded"
    with refused("refund_amount_invalid"):
        market.request_refund(market.sign_up(role="admin"), market.line(order["order_id"], 2), 1)
    with refused("sale_not_found"):
        market.request_refund(sellers[1], market.line(order["order_id"], 1), 1)


# -- 11: the split agreed at purchase ---------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(1,) * 5, (333, 333), (1999,), (1, 1998), (7, 11, 13), (1000,)])
@pytest.mark.parametrize(
    ("price", "tier"), [(2000, "standard"), (2001, "premium"), (2003, "basic"), (53 + 1950, "ultimate")]
)
def test_11_partial_then_full_loses_no_cent(market: Market, parts: tuple[int, ...], price: int, tier: str) -> None:
    seller, _, _, order = sale(market, price=price, tier=tier)
    fee, commission, earned = market.split(order["order_id"])
    market.rows("update public.subscriptions set plan_key = 'creator_basic' where user_id = %s", seller)
    line = market.line(order["order_id"])
    for cents in (*parts, None):
        market.refund(seller, line, cents)
        row = market.sales(order["order_id"])[0]
        exact = commission * row["refunded_cents"] / price
        assert abs(row["refunded_commission_cents"] - exact) <= 0.5
    assert row["refunded_cents"] == price
    assert row["refunded_commission_cents"] == commission
    assert row["refunded_seller_cents"] == earned + fee
    assert market.balances() == {"fees:stripe": fee, "users debt": -fee}


def test_11_the_commission_that_had_shrunk_is_given_back_as_it_was(market: Market) -> None:
    seller, _, _, order = sale(market, price=50, tier="basic")
    assert market.split(order["order_id"]) == (31, 19, 0)
    market.refund(seller, market.line(order["order_id"]))
    assert market.balances() == {"fees:stripe": 31, "users debt": -31}


def test_11_a_commission_below_zero_was_the_platforms_loss_and_stays_it(market: Market) -> None:
    seller, _, _, order = sale(market, price=50, tier="basic")
    market.fee(order["payment_id"], 60)
    assert market.split(order["order_id"]) == (60, -10, 0)
    line = market.line(order["order_id"])
    for cents in (20, None):
        market.refund(seller, line, cents)
    assert market.balances() == {"fees:stripe": 60, "revenue": -10, "users debt": -50}


# -- 13: refund after payout ------------------------------------------------------------------------------------------


def test_13_a_refund_after_the_payout_is_debt_and_repaid_first(market: Market) -> None:
    seller, _, _, order = sale(market, price=20000)
    fee, _, earned = market.split(order["order_id"])
    market.mature()
    market.release()
    market.onboard(seller)
    payout = market.request_payout(seller, earned)
    market.claim(payout)
    market.complete(payout)
    admin = market.sign_up(role="admin")
    market.refund(admin, market.line(order["order_id"]))
    debt = earned + fee
    assert market.wallet(seller) == (0, 0, debt)
    # 1312 go to the debt, then enough for the rest.
    market.buy(market.sign_up(), market.product(seller, 2000))
    market.mature()
    market.release()
    assert market.wallet(seller) == (0, 0, debt - 1312)
    second = market.buy(market.sign_up(), market.product(seller, 50000))
    market.mature()
    market.release()
    left = market.split(second["order_id"])[2] - (debt - 1312)
    assert market.wallet(seller) == (left, 0, 0)


def test_13_amounts_in_an_open_payout_are_frozen(market: Market) -> None:
    seller, _, _, order = sale(market, price=20000)
    fee, _, earned = market.split(order["order_id"])
    market.mature()
    market.release()
    market.onboard(seller)
    payout = market.request_payout(seller, 10000)
    assert market.wallet(seller) == (earned - 10000, 0, 0)
    market.claim(payout)
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert market.wallet(seller) == (0, 0, 10000 + fee)
    assert market.balances()["payouts_in_transit"] == 10000
    market.complete(payout)
    assert market.wallet(seller) == (0, 0, 10000 + fee)


def test_13_a_failed_payout_repays_the_debt_first(market: Market) -> None:
    seller, _, _, order = sale(market, price=20000)
    market.mature()
    market.release()
    market.onboard(seller)
    payout = market.request_payout(seller, 10000)
    market.claim(payout)
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]), 10000)
    debt = market.wallet(seller)[2]
    available = market.wallet(seller)[0]
    market.fail(payout)
    assert market.wallet(seller) == (available + 10000 - debt, 0, 0)


def test_13_a_seller_cannot_run_into_debt_beyond_the_limit(market: Market) -> None:
    """The limit is the kept fee here: what the refund of a sale costs whose money is still there."""
    seller, _, _, order = sale(market, price=20000)
    market.rows("update private.settings set seller_debt_cents = %s", market.split(order["order_id"])[0])
    earned = market.split(order["order_id"])[2]
    market.mature()
    market.release()
    market.onboard(seller)
    payout = market.request_payout(seller, earned - 1)
    with refused("insufficient_funds"):
        market.request_refund(seller, market.line(order["order_id"]))
    market.rpc(seller, "cancel_payout", payout_id=payout)
    market.refund(seller, market.line(order["order_id"]))
    assert market.wallet(seller) == (0, 0, market.split(order["order_id"])[0])


def test_13_what_is_promised_back_is_not_promised_spent_or_paid_out_again(market: Market) -> None:
    """A refund under way is not booked yet; its seller has only the rest."""
    seller, _, _, first = sale(market, price=20000)
    second = market.buy(market.sign_up(), market.product(seller, 20000))
    market.rows("update private.settings set seller_debt_cents = %s", market.split(first["order_id"])[0])
    market.mature()
    market.release()
    market.onboard(seller)
    earned = market.split(first["order_id"])[2]
    payout = market.request_payout(seller, earned)
    market.claim(payout)
    market.complete(payout)
    assert market.wallet(seller) == (earned, 0, 0)
    promised = market.request_refund(seller, market.line(first["order_id"]))
    with refused("insufficient_funds"):
        market.request_refund(seller, market.line(second["order_id"]))
    with refused("insufficient_funds"):
        market.request_payout(seller, 5000)
    with refused("insufficient_funds"):
        market.checkout(seller, market.product(market.sign_up(), 50), provider="wallet")
    market.worker("select private.record_refund(%s, 're_1', 'failed')", promised["id"])
    market.checkout(seller, market.product(market.sign_up(), 50), provider="wallet")
    market.request_payout(seller, 5000)


def test_13_pending_money_of_each_sale_covers_its_own_refund(market: Market) -> None:
    seller, _, _, first = sale(market)
    second = market.buy(market.sign_up(), market.product(seller, 2000))
    for order in (first, second):
        market.request_refund(seller, market.line(order["order_id"]))


# -- 14: the balance shrinks before the payout ------------------------------------------------------------------------


def test_14_a_balance_that_shrinks_stops_the_payout(market: Market) -> None:
    seller, _, _, order = sale(market, price=20000)
    earned = market.split(order["order_id"])[2]
    market.mature()
    market.release()
    market.onboard(seller)
    payout = market.request_payout(seller, earned)
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]), 1000)
    assert market.claim(payout) is None
    assert market.status("payouts", payout) == "cancelled"
    assert market.one("select failure_reason from public.payouts") == "balance_shrank"
    assert market.wallet(seller) == (earned - 700, 0, 0)
    payout = market.request_payout(seller, earned - 700)
    assert market.claim(payout)["amount_cents"] == earned - 700


# -- 15: payout events out of order -----------------------------------------------------------------------------------


def funded_payout(market: Market, cents: int = 6000, claimed: bool = True) -> tuple[str, str]:
    """(seller, payout) of an approved, usually claimed payout; 1000 cents stay available."""
    seller = market.sign_up()
    market.fund(seller, cents + 1000)
    market.onboard(seller)
    payout = market.request_payout(seller, cents)
    if claimed:
        assert market.claim(payout)["amount_cents"] == cents
    return seller, payout


def test_15_paid_after_failed_revives_nothing(market: Market) -> None:
    seller, payout = funded_payout(market)
    market.fail(payout)
    assert market.wallet(seller) == (7000, 0, 0)
    assert market.transfer(payout) == "dead"
    with refused("event_rejected"):
        market.complete(payout)
    assert market.status("payouts", payout) == "failed"
    assert market.wallet(seller) == (7000, 0, 0)
    assert market.one("select total_withdrawn_cents from public.wallets where user_id = %s", seller) == 0


def test_15_paid_after_cancelled_revives_nothing(market: Market) -> None:
    seller, payout = funded_payout(market, claimed=False)
    market.rpc(seller, "cancel_payout", payout_id=payout)
    assert market.transfer(payout) == "dead"
    assert market.wallet(seller) == (7000, 0, 0)


def test_15_failed_after_completed_is_a_return(market: Market) -> None:
    seller, payout = funded_payout(market)
    market.complete(payout)
    assert market.one("select total_withdrawn_cents from public.wallets where user_id = %s", seller) == 6000
    for _ in range(2):
        assert market.transfer(payout, "transfer.reversed") == "processed"
        assert market.status("payouts", payout) == "returned"
        assert market.wallet(seller) == (7000, 0, 0)
    assert market.transfer(payout) == "processed"
    market.complete(payout)
    assert market.status("payouts", payout) == "returned"
    assert market.one("select total_withdrawn_cents from public.wallets where user_id = %s", seller) == 0
    assert "payouts_in_transit" not in market.balances()


def test_15_a_reversal_that_overtakes_its_transfer_is_a_return(market: Market) -> None:
    seller, payout = funded_payout(market)
    assert market.transfer(payout, "transfer.reversed") == "processed"
    assert market.transfer(payout, "transfer.created") == "processed"
    market.complete(payout)
    assert market.status("payouts", payout) == "returned"
    assert market.wallet(seller) == (7000, 0, 0)


def test_15_repeated_confirmations_pay_once(market: Market) -> None:
    seller, payout = funded_payout(market)
    market.complete(payout)
    market.complete(payout)
    assert market.transfer(payout) == "processed"
    assert market.wallet(seller) == (1000, 0, 0)
    assert market.one("select count(*) from ledger.journal where kind = 'payout_completed'") == 1


@pytest.mark.parametrize("cents", [5999, 6001])
def test_15_a_wrong_amount_raises(market: Market, cents: int) -> None:
    seller, payout = funded_payout(market)
    assert market.transfer(payout, amount=cents) == "dead"
    with refused("event_rejected"):
        market.complete(payout, cents)
    assert market.status("payouts", payout) == "processing"
    assert market.wallet(seller) == (1000, 0, 0)


def test_15_a_partial_reversal_returns_that_part_once(market: Market) -> None:
    seller, payout = funded_payout(market)
    market.complete(payout)
    for reversed_cents in (100, 100, 50, 250):
        assert market.transfer(payout, "transfer.reversed", amount_reversed=reversed_cents) == "processed"
        market.check()
    assert market.status("payouts", payout) == "completed"
    assert market.wallet(seller) == (1250, 0, 0)
    assert market.transfer(payout, "transfer.reversed") == "processed"
    assert market.status("payouts", payout) == "returned"
    assert market.wallet(seller) == (7000, 0, 0)


def test_15_a_transfer_before_any_worker_claimed_it_is_rejected(market: Market) -> None:
    _, payout = funded_payout(market, claimed=False)
    assert market.transfer(payout) == "dead"
    assert market.status("payouts", payout) == "approved"


def test_15_what_is_in_transit_stays_there_until_the_provider_answers(market: Market) -> None:
    _, payout = funded_payout(market)
    assert market.balances()["payouts_in_transit"] == 6000
    market.rows("update public.payouts set updated_at = now() - interval '1 day'")
    resumed = market.worker("select array_agg(payout_id::text) from private.payouts_to_resume(60, 10)")
    assert resumed in ([payout], None)  # the touch trigger may have dated the row again
    assert market.claim(payout)["payout_id"] == payout, "asked again under the same id"
    assert market.balances()["payouts_in_transit"] == 6000


# -- 16: two candidates -----------------------------------------------------------------------------------------------


def test_16_an_event_naming_one_payment_and_the_object_of_another_changes_nothing(market: Market) -> None:
    buyer = market.sign_up()
    item, other = (market.product(market.sign_up(), 2000) for _ in range(2))
    orders = [market.checkout(buyer, item), market.checkout(buyer, other)]
    intents = [market.start(buyer, order["payment_id"]) for order in orders]
    assert market.succeed(orders[0]["payment_id"], id=intents[1]) == "dead"
    assert [market.status("payments", order["payment_id"]) for order in orders] == ["requires_payment"] * 2
    assert market.balances() == {}


def test_16_also_when_the_named_payment_has_no_object_yet(market: Market) -> None:
    buyer = market.sign_up()
    items = [market.product(market.sign_up(), 2000) for _ in range(2)]
    orders = [market.checkout(buyer, item) for item in items]
    intent = market.start(buyer, orders[1]["payment_id"])
    market.worker("select private.start_payment(%s, %s)", orders[0]["payment_id"], buyer)
    assert market.succeed(orders[0]["payment_id"], id=intent) == "dead"
    assert market.balances() == {}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("canceled", {"amount_received": 0}),
        ("payment_failed", {"amount_received": 0}),
        ("processing", {"amount_received": 0}),
        ("canceled", {}),
        ("succeeded", {"amount_received": 1}),
        ("succeeded", {"currency": "eur"}),
    ],
)
def test_16_another_object_that_names_an_attempt_just_started_takes_nothing_of_it(
    market: Market, kind: str, changes: Json
) -> None:
    buyer = market.sign_up()
    order = market.checkout(buyer, market.product(market.sign_up(), 2000))
    payment = order["payment_id"]
    market.worker("select private.start_payment(%s, %s)", payment, buyer)
    other = market.intent(payment, id="pi_other", **({"currency": "eur"} if kind == "canceled" else {}), **changes)
    assert market.event(f"payment_intent.{kind}", other) == "retry"
    assert market.one("select provider_ref from public.payments") is None
    assert market.start(buyer, payment)
    assert market.succeed(payment) == "processed"
    assert market.status("orders", order["order_id"]) == "completed"


def test_08_the_words_of_a_dashboard_refund_do_not_keep_it_out_of_the_books(market: Market) -> None:
    _, _, _, order = sale(market)
    for number, reason in enumerate(["", "\u200b", "x" * 501]):
        refund = {"object": "refund", "id": f"re_{number}", "amount": 100, "currency": "usd", "status": "succeeded"}
        refund |= {"payment_intent": f"pi_{order['payment_id']}", "reason": reason, "metadata": {}}
        assert market.event("refund.updated", refund) == "processed"
    assert market.one("select refunded_cents from public.payments") == 300


def test_07_an_admin_does_not_refund_what_they_bought(market: Market) -> None:
    admin = market.sign_up(role="admin")
    order = market.buy(admin, market.product(market.sign_up(), 2000))
    with refused("own_wallet"):
        market.request_refund(admin, market.line(order["order_id"]), 100)
    market.request_refund(market.sign_up(role="admin"), market.line(order["order_id"]), 100)


def test_16_a_refund_known_from_another_payment_changes_nothing(market: Market) -> None:
    _, _, _, first = sale(market)
    _, _, _, second = sale(market)
    market.provider_refund(first["payment_id"], 500, ref="re_1", status="pending")
    before = market.balances()
    assert market.provider_refund(second["payment_id"], 500, ref="re_1") == "dead"
    assert market.balances() == before
    assert market.status("payments", first["payment_id"]) == "succeeded"


def test_16_our_refund_of_another_payment_or_amount_changes_nothing(market: Market) -> None:
    seller, _, _, first = sale(market)
    _, _, _, second = sale(market)
    refund = market.request_refund(seller, market.line(first["order_id"]), 500)
    assert market.provider_refund(second["payment_id"], 500, ours=refund["id"]) == "dead"
    assert market.provider_refund(first["payment_id"], 499, ours=refund["id"]) == "dead"
    assert market.status("refunds", refund["id"]) == "requested"


def test_16_two_provider_refunds_for_one_of_ours_are_rejected(market: Market) -> None:
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]), 500)
    assert market.provider_refund(order["payment_id"], 500, ref="re_1", ours=refund["id"]) == "processed"
    assert market.provider_refund(order["payment_id"], 500, ref="re_2", ours=refund["id"]) == "dead"
    assert market.one("select refunded_cents from public.payments") == 500


def test_16_two_transfers_for_one_payout_are_rejected(market: Market) -> None:
    _, payout = funded_payout(market)
    market.complete(payout, ref="tr_1")
    assert market.transfer(payout, id="tr_2") == "dead"
    with refused("event_rejected"):
        market.complete(payout, ref="tr_2")
    assert market.one("select provider_ref from public.payouts") == "tr_1"


def test_16_one_account_cannot_be_two_sellers_destination(market: Market) -> None:
    market.onboard(market.sign_up(), "acct_1")
    with refused("23505"):
        market.onboard(market.sign_up(), "acct_1")


# -- 17: late success of an abandoned attempt -------------------------------------------------------------------------


def test_17_a_late_success_after_buying_again_is_refunded(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 2000)
    abandoned = market.checkout(buyer, item)
    market.start(buyer, abandoned["payment_id"])
    market.buy(buyer, item)
    assert market.succeed(abandoned["payment_id"]) == "processed"
    assert market.status("orders", abandoned["order_id"]) == "cancelled"
    assert market.one("select status_reason from public.orders where id = %s", abandoned["order_id"]) == (
        "item_not_available"
    )
    assert market.balances()["refunds_payable"] == 2000
    refund = market.row("select * from public.refunds")
    assert (refund["amount_cents"], refund["reason"], refund["status"]) == (2000, "item_not_available", "requested")
    market.provider_refund(abandoned["payment_id"], 2000, ours=refund["id"])
    assert market.status("payments", abandoned["payment_id"]) == "refunded"
    assert market.wallet(seller) == (0, 1312, 0)
    assert market.owns(buyer, item)


def test_17_a_late_success_for_a_piece_sold_to_another_is_refunded(market: Market) -> None:
    seller, late, item = market.sign_up(), market.sign_up(), None
    item = market.artwork(seller, 5000)
    abandoned = market.checkout(late, item)
    market.start(late, abandoned["payment_id"])
    market.cancel(abandoned["payment_id"])
    winner = market.sign_up()
    market.buy(winner, item)
    assert market.succeed(abandoned["payment_id"]) == "processed"
    assert market.owns(winner, item)
    assert not market.owns(late, item)
    assert market.balances()["refunds_payable"] == 5000


def test_17_a_late_success_for_a_piece_held_by_another_is_refunded(market: Market) -> None:
    item = market.artwork(market.sign_up(), 5000)
    late, holder = market.sign_up(), market.sign_up()
    abandoned = market.checkout(late, item)
    market.start(late, abandoned["payment_id"])
    market.cancel(abandoned["payment_id"])
    held = market.checkout(holder, item)
    market.start(holder, held["payment_id"])
    market.succeed(abandoned["payment_id"])
    assert market.balances()["refunds_payable"] == 5000
    assert market.succeed(held["payment_id"]) == "processed"
    assert market.owns(holder, item)


def test_17_a_late_success_for_something_still_there_is_delivered(market: Market) -> None:
    item = market.artwork(market.sign_up(), 5000)
    buyer = market.sign_up()
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.cancel(order["payment_id"])
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == "completed"
    assert market.owns(buyer, item)
    assert not market.listed(item)


@pytest.mark.parametrize("change", ["archived", "not for sale", "banned"])
def test_17_a_late_success_for_something_taken_down_meanwhile_is_refunded(market: Market, change: str) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.artwork(seller, 5000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.cancel(order["payment_id"])
    match change:
        case "archived":
            market.member(seller, "update public.artworks set status = 'archived' where id = %s", item)
        case "not for sale":
            market.member(seller, "update public.artworks set is_for_sale = false where id = %s", item)
        case "banned":
            market.ban(seller)
    assert market.succeed(order["payment_id"]) == "processed"
    assert not market.owns(buyer, item)
    assert market.balances()["refunds_payable"] == 5000


def test_17_all_or_nothing_when_one_line_is_gone(market: Market) -> None:
    seller = market.sign_up()
    art, product = market.artwork(seller, 5000), market.product(seller, 1000)
    late = market.sign_up()
    order = market.checkout(late, art, product)
    market.start(late, order["payment_id"])
    market.cancel(order["payment_id"])
    market.buy(market.sign_up(), art)
    market.succeed(order["payment_id"])
    assert not market.owns(late, product)
    assert market.balances()["refunds_payable"] == 6000
    assert market.rows("select * from private.holds") == []


def test_17_two_unfinished_attempts_paid_at_once_sell_once(market: Market) -> None:
    buyer, item = market.sign_up(), market.product(market.sign_up(), 2000)
    orders = []
    for _ in range(3):
        orders.append(market.checkout(buyer, item))
        market.start(buyer, orders[-1]["payment_id"])
    for order in orders:
        assert market.succeed(order["payment_id"]) == "processed"
    assert [market.status("orders", order["order_id"]) for order in orders] == ["completed", "cancelled", "cancelled"]
    assert market.balances()["refunds_payable"] == 4000


@pytest.mark.parametrize(
    "change", ["status = 'archived'", "status = 'draft'", "is_for_sale = false", "price_cents = 99"]
)
def test_17_what_was_promised_is_delivered_whatever_the_seller_did_meanwhile(market: Market, change: str) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.artwork(seller, 5000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.member(seller, f"update public.artworks set {change} where id = %s", item)
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.owns(buyer, item)
    assert market.split(order["order_id"])[1] == 2000


# -- attempts that end ------------------------------------------------------------------------------------------------


def expire(market: Market, payment: str) -> None:
    """Its time is up."""
    market.rows("update public.payments set expires_at = now() - interval '1 second' where id = %s", payment)


def reserved(market: Market, item: str) -> bool:
    """Whether somebody holds it."""
    return bool(market.rows("select 1 from private.holds where item_id = %s", item))


def test_an_attempt_nobody_started_expires_and_frees_its_piece(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    order = market.checkout(buyer, item)
    assert market.worker("select private.expire_unstarted_payments(10)") == 0
    expire(market, order["payment_id"])
    with refused("payment_not_open"):
        market.start(buyer, order["payment_id"])
    assert market.worker("select private.expire_unstarted_payments(10)") == 1
    assert market.status("payments", order["payment_id"]) == "cancelled"
    assert market.row("select status::text, status_reason from public.orders") == {
        "status": "cancelled",
        "status_reason": "expired",
    }
    assert not reserved(market, item)
    market.buy(market.sign_up(), item)


def test_a_started_attempt_holds_its_piece_until_the_provider_confirms(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    expire(market, order["payment_id"])
    assert market.worker("select private.expire_unstarted_payments(10)") == 0
    with refused("item_reserved"):
        market.checkout(market.sign_up(), item)
    to_cancel = market.worker("select array_agg(payment_id::text) from private.payments_to_cancel(10)")
    assert to_cancel == [order["payment_id"]]
    market.worker("select private.payment_cancelled(%s)", order["payment_id"])
    assert not reserved(market, item)
    assert market.one("select status_reason from public.orders") == "expired"


def test_a_success_instead_of_the_cancellation_settles(market: Market) -> None:
    """Cancelling answered 'already succeeded': the event settles it, a cancellation after that changes nothing."""
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    expire(market, order["payment_id"])
    event_id = f"reconcile:pi_{order['payment_id']}:succeeded"
    assert market.succeed(order["payment_id"], event_id=event_id) == "processed"
    assert market.cancel(order["payment_id"]) == "processed"
    market.worker("select private.payment_cancelled(%s)", order["payment_id"])
    assert market.status("payments", order["payment_id"]) == "succeeded"
    assert market.status("orders", order["order_id"]) == "completed"
    assert market.owns(buyer, item)


def test_the_buyer_cancels_before_and_after_the_start(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    order = market.checkout(buyer, item)
    assert market.rpc(buyer, "cancel_order", order_id=order["order_id"])["status"] == "cancelled"
    assert not reserved(market, item)
    with refused("order_not_open"):
        market.rpc(buyer, "cancel_order", order_id=order["order_id"])
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    assert market.rpc(buyer, "cancel_order", order_id=order["order_id"])["status"] == "pending"
    assert reserved(market, item)
    with refused("payment_not_open"):
        market.start(buyer, order["payment_id"])
    assert market.worker("select count(*) from private.payments_to_cancel(10)") == 1
    market.cancel(order["payment_id"])
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert market.one("select status_reason from public.orders where id = %s", order["order_id"]) == (
        "cancelled_by_buyer"
    )
    assert not reserved(market, item)


def test_a_newer_checkout_takes_over_the_buyers_own_reservation(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    first = market.checkout(buyer, item)
    second = market.checkout(buyer, item)
    assert market.status("payments", first["payment_id"]) == "cancelled"
    assert market.one("select status_reason from public.orders where id = %s", first["order_id"]) == "superseded"
    market.start(buyer, second["payment_id"])
    third = market.checkout(buyer, item)
    assert market.status("payments", second["payment_id"]) == "requires_payment", "the provider knows it"
    assert market.worker("select count(*) from private.payments_to_cancel(10)") == 1
    market.start(buyer, third["payment_id"])
    # The superseded one succeeds all the same: the piece is the third's, the money goes back.
    assert market.succeed(second["payment_id"]) == "processed"
    assert market.balances()["refunds_payable"] == 5000
    assert market.succeed(third["payment_id"]) == "processed"
    assert market.owns(buyer, item)


def test_cancelling_the_superseded_attempt_keeps_the_newer_reservation(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    first = market.checkout(buyer, item)
    market.start(buyer, first["payment_id"])
    second = market.checkout(buyer, item)
    market.cancel(first["payment_id"])
    with refused("item_reserved"):
        market.checkout(market.sign_up(), item)
    market.start(buyer, second["payment_id"])
    market.succeed(second["payment_id"])
    assert market.owns(buyer, item)


def test_a_partly_superseded_cart_keeps_its_other_pieces_until_it_ends(market: Market) -> None:
    buyer, seller = market.sign_up(), market.sign_up()
    one, other = market.artwork(seller, 5000), market.artwork(seller, 6000)
    both = market.checkout(buyer, one, other)
    market.start(buyer, both["payment_id"])
    market.checkout(buyer, one)
    assert reserved(market, other)
    market.cancel(both["payment_id"])
    assert not reserved(market, other)
    assert reserved(market, one)


def test_a_decline_leaves_the_attempt_open_for_another_card(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 5000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.decline(order["payment_id"], "ch_1")
    assert market.row("select status::text, failure_reason from public.payments") == {
        "status": "failed",
        "failure_reason": "insufficient_funds",
    }
    assert reserved(market, item)
    market.start(buyer, order["payment_id"])
    market.succeed(order["payment_id"], charge="ch_2")
    assert market.owns(buyer, item)


def test_an_attempt_older_than_an_hour_is_asked_about_once_an_hour(market: Market) -> None:
    buyer = market.sign_up()
    order = market.checkout(buyer, market.product(market.sign_up(), 2000))
    market.start(buyer, order["payment_id"])
    ask = "select array_agg(payment_id::text) from private.payments_to_reconcile(10)"
    assert market.worker(ask) is None
    market.rows("update public.payments set started_at = now() - interval '61 minutes'")
    assert market.worker(ask) == [order["payment_id"]]
    assert market.worker(ask) is None
    market.rows("update public.payments set checked_at = now() - interval '61 minutes'")
    assert market.worker(ask) == [order["payment_id"]]


def test_the_same_checkout_key_is_the_same_order(market: Market) -> None:
    buyer, item = market.sign_up(), market.product(market.sign_up(), 2000)
    first = market.checkout(buyer, item, key="k")
    assert market.checkout(buyer, item, key="k") == first
    assert market.checkout(market.sign_up(), item, key="k")["order_id"] != first["order_id"]


# -- 20, 21: done is what was done ------------------------------------------------------------------------------------


def pending_sale(market: Market) -> tuple[str, str, Json, int]:
    """(buyer, item, order, event) with the success stored, not processed."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    event = market.store("payment_intent.succeeded", market.intent(order["payment_id"]))
    return buyer, item, order, event


STEPS = {
    "artworks": "before update on public.artworks",
    "purchases": "before insert on public.purchases",
    "transactions": "before insert on public.transactions",
    "journal": "before insert on ledger.journal",
    "entries": "before insert on ledger.entries",
    "wallets": "before update on public.wallets",
    "orders": "before update on public.orders",
}


@pytest.mark.parametrize("step", STEPS)
def test_21_an_error_in_the_middle_undoes_the_work_and_leaves_the_event_pending(market: Market, step: str) -> None:
    buyer, item, order, event = pending_sale(market)
    market.rows(
        "create function pg_temp.crash() returns trigger language plpgsql as "
        "$$ begin raise exception 'disk on fire'; end $$"
    )
    market.rows(f"create trigger crash {STEPS[step]} for each row execute function pg_temp.crash()")
    assert market.process(event) == "retry"
    row = market.row("select status::text, attempts, last_error from private.webhook_events where id = %s", event)
    assert row == {"status": "pending", "attempts": 1, "last_error": "disk on fire"}
    assert market.status("payments", order["payment_id"]) == "requires_payment"
    assert market.status("orders", order["order_id"]) == "pending"
    assert market.balances() == {}
    assert not market.owns(buyer, item)
    assert market.rows("select * from public.transactions") == []
    market.rows(f"drop trigger crash on {STEPS[step].split(' on ')[1]}")
    assert market.process(event) == "processed"
    assert market.process(event) == "processed"
    assert market.owns(buyer, item)
    assert market.one("select count(*) from ledger.journal") == 1


def test_21_an_event_that_keeps_failing_is_dead_and_replayed_by_one_command(market: Market) -> None:
    buyer, item, _, event = pending_sale(market)
    market.rows(
        "create function pg_temp.crash() returns trigger language plpgsql as $$ begin raise exception 'x'; end $$"
    )
    market.rows("create trigger crash before insert on public.purchases for each row execute function pg_temp.crash()")
    outcomes = [market.process(event) for _ in range(8)]
    assert outcomes == ["retry"] * 7 + ["dead"]
    assert market.process(event) == "dead"
    admin = market.sign_up(role="admin")
    (row,) = market.member(admin, "select id, status, attempts, last_error from public.list_webhook_events()")
    assert row == {"id": event, "status": "dead", "attempts": 8, "last_error": "x"}
    assert market.rpc(admin, "replay_webhook_event", event_id=event) == "retry"
    market.rows("drop trigger crash on public.purchases")
    assert market.rpc(admin, "replay_webhook_event", event_id=event) == "processed"
    assert market.rpc(admin, "replay_webhook_event", event_id=event) == "processed"
    assert market.owns(buyer, item)
    assert market.one("select count(*) from public.transactions") == 1
    with refused("admin_only"):
        market.rpc(buyer, "replay_webhook_event", event_id=event)


def test_20_every_stored_event_has_a_job_in_its_transaction(market: Market) -> None:
    """Answering 2xx means the row and its job are committed together."""
    _, _, _, event = pending_sale(market)
    jobs = market.rows("select args from jobs.procrastinate_jobs where task_name = 'process_events'")
    assert {"ids": [event]} in [job["args"] for job in jobs]


def test_20_the_same_event_again_is_stored_once_and_queued_once(market: Market) -> None:
    _, _, order, event = pending_sale(market)
    name = market.one("select event_id from private.webhook_events where id = %s", event)
    before = market.one("select count(*) from jobs.procrastinate_jobs")
    assert market.store("payment_intent.succeeded", market.intent(order["payment_id"]), name) == event
    assert market.one("select count(*) from jobs.procrastinate_jobs") == before
    assert market.one("select count(*) from private.webhook_events") == 1


def test_20_a_lost_job_is_queued_again(market: Market) -> None:
    _, _, _, event = pending_sale(market)
    assert market.worker("select private.enqueue_due_webhook_events()") == 0
    market.rows("delete from jobs.procrastinate_jobs")
    market.rows("update private.webhook_events set next_attempt_at = now() - interval '2 minutes'")
    assert market.worker("select private.enqueue_due_webhook_events()") == 1
    assert market.one("select args from jobs.procrastinate_jobs") == {"ids": [event]}


def test_unknown_types_are_stored_and_ignored(market: Market) -> None:
    assert market.event("customer.created", {"object": "customer", "id": "cus_1"}) == "ignored"
    assert market.event("transfer.created", {"object": "transfer", "id": "tr_1", "metadata": {}}) == "ignored"
    assert market.event("payment_intent.created", {"object": "payment_intent", "id": "pi_x"}) in ("ignored", "retry")


def test_an_event_for_a_payment_that_does_not_exist_moves_nothing(market: Market) -> None:
    payload = {"object": "payment_intent", "id": "pi_x", "metadata": {"payment_id": str(uuid.uuid4())}}
    assert market.event("payment_intent.succeeded", payload) == "retry"
    assert market.balances() == {}


def test_a_dispute_is_left_to_people(market: Market) -> None:
    _, _, _, order = sale(market)
    payload = {"object": "dispute", "id": "dp_1", "charge": order["charge"], "amount": 2000}
    before = market.balances()
    assert market.event("charge.dispute.created", payload) == "dead"
    assert market.balances() == before


# -- 23: a changed destination ----------------------------------------------------------------------------------------


def test_23_changing_the_destination_needs_a_fresh_login(market: Market) -> None:
    seller = market.sign_up()
    prepare = "select private.prepare_onboarding(%s, %s, now() - make_interval(mins => %s))"
    first = market.worker(prepare, seller, False, 600)
    assert (first["account_id"], first["email"]) == (None, f"user-{seller}@example.com")
    market.onboard(seller, "acct_1")
    assert market.worker(prepare, seller, False, 14)["account_id"] == "acct_1"
    for change in (False, True):
        with refused("fresh_login_required"):
            market.worker(prepare, seller, change, 16)
    with refused("fresh_login_required"):
        market.worker("select private.prepare_onboarding(%s, true, null)", seller)
    change = market.worker(prepare, seller, True, 14)
    assert change["account_id"] is None
    assert change["idempotency_key"] != first["idempotency_key"]
    market.ban(seller)
    with refused("banned"):
        market.worker(prepare, seller, False, 0)


def test_23_a_changed_destination_holds_payouts_for_a_while(market: Market) -> None:
    seller = market.sign_up()
    market.fund(seller, 20000)
    market.onboard(seller, "acct_1")
    payout = market.request_payout(seller, 5000)
    market.onboard(seller, "acct_2")
    assert market.claim(payout) is None, "waits"
    assert market.status("payouts", payout) == "approved"
    market.rpc(seller, "cancel_payout", payout_id=payout)
    with refused("payouts_held"):
        market.request_payout(seller, 5000)
    market.rows("update public.wallets set payouts_held_until = now() - interval '1 second' where user_id = %s", seller)
    payout = market.request_payout(seller, 5000)
    assert market.claim(payout)["destination"] == "acct_2"


def test_23_an_open_payout_is_never_redirected(market: Market) -> None:
    seller = market.sign_up()
    market.fund(seller, 20000)
    market.onboard(seller, "acct_1")
    payout = market.request_payout(seller, 5000)
    market.onboard(seller, "acct_2")
    market.rows("update public.wallets set payouts_held_until = now() - interval '1 second' where user_id = %s", seller)
    assert market.claim(payout) is None
    assert market.status("payouts", payout) == "cancelled"
    assert market.one("select failure_reason from public.payouts where id = %s", payout) == "destination_changed"
    assert market.wallet(seller) == (20000, 0, 0)


def test_23_the_first_and_the_same_destination_hold_nothing(market: Market) -> None:
    seller = market.sign_up()
    market.fund(seller, 20000)
    market.onboard(seller, "acct_1")
    market.onboard(seller, "acct_1")
    market.request_payout(seller, 5000)


def test_23_news_of_an_account_make_a_worker_read_it(market: Market) -> None:
    seller = market.sign_up()
    market.onboard(seller, "acct_1")
    assert (
        market.event("account.updated", {"object": "account", "id": "acct_1", "payouts_enabled": False}) == "processed"
    )
    jobs = market.rows("select args from jobs.procrastinate_jobs where task_name = 'sync_account'")
    assert [job["args"] for job in jobs] == [{"account_id": "acct_1"}]
    assert market.one("select stripe_account_status from public.wallets where user_id = %s", seller) == "enabled"
    assert market.event("account.updated", {"object": "account", "id": "acct_unknown"}) == "ignored"


@pytest.mark.parametrize("status", ["pending", "disabled"])
def test_23_an_account_that_is_not_enabled_gets_nothing(market: Market, status: str) -> None:
    seller = market.sign_up()
    market.fund(seller, 20000)
    market.onboard(seller, "acct_1")
    payout = market.request_payout(seller, 5000)
    market.worker("select private.record_account_status('acct_1', %s)", status)
    assert market.claim(payout) is None
    assert market.wallet(seller) == (20000, 0, 0)
    with refused("payouts_not_enabled"):
        market.request_payout(seller, 5000)


# -- 24: seller suspended with money pending --------------------------------------------------------------------------


def test_24_a_banned_sellers_money_is_held_not_lost(market: Market) -> None:
    seller, _, _, order = sale(market)
    other, _, _, _ = sale(market)
    market.ban(seller)
    market.mature()
    assert market.release() == 1
    assert market.wallet(other) == (1312, 0, 0)
    assert market.wallet(seller) == (0, 1312, 0)
    market.unban(seller)
    assert market.release() == 1
    assert market.wallet(seller) == (1312, 0, 0)
    assert order["status"] == "pending"


def test_24_a_banned_sellers_payout_waits(market: Market) -> None:
    seller, payout = funded_payout(market, claimed=False)
    market.ban(seller)
    assert market.claim(payout) is None
    assert market.status("payouts", payout) == "approved"
    with refused("banned"):
        market.request_payout(seller, 5000)
    with refused("banned"):
        market.rpc(seller, "cancel_payout", payout_id=payout)
    market.unban(seller)
    assert market.claim(payout)["amount_cents"] == 6000


def test_24_a_payment_on_its_way_to_a_banned_seller_settles_and_is_held(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.ban(seller)
    with refused("item_not_available"):
        market.checkout(market.sign_up(), item)
    market.succeed(order["payment_id"])
    assert market.owns(buyer, item)
    assert market.wallet(seller) == (0, 1312, 0)


def test_24_an_admin_can_refund_a_banned_sellers_sale_the_seller_cannot(market: Market) -> None:
    seller, buyer, item, order = sale(market)
    market.ban(seller)
    with refused("banned"):
        market.request_refund(seller, market.line(order["order_id"]))
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert not market.owns(buyer, item)


# -- the wallet as a way to pay ---------------------------------------------------------------------------------------


def test_a_wallet_purchase_completes_inside_checkout(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    market.fund(buyer, 2500)
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item, provider="wallet")
    assert (order["status"], order["payment_status"], order["start_url"]) == ("completed", "succeeded", None)
    assert market.wallet(buyer) == (500, 0, 0)
    assert market.wallet(seller) == (0, 1400, 0)
    with refused("payment_not_open"):
        market.worker("select private.start_payment(%s, %s)", order["payment_id"], buyer)


def test_a_wallet_never_pays_more_than_it_holds(market: Market) -> None:
    buyer, item = market.sign_up(), market.artwork(market.sign_up(), 2000)
    market.fund(buyer, 1999)
    with refused("insufficient_funds"):
        market.checkout(buyer, item, provider="wallet")
    assert market.wallet(buyer) == (1999, 0, 0)
    assert not reserved(market, item)
    assert market.listed(item)


def test_a_refunded_wallet_purchase_is_back_in_the_wallet_at_once(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    market.fund(buyer, 2000)
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item, provider="wallet")
    assert market.request_refund(seller, market.line(order["order_id"]), 1000)["status"] == "succeeded"
    assert market.wallet(buyer) == (1000, 0, 0)
    assert market.wallet(seller) == (0, 700, 0)
    market.request_refund(seller, market.line(order["order_id"]))
    assert market.wallet(buyer) == (2000, 0, 0)
    assert market.wallet(seller) == (0, 0, 0)
    assert market.one("select total_spent_on_platform_cents from public.wallets where user_id = %s", buyer) == 0
    assert market.listed(item)


# -- deleted accounts -------------------------------------------------------------------------------------------------


def test_the_books_outlive_their_people(market: Market) -> None:
    seller, buyer, item, order = sale(market, artwork=True)
    for user in (buyer, seller):
        market.rows("delete from auth.users where id = %s", user)
    market.check()
    market.mature()
    market.release()
    assert market.wallet(seller) == (1312, 0, 0)
    assert market.provider_refund(order["payment_id"], 2000) == "processed"
    assert market.wallet(seller) == (0, 0, 88)
    assert not market.listed(item)


def test_a_payment_on_its_way_to_a_deleted_seller_settles(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    items = market.artwork(seller, 2000), market.product(seller, 1000)
    order = market.checkout(buyer, *items)
    market.start(buyer, order["payment_id"])
    market.rows("delete from auth.users where id = %s", seller)
    assert market.succeed(order["payment_id"]) == "processed"
    assert all(market.owns(buyer, item) for item in items)


def test_a_payment_on_its_way_from_a_deleted_buyer_goes_back(market: Market) -> None:
    """Nobody could open what it bought."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.artwork(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.rows("delete from auth.users where id = %s", buyer)
    assert market.worker("select array_agg(payment_id::text) from private.payments_to_cancel(10)") == [
        order["payment_id"]
    ]
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.wallet(seller) == (0, 0, 0)
    assert market.listed(item)
    (refund,) = market.rows("select * from public.refunds where status = 'requested'")
    assert refund["amount_cents"] == 2000

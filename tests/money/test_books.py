"""What the book-keeper found at the edges: debts, keys, returned charges, failed refunds, held sales."""

from __future__ import annotations

import pytest

from tests.money.market import Market, refused
from tests.money.test_sharp_cases import sale


def owe(market: Market, cents: int) -> str:
    """A member who owes this much and has nothing."""
    user = market.sign_up()
    market.fund(user, -cents)
    assert market.wallet(user) == (0, 0, cents)
    return user


# -- credits repay debt -----------------------------------------------------------------------------------------------


def test_goodwill_repays_debt_first(market: Market) -> None:
    user = owe(market, 12000)
    market.fund(user, 7000)
    assert market.wallet(user) == (0, 0, 5000)
    market.fund(user, 7000)
    assert market.wallet(user) == (2000, 0, 0)


def test_a_wallet_refund_repays_its_buyers_debt_first(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    market.fund(buyer, 7000)
    order = market.checkout(buyer, market.product(seller, 7000), provider="wallet")
    market.fund(buyer, -12000)
    market.request_refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert market.wallet(buyer) == (0, 0, 5000)


@pytest.mark.parametrize("how", ["cancel", "fail", "return"])
def test_a_payout_that_comes_back_repays_debt_first(market: Market, how: str) -> None:
    user = market.sign_up()
    market.fund(user, 10000)
    market.onboard(user)
    payout = market.request_payout(user, 8000)
    if how != "cancel":
        market.claim(payout)
    if how == "return":
        market.complete(payout)
    market.fund(user, -5000)
    assert market.wallet(user) == (0, 0, 3000)
    if how == "cancel":
        market.rpc(user, "cancel_payout", payout_id=payout)
    else:
        market.fail(payout)
    assert market.wallet(user) == (5000, 0, 0)


def test_who_owes_neither_shops_nor_withdraws(market: Market) -> None:
    user = owe(market, 12000)
    market.onboard(user)
    market.fund(user, 11000)
    with refused("insufficient_funds"):
        market.request_payout(user, 5000)
    with refused("insufficient_funds"):
        market.checkout(user, market.product(market.sign_up(), 500), provider="wallet")
    market.fund(user, 7000)
    payout = market.request_payout(user, 6000)
    assert market.claim(payout)["amount_cents"] == 6000, "nothing shrank"


# -- a chargeback on money that is still pending ----------------------------------------------------------------------


def test_an_adjustment_beyond_what_is_available_is_owed(market: Market) -> None:
    seller, _, _, order = sale(market, price=40000)
    earned = market.split(order["order_id"])[2]
    market.fund(seller, -20000)
    assert market.wallet(seller) == (0, earned, 20000)
    market.check()
    market.mature()
    market.release()
    assert market.wallet(seller) == (earned - 20000, 0, 0)


# -- fees burnt -------------------------------------------------------------------------------------------------------


def test_a_seller_refunds_into_a_small_debt_only(market: Market) -> None:
    seller, _, _, order = sale(market, price=99999999)
    with refused("insufficient_funds"):
        market.request_refund(seller, market.line(order["order_id"]))
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert market.wallet(seller)[2] == market.split(order["order_id"])[0]
    # Now the small ones are refused too: the debt there is counts.
    small = market.buy(market.sign_up(), market.product(seller, 2000))
    with refused("insufficient_funds"):
        market.request_refund(seller, market.line(small["order_id"]))


def test_refunds_under_way_and_old_debt_count_towards_the_limit(market: Market) -> None:
    """The fee of $500 is 1,480: three of them fit into 5,000, whether they are booked or on their way."""
    market.rows("update private.settings set seller_debt_cents = 5000")
    seller = market.sign_up()
    lines = []
    for _ in range(4):
        order = market.buy(market.sign_up(), market.product(seller, 50000))
        lines.append(market.line(order["order_id"]))
    market.refund(seller, lines[0])
    assert market.wallet(seller)[2] == 1480
    market.request_refund(seller, lines[1])
    market.request_refund(seller, lines[2])
    with refused("insufficient_funds"):
        market.request_refund(seller, lines[3])


def test_a_dashboard_refund_on_its_way_counts_too(market: Market) -> None:
    seller, _, _, order = sale(market, price=50000)
    market.mature()
    market.release()
    market.onboard(seller)
    market.provider_refund(order["payment_id"], 50000, ref="re_dash", status="pending")
    with refused("insufficient_funds"):
        market.request_payout(seller, 5000)


def test_an_admin_who_sells_is_a_seller(market: Market) -> None:
    seller, _, _, order = sale(market, price=5000000)
    market.rows("update public.profiles set role = 'admin' where id = %s", seller)
    with refused("insufficient_funds"):
        market.request_refund(seller, market.line(order["order_id"]))


def test_the_first_large_sale_is_held_until_an_admin_has_looked(market: Market) -> None:
    seller, _, _, order = sale(market, price=100001)
    earned = market.split(order["order_id"])[2]
    market.mature()
    assert market.release() == 0
    assert market.wallet(seller) == (0, earned, 0)
    transaction = market.sales(order["order_id"])[0]["id"]
    market.rpc(market.sign_up(role="admin"), "release_sale_review", transaction_id=transaction, note="called")
    assert market.release() == 1
    assert market.wallet(seller) == (earned, 0, 0)


# -- late declines ----------------------------------------------------------------------------------------------------


def test_declined_after_a_full_refund_the_fee_comes_back(market: Market) -> None:
    seller, _, _, order = sale(market)
    market.refund(seller, market.line(order["order_id"]))
    assert market.wallet(seller) == (0, 0, 88)
    for _ in range(2):
        assert market.decline(order["payment_id"], order["charge"]) == "processed"
        assert market.balances() == {}


@pytest.mark.parametrize(("end", "left"), [("succeeded", {}), ("failed", {"clearing:stripe": -500})])
def test_declined_while_a_refund_is_pending(market: Market, end: str, left: dict[str, int]) -> None:
    """The provider takes back what the refund does not; the refund goes its own way, and its events are processed."""
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]), 500)
    market.claim_refund(refund["id"])
    market.worker("select private.record_refund(%s, %s, 'pending')", refund["id"], f"re_{refund['id']}")
    assert market.decline(order["payment_id"], order["charge"]) == "processed"
    assert market.balances()["clearing:stripe"] == -500
    assert market.provider_refund(order["payment_id"], 500, status=end, ours=refund["id"]) == "processed"
    assert market.status("refunds", refund["id"]) == end
    assert {k: v for k, v in market.balances().items() if k.startswith("clearing")} == left


def test_declined_before_a_refund_was_sent_it_is_not_sent(market: Market) -> None:
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]), 500)
    market.decline(order["payment_id"], order["charge"])
    assert market.status("refunds", refund["id"]) == "cancelled"
    assert market.claim_refund(refund["id"]) is None
    assert market.balances() == {}


def test_declined_while_a_refund_was_being_sent_that_the_provider_then_refuses(market: Market) -> None:
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]), 500)
    market.claim_refund(refund["id"])
    market.decline(order["payment_id"], order["charge"])
    assert market.balances()["clearing:stripe"] == -500, "it may be there"
    market.worker("select private.record_refund(%s, null, 'failed', 'charge_failed')", refund["id"])
    assert market.balances() == {}


@pytest.mark.parametrize("fee", [60, 5000])
@pytest.mark.parametrize("refunds", [[20], [11, 20], [20, None]])
def test_declined_with_a_fee_above_the_price(market: Market, fee: int, refunds: list[int | None]) -> None:
    """Nobody earns or loses by a charge that was taken back."""
    seller, _, _, order = sale(market, price=50, tier="basic")
    market.fee(order["payment_id"], fee)
    for cents in refunds:
        market.refund(seller, market.line(order["order_id"]), cents)
    market.decline(order["payment_id"], order["charge"])
    assert market.balances() == {}
    assert market.wallet(seller) == (0, 0, 0)


@pytest.mark.parametrize("refunded", [500, 1999, None])
@pytest.mark.parametrize("fee", [89, 150, 1500, 5000])
def test_a_fee_read_after_a_refund_is_never_its_sellers_debt(market: Market, refunded: int | None, fee: int) -> None:
    seller, _, _, order = sale(market)
    market.refund(seller, market.line(order["order_id"]), refunded)
    debt = market.wallet(seller)[2]
    market.fee(order["payment_id"], fee)
    assert market.wallet(seller)[2] == debt
    assert market.balances()["fees:stripe"] == fee
    # And whatever the platform lost by it comes back with the charge.
    market.decline(order["payment_id"], order["charge"])
    assert market.balances() == {}


# -- refunds that failed ----------------------------------------------------------------------------------------------


def undeliverable(market: Market) -> tuple[str, str]:
    """A payment taken for a piece that is gone, whose refund the provider refused: (payment, refund)."""
    seller, late = market.sign_up(), market.sign_up()
    item = market.artwork(seller, 3000)
    order = market.checkout(late, item)
    market.start(late, order["payment_id"])
    market.rpc(late, "cancel_order", order_id=order["order_id"])
    market.cancel(order["payment_id"])
    market.buy(market.sign_up(), item)
    market.succeed(order["payment_id"])
    refund = market.one("select id from public.refunds where payment_id = %s", order["payment_id"])
    market.claim_refund(refund)
    market.worker("select private.record_refund(%s, null, 'failed', 'expired_card')", refund)
    assert market.balances()["refunds_payable"] == 3000
    return order["payment_id"], refund


def test_a_failed_refund_of_undeliverable_goods_is_seen_and_made_again(market: Market) -> None:
    payment, refund = undeliverable(market)
    (row,) = market.rows("select * from private.money_waiting()")
    assert (row["account"], row["subject"], row["amount_cents"], row["needs_person"]) == (
        "refunds_payable",
        f"payment {payment}",
        3000,
        True,
    )
    again = market.worker("select private.retry_refund(%s, 'op')", refund)
    assert market.claim_refund(again)["refund_id"] == again, "a new refund under a key of its own"
    assert not market.one("select needs_person from private.money_waiting() where account = 'refunds_payable'")
    with refused("refund_amount_invalid"):
        market.worker("select private.retry_refund(%s, 'op')", refund)
    market.worker("select private.record_refund(%s, 're_2', 'succeeded')", again)
    assert market.rows("select * from private.money_waiting()") == []
    assert market.balances().get("refunds_payable") is None


def test_a_failed_refund_is_paid_outside_once(market: Market) -> None:
    payment, refund = undeliverable(market)
    admin = market.sign_up(role="admin")
    made = market.rpc(admin, "pay_refund_outside", refund_id=refund, reference=" SEPA 77 ")
    assert (made["status"], made["provider_ref"], made["paid_outside"]) == ("succeeded", "outside:SEPA 77", True)
    assert market.balances()["bank"] == 3000
    assert market.balances().get("refunds_payable") is None
    assert market.status("payments", payment) == "refunded"
    with refused("refund_amount_invalid"):
        market.rpc(admin, "pay_refund_outside", refund_id=refund, reference="SEPA 78")
    _, other = undeliverable(market)
    with refused("reference_used"):
        market.rpc(admin, "pay_refund_outside", refund_id=other, reference="SEPA 77")
    with refused("reference_required"):
        market.rpc(admin, "pay_refund_outside", refund_id=other, reference=" ")
    with refused("refund_not_failed"):
        market.rpc(admin, "retry_refund", refund_id=made["id"])
    assert market.one("select count(*) from public.audit_log where action = 'pay_refund_outside'") == 1


def test_a_failed_refund_of_a_sale_waits_until_made_good(market: Market) -> None:
    seller, _, _, order = sale(market)
    refund = market.request_refund(seller, market.line(order["order_id"]))
    market.claim_refund(refund["id"])
    market.worker("select private.record_refund(%s, null, 'failed', 'x')", refund["id"])
    assert market.one("select problem from private.money_waiting()") == "failed, not made again"
    again = market.rpc(market.sign_up(role="admin"), "retry_refund", refund_id=refund["id"])
    market.worker("select private.record_refund(%s, 're_9', 'succeeded')", again["id"])
    assert market.rows("select * from private.money_waiting()") == []
    assert market.status("orders", order["order_id"]) == "refunded"


def test_nobody_makes_their_own_refund_good(market: Market) -> None:
    payment, refund = undeliverable(market)
    payer = market.one("select user_id from public.payments where id = %s", payment)
    market.rows("update public.profiles set role = 'admin' where id = %s", payer)
    with refused("own_wallet"):
        market.rpc(payer, "retry_refund", refund_id=refund)


def test_what_waits_too_long_needs_a_person(market: Market) -> None:
    user = market.sign_up()
    market.fund(user, 10000)
    market.onboard(user)
    payout = market.request_payout(user, 5000)
    waiting = "select needs_person from private.money_waiting() where subject = %s"
    assert market.one(waiting, f"payout {payout}") is False
    market.rows("update public.payouts set requested_at = now() - interval '4 days' where id = %s", payout)
    assert market.one(waiting, f"payout {payout}") is True
    metrics = market.rows("select * from private.metrics()")
    gauges = {(row["name"], row["labels"].get("account")): row["value"] for row in metrics}
    assert gauges["avenue_money_waiting_stuck", "payouts_in_transit"] == 1
    assert gauges["avenue_money_waiting_cents", "payouts_in_transit"] == 5000
    assert gauges["avenue_money_waiting_stuck", "refunds_payable"] == 0


# -- the payer comes before the shop ----------------------------------------------------------------------------------


def test_a_freed_piece_goes_to_whoever_paid_and_got_nothing(market: Market) -> None:
    seller, first, item, order = sale(market, artwork=True)
    refund = market.refund(seller, market.line(order["order_id"]))
    second = market.sign_up()
    resale = market.buy(second, item)
    market.provider_refund(order["payment_id"], 2000, ref=refund["provider_ref"], status="failed", ours=refund["id"])
    assert not market.owns(first, item)
    market.refund(market.sign_up(role="admin"), market.line(resale["order_id"]))
    assert market.owns(first, item)
    assert not market.owns(second, item)
    assert not market.listed(item)
    # Given back in the end, it is for sale again.
    market.refund(market.sign_up(role="admin"), market.line(order["order_id"]))
    assert not market.owns(first, item)
    assert market.listed(item)


GIVING_UP = ("by its buyer", "when time is up", "at the provider", "for another order", "undeliverable")


@pytest.mark.parametrize("how", GIVING_UP)
def test_a_piece_that_is_given_up_goes_to_whoever_paid_and_got_nothing(market: Market, how: str) -> None:
    """A refund fails while the copy it gave back is held, not sold: when the hold ends its first buyer comes first."""
    seller, first, second = market.sign_up(), market.sign_up(), market.sign_up()
    item, _ = market.edition(seller, 2000, 2)
    order = market.buy(first, item)
    market.buy(market.sign_up(), item)
    refund = market.refund(seller, market.line(order["order_id"]))
    other = market.product(market.sign_up(), 2000)
    held = market.checkout(second, item, other)
    if how not in ("by its buyer", "when time is up"):
        market.start(second, held["payment_id"])
    market.provider_refund(order["payment_id"], 2000, ref=refund["provider_ref"], status="failed", ours=refund["id"])
    assert not market.owns(first, item), "the other one may still pay"
    assert market.one("select taken from public.catalog_items where id = %s", item) == 2
    if how == "by its buyer":
        market.rpc(second, "cancel_order", order_id=held["order_id"])
    elif how == "when time is up":
        market.rows("update public.payments set expires_at = now() where id = %s", held["payment_id"])
        assert market.worker("select private.expire_unstarted_payments(10)") == 1
    elif how == "at the provider":
        assert market.cancel(held["payment_id"]) == "processed"
    elif how == "for another order":
        # It has only the other piece in common: the copy is not taken over, and free when the provider says so.
        market.checkout(second, other)
        assert not market.owns(first, item)
        assert market.cancel(held["payment_id"]) == "processed"
    else:
        # The other piece is bought meanwhile, so the money goes back.
        market.fund(second, 2000)
        market.checkout(second, other, provider="wallet")
        assert market.succeed(held["payment_id"]) == "processed"
        assert market.status("orders", held["order_id"]) in ("cancelled", "refunded")
    assert market.owns(first, item), "who paid comes before the shop"
    assert market.numbers(item) == [1, 2]
    assert market.one("select taken from public.catalog_items where id = %s", item) == 2
    assert not market.listed(item)
    assert not market.owns(second, item)


def test_what_is_given_up_is_the_shops_when_nobody_waits_for_it(market: Market) -> None:
    """A removal, a refund that stands and an account that left wait for nothing."""
    seller, first, gone = market.sign_up(), market.sign_up(), market.sign_up()
    item, _ = market.edition(seller, 2000, 3)
    removed = market.buy(market.sign_up(), item)
    market.rows("select private.revoke_line(%s, 'removed')", market.line(removed["order_id"]))
    refunded = market.buy(first, item)
    market.refund(seller, market.line(refunded["order_id"]))
    left = market.buy(gone, item)
    refund = market.refund(seller, market.line(left["order_id"]))
    held = [market.checkout(buyer := market.sign_up(), item) | {"buyer": buyer} for _ in range(3)]
    market.provider_refund(left["payment_id"], 2000, ref=refund["provider_ref"], status="failed", ours=refund["id"])
    market.rows("update public.profiles set deleted_at = now() where id = %s", gone)
    for order in held:
        market.rpc(order["buyer"], "cancel_order", order_id=order["order_id"])
    assert market.numbers(item) == []
    assert market.one("select taken from public.catalog_items where id = %s", item) == 0
    assert market.listed(item)


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keys_belong_to_caller_and_purpose_and_name_one_request(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.product(seller, 2000), market.product(seller, 3000))
    first, second = (market.line(order["order_id"], number) for number in (1, 2))
    refund = market.request_refund(seller, first, 500, key="k")
    assert market.request_refund(seller, first, 500, key="k")["id"] == refund["id"]
    for line, cents in ((second, 500), (first, 501), (first, None)):
        with refused("idempotency_key_reused"):
            market.request_refund(seller, line, cents, key="k")
    admin, other = market.sign_up(role="admin"), market.sign_up(role="admin")
    assert market.request_refund(admin, first, 500, key="k")["id"] != refund["id"], "another's key"

    def adjust(by: str, user: str, cents: int) -> int:
        return int(market.rpc(by, "adjust_wallet", user_id=user, amount_cents=cents, reason="x", idempotency_key="k"))

    journal = adjust(admin, seller, 700)
    assert adjust(admin, seller, 700) == journal
    for user, cents in ((buyer, 700), (seller, 701)):
        with refused("idempotency_key_reused"):
            adjust(admin, user, cents)
    assert adjust(other, buyer, 700) != journal
    assert market.wallet(seller)[0] == 700
    assert market.wallet(buyer)[0] == 700


def test_what_is_sent_under_a_key_never_changes(market: Market) -> None:
    """Refunds and payouts carry all that is sent on their own rows."""
    seller, _, _, order = sale(market, price=20000)
    refund = market.request_refund(seller, market.line(order["order_id"]), 700)
    sent = market.claim_refund(refund["id"])
    market.rows("update public.order_items set title = 'other'")
    market.decline(order["payment_id"], "ch_other")
    assert market.claim_refund(refund["id"]) == sent
    market.fund(seller, 9000)
    market.onboard(seller)
    payout = market.request_payout(seller, 5000)
    sent = market.claim(payout)
    market.onboard(seller, "acct_new")
    assert market.claim(payout) == sent


# -- sweeps -----------------------------------------------------------------------------------------------------------

DUE = {
    "payments_to_cancel": "update public.payments set expires_at = now()",
    "payments_to_reconcile": "update public.payments set started_at = now() - interval '1 day'",
    "payments_missing_fee": "select 1",
    "refunds_to_resume": "update public.refunds set created_at = now() - interval '1 day'",
}


@pytest.mark.parametrize("sweep", DUE)
def test_what_cannot_be_done_keeps_nothing_back(market: Market, sweep: str) -> None:
    """Five are due, none of them can be ended, and three at a time are tried: twice is enough for all."""
    seller, due = market.sign_up(), set()
    for _ in range(5):
        buyer, item = market.sign_up(), market.product(seller, 2000)
        if sweep in ("payments_missing_fee", "refunds_to_resume"):
            order = market.buy(buyer, item)
        else:
            order = market.checkout(buyer, item)
            market.start(buyer, order["payment_id"])
        if sweep == "refunds_to_resume":
            market.request_refund(seller, market.line(order["order_id"]), 500)
        due.add(order["payment_id"])
    market.rows(DUE[sweep])
    tried = [market.worker(f"select array_agg(payment_id::text) from private.{sweep}(3)") for _ in range(2)]
    assert len(tried[0]) == 3
    assert set(tried[0] + tried[1]) == due

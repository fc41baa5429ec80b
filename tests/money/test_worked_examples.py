"""Numbers to the cent: money.md's worked examples, splits, roundings, and amounts nobody may send."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.server import Database
from tests.money.market import Json, Market, refused

# price, tier, fee, commission, seller: the whole way through Stripe.
STRIPE = [
    pytest.param(2000, "standard", 88, 600, 1312, id="money.md: $20.00, standard"),
    pytest.param(2000, "basic", 88, 800, 1112, id="basic"),
    pytest.param(2000, "premium", 88, 400, 1512, id="premium"),
    pytest.param(2000, "ultimate", 88, 200, 1712, id="ultimate"),
    pytest.param(500000, "basic", 14530, 200000, 285470, id="the $5,000.00 artwork"),
    pytest.param(99999999, "basic", 2900030, 40000000, 57099969, id="largest"),
    pytest.param(50, "basic", 31, 19, 0, id="lowest: fee and commission exceed it, the commission shrinks"),
    pytest.param(53, "basic", 32, 21, 0, id="just nothing left"),
    pytest.param(54, "basic", 32, 22, 0, id="commission 21.6 rounds to 22, just enough"),
    pytest.param(55, "basic", 32, 22, 1, id="the first cent"),
    # 290 bps of 50, 150, 250 … end in .5 at multiples of 1000/58; halves go up.
    pytest.param(1500, "basic", 74, 600, 826, id="fee 43.5 rounds up"),
    pytest.param(1499, "basic", 73, 600, 826, id="fee 43.471 rounds down, commission 599.6 up"),
    pytest.param(1005, "premium", 59, 201, 745, id="exact commission"),
    pytest.param(1001, "standard", 59, 300, 642, id="commission 300.3 rounds down"),
    pytest.param(1005, "ultimate", 59, 101, 845, id="commission 100.5 rounds up"),
]


@pytest.mark.parametrize(("price", "tier", "fee", "commission", "seller_cents"), STRIPE)
def test_a_card_sale_is_divided(
    market: Market, price: int, tier: str, fee: int, commission: int, seller_cents: int
) -> None:
    seller, buyer = market.sign_up(tier), market.sign_up()
    order = market.buy(buyer, market.product(seller, price))
    assert market.split(order["order_id"]) == (fee, commission, seller_cents)
    assert market.wallet(seller) == (0, seller_cents, 0)
    expected = {"clearing:stripe": -price, "fees:stripe": fee, "revenue": commission, "users pending": seller_cents}
    assert market.balances() == {account: cents for account, cents in expected.items() if cents}


def test_the_legs_of_the_worked_sale(market: Market) -> None:
    """money.md: clearing:stripe −2000, fees:stripe +88, revenue +600, seller pending +1312."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    market.buy(buyer, market.product(seller, 2000))
    legs = market.rows(
        "select a.code, e.amount_cents from ledger.entries as e join ledger.accounts as a on a.id = e.account_id "
        "join ledger.journal as j on j.id = e.journal_id where j.kind = 'sale' order by e.leg_no"
    )
    assert [tuple(leg.values()) for leg in legs] == [
        ("clearing:stripe", -2000),
        ("fees:stripe", 88),
        ("revenue", 600),
        ("pending", 1312),
    ]


@pytest.mark.parametrize(
    ("provider", "price", "bps", "fee", "commission", "seller_cents"),
    [
        pytest.param("paypal", 2000, 4000, 119, 800, 1081, id="money.md: basic, PayPal, 69.8 → 70 + 49"),
        pytest.param("stripe", 2000, 3000, 88, 600, 1312, id="money.md: standard, Stripe"),
        pytest.param("wallet", 2000, 3000, 0, 600, 1400, id="wallet has no fee"),
        pytest.param("paypal", 50, 4000, 51, -1, 0, id="the fee alone exceeds 50 cents: the platform's loss"),
        pytest.param("paypal", 51, 4000, 51, 0, 0, id="the fee is all of it"),
        pytest.param("paypal", 52, 4000, 51, 1, 0, id="one cent of commission"),
        pytest.param("paypal", 100, 0, 52, 0, 48, id="no commission (tips)"),
        pytest.param("stripe", 100, 10000, 33, 67, 0, id="all of it"),
        pytest.param("stripe", 50, 10000, 31, 19, 0, id="all of it, shrunk"),
    ],
)
def test_split_functions(
    market: Market, provider: str, price: int, bps: int, fee: int, commission: int, seller_cents: int
) -> None:
    assert market.one("select private.processing_fee(%s, %s, 'USD')", provider, price) == fee
    split = market.row("select * from private.split_line(%s, 0, 0, %s, %s)", price, fee, bps)
    assert tuple(split.values()) == (commission, seller_cents)


def test_shipping_and_tax_carry_no_commission(market: Market) -> None:
    split = market.row("select * from private.split_line(2160, 160, 0, 93, 3000)")
    assert tuple(split.values()) == (600, 1307)


@pytest.mark.parametrize("parts", [[1] * 100 + [2060], [2160], [720, 720, 720], [1, 2158, 1], [2000, -500, 660]])
def test_12_tax_is_refunded_pro_rata_and_never_more_than_was_paid(market: Market, parts: list[int]) -> None:
    """$20.00 and $1.60 tax, refunded in parts: negative ones are refunds taken back."""
    sale = {
        "amount_total_cents": 2160,
        "amount_tax_cents": 160,
        "amount_commission_cents": 600,
        "amount_promotions_cents": 0,
    }
    back = dict.fromkeys(("cents", "tax", "commission", "fee", "seller", "credits", "promotions"), 0)
    for part in parts:
        so_far = {f"refunded_{name}_cents": cents for name, cents in back.items() if name != "cents"}
        row = json.dumps(sale | so_far | {"refunded_cents": back["cents"]})
        split = market.row(
            "select * from private.split_refund(jsonb_populate_record(null::public.transactions, %s::jsonb), %s)",
            row,
            part,
        )
        for name, cents in ({"cents": part} | split).items():
            back[name] += cents
        assert abs(back["tax"] - 160 * back["cents"] / 2160) <= 0.5
    assert back == {
        "cents": 2160,
        "tax": 160,
        "commission": 600,
        "fee": 0,
        "seller": 1400,
        "credits": 0,
        "promotions": 0,
    }


@pytest.mark.parametrize(("bps", "amount", "fee"), [(290, 1500, 44), (290, 1499, 43), (349, 50, 2), (5000, 1, 1)])
def test_the_percent_part_rounds_half_up(market: Market, bps: int, amount: int, fee: int) -> None:
    market.rows("insert into public.fee_schedules values ('stripe', 'USD', now() - interval '1 second', %s, 0)", bps)
    assert market.one("select private.processing_fee('stripe', %s, 'USD')", amount) == fee


def test_a_schedule_of_the_future_does_not_count_yet(market: Market) -> None:
    market.rows("insert into public.fee_schedules values ('stripe', 'USD', now() + interval '1 day', 0, 1)")
    assert market.one("select private.processing_fee('stripe', 2000, 'USD')") == 88


# -- one charge over several sellers ----------------------------------------------------------------------------------


def test_three_sellers_share_the_fee_by_largest_remainder(market: Market) -> None:
    """$9.99 + $4.99 + $0.77 = $15.75: fee 45.675 → 46 + 30 = 76; exact shares 48.205, 24.079, 3.716."""
    sellers = [market.sign_up("standard"), market.sign_up("basic"), market.sign_up("ultimate")]
    buyer = market.sign_up()
    items = [market.product(seller, price) for seller, price in zip(sellers, [999, 499, 77], strict=True)]
    order = market.buy(buyer, *items)
    splits = [market.split(order["order_id"], line) for line in (1, 2, 3)]
    assert [split[0] for split in splits] == [48, 24, 4]
    assert splits == [(48, 300, 651), (24, 200, 275), (4, 8, 65)]
    assert [market.wallet(seller)[1] for seller in sellers] == [651, 275, 65]
    assert market.balances() == {
        "clearing:stripe": -1575,
        "fees:stripe": 76,
        "revenue": 508,
        "users pending": 991,
    }


def test_equal_remainders_go_to_the_earlier_line(market: Market) -> None:
    """3 × $1.00: fee 8.7 → 9 + 30 = 39 = 13 each; 3 × $1.05: 9.135 → 9 + 30; 2 × $0.50: 3 + 30 = 33 = 17 + 16."""
    seller, buyer = market.sign_up(), market.sign_up()
    order = market.buy(buyer, market.product(seller, 50), market.product(seller, 50))
    assert [sale["amount_fees_cents"] for sale in market.sales(order["order_id"])] == [17, 16]


def test_a_free_line_in_a_paid_order_is_granted_without_a_sale(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    free, paid = market.product(seller, 0), market.product(seller, 2000)
    order = market.buy(buyer, free, paid)
    assert market.owns(buyer, free)
    assert market.owns(buyer, paid)
    assert len(market.sales(order["order_id"])) == 1
    assert market.wallet(seller) == (0, 1312, 0)


@given(total=st.integers(0, 10**8), weights=st.lists(st.integers(1, 99999999), min_size=1, max_size=50))
def test_any_split_adds_up_and_is_near_its_share(database: Database, total: int, weights: list[int]) -> None:
    with database.connect() as connection:
        parts = connection.execute("select private.split_cents(%s, %s)", (total, weights)).fetchone()
    assert parts is not None
    exact = [total * weight / sum(weights) for weight in weights]
    assert sum(parts[0]) == total
    assert all(abs(part - share) < 1 + 1e-6 for part, share in zip(parts[0], exact, strict=True))


def test_largest_amounts_split_without_overflow(market: Market) -> None:
    assert market.one("select private.split_cents(%s, %s)", 99999999, [99999999] * 3) == [33333333] * 3


# -- what is fixed at checkout ----------------------------------------------------------------------------------------


def test_the_plan_and_price_of_checkout_hold(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 2000)
    order = market.checkout(buyer, item)
    market.start(buyer, order["payment_id"])
    market.rows("update public.subscriptions set plan_key = 'creator_basic' where user_id = %s", seller)
    market.member(seller, "update public.products set price_cents = 9900 where id = %s", item)
    market.succeed(order["payment_id"])
    assert market.split(order["order_id"]) == (88, 600, 1312)


def test_name_your_price(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item = market.product(seller, 1000, minimum_cents=500)
    with refused("price_too_low"):
        market.checkout(buyer, {"item_id": item, "offered_price_cents": 499})
    order = market.buy(buyer, {"item_id": item, "offered_price_cents": 2000})
    assert market.split(order["order_id"]) == (88, 600, 1312)
    suggested = market.checkout(market.sign_up(), item)
    assert suggested["total_cents"] == 1000


@pytest.mark.parametrize("cents", [1, 49])
def test_a_named_price_is_free_or_at_least_50_cents(market: Market, cents: int) -> None:
    seller = market.sign_up()
    item = market.product(seller, 1000, minimum_cents=0)
    with refused("price_too_low"):
        market.checkout(market.sign_up(), {"item_id": item, "offered_price_cents": cents})
    free = market.checkout(market.sign_up(), {"item_id": item, "offered_price_cents": 0})
    assert (free["status"], free["payment_id"]) == ("completed", None)
    assert market.checkout(market.sign_up(), {"item_id": item, "offered_price_cents": 50})["total_cents"] == 50


def test_quantity_multiplies_and_one_fee_is_taken(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, {"item_id": market.product(seller, 1000), "quantity": 2})
    assert market.split(order["order_id"]) == (88, 600, 1312)


# -- the real fee -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "fee", "expected"),
    [
        pytest.param(2000, 88, (88, 600, 1312), id="as estimated"),
        pytest.param(2000, 108, (108, 600, 1292), id="higher: the seller's"),
        pytest.param(2000, 0, (0, 600, 1400), id="none"),
        pytest.param(2000, 1900, (1900, 100, 0), id="so high that the commission shrinks"),
        pytest.param(2000, 2100, (2100, -100, 0), id="above the price: the platform's loss"),
        pytest.param(50, 20, (20, 20, 10), id="lower: the commission grows back to its rate, the seller earns"),
        pytest.param(50, 31, (31, 19, 0), id="as estimated, shrunk"),
        pytest.param(50, 60, (60, -10, 0), id="above the lowest price"),
    ],
)
def test_the_real_fee_replaces_the_estimate(market: Market, price: int, fee: int, expected: tuple[int, ...]) -> None:
    seller, buyer = market.sign_up("standard" if price == 2000 else "basic"), market.sign_up()
    order = market.buy(buyer, market.product(seller, price))
    for _ in range(2):
        market.fee(order["payment_id"], fee)
        assert market.split(order["order_id"]) == expected
        assert market.wallet(seller) == (0, expected[2], 0)
    market.fee(order["payment_id"], fee + 5)
    assert market.split(order["order_id"]) == expected, "the first real fee is final"
    assert market.balances().get("fees:stripe", 0) == fee


def test_the_real_fee_is_split_like_the_estimate(market: Market) -> None:
    sellers = [market.sign_up("standard"), market.sign_up("basic"), market.sign_up("ultimate")]
    items = [market.product(seller, price) for seller, price in zip(sellers, [999, 499, 77], strict=True)]
    order = market.buy(market.sign_up(), *items)
    market.fee(order["payment_id"], 100)
    assert [sale["amount_fees_cents"] for sale in market.sales(order["order_id"])] == [63, 32, 5]
    assert [market.wallet(seller)[1] for seller in sellers] == [636, 267, 64]


@pytest.mark.parametrize(("fee", "seller_cents"), [(108, 656 - 20), (50, 656 + 38)])
def test_the_real_fee_after_a_partial_refund_leaves_the_agreed_commission(
    market: Market, fee: int, seller_cents: int
) -> None:
    """Half of $20.00 back: commission 300, seller 700 of pending 1312 leave 612; the change is the seller's."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.product(seller, 2000))
    market.refund(seller, market.line(order["order_id"]), 1000)
    assert market.wallet(seller) == (0, 612, 0)
    market.fee(order["payment_id"], fee)
    assert market.wallet(seller) == (0, seller_cents - 44, 0)
    assert market.split(order["order_id"])[:2] == (fee, 600)


def test_the_real_fee_after_a_partial_refund_does_not_let_the_commission_grow_back(market: Market) -> None:
    """50 cents, fee 31, commission shrunk to 19. Ten cents back: 4 from it, 6 from the seller. Then the fee is 20."""
    seller = market.sign_up()
    order = market.buy(market.sign_up(), market.product(seller, 50))
    market.refund(seller, market.line(order["order_id"]), 10)
    assert market.wallet(seller) == (0, 0, 6)
    market.fee(order["payment_id"], 20)
    assert market.split(order["order_id"]) == (20, 19, 11)
    assert market.wallet(seller) == (0, 11, 6)


def test_the_real_fee_after_the_release(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    order = market.buy(buyer, market.product(seller, 2000))
    market.mature()
    market.release()
    market.fee(order["payment_id"], 100)
    assert market.wallet(seller) == (1300, 0, 0)


def test_the_fee_of_money_that_bought_nothing_is_the_platforms(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    first, second = ((order := market.checkout(buyer, item), market.start(buyer, order["payment_id"]))[0] for _ in "12")
    for order in (first, second):
        market.succeed(order["payment_id"])
    market.fee(second["payment_id"], 88)
    assert market.balances()["revenue"] == 800 - 88


# -- amounts nobody may send ------------------------------------------------------------------------------------------

TOO_BIG = 2**53
BAD_NUMBERS: list[Json] = [TOO_BIG, 10**8, -1, -2000, 0.5, 19.99, 1e300]
BAD_WORDS: list[Json] = ["NaN", "Infinity", "1e3", "0x10", " 1", "1\n", "١٠٠", True, [], {}]
BAD_JSON_AMOUNTS = BAD_NUMBERS + BAD_WORDS


@pytest.mark.parametrize("amount", BAD_JSON_AMOUNTS, ids=repr)
def test_checkout_refuses_bad_offers(market: Market, amount: Json) -> None:
    item = market.product(market.sign_up(), 1000, minimum_cents=500)
    with refused("invalid_checkout"):
        market.checkout(market.sign_up(), {"item_id": item, "offered_price_cents": amount})


@pytest.mark.parametrize("quantity", [*BAD_JSON_AMOUNTS, 100, 0], ids=repr)
def test_checkout_refuses_bad_quantities(market: Market, quantity: Json) -> None:
    item = market.product(market.sign_up(), 1000)
    with refused("invalid_checkout", "quantity_not_allowed"):
        market.checkout(market.sign_up(), {"item_id": item, "quantity": quantity})


def test_checkout_refuses_a_total_above_the_providers_limit(market: Market) -> None:
    seller = market.sign_up()
    item = market.product(seller, 99999999)
    with refused("amount_out_of_range"):
        market.checkout(market.sign_up(), {"item_id": item, "quantity": 2})
    with refused("amount_out_of_range"):
        market.checkout(market.sign_up(), item, market.product(seller, 50))


@pytest.mark.parametrize("cents", [TOO_BIG, 100000000, -1, -50, 1, 49])
def test_prices_out_of_range_are_refused(market: Market, cents: int) -> None:
    seller = market.sign_up()
    with refused("23514"):
        market.product(seller, cents)
    with refused("23514"):
        market.artwork(seller, cents)


@pytest.mark.parametrize("cents", [TOO_BIG, 100000000, -1])
def test_carts_refuse_offers_out_of_range(market: Market, cents: int) -> None:
    item = market.product(market.sign_up(), 1000, minimum_cents=0)
    with refused("23514", "price_too_low"):
        market.member(
            market.sign_up(),
            "insert into public.cart_items (item_id, offered_price_cents) values (%s, %s)",
            item,
            cents,
        )


@pytest.mark.parametrize("cents", [TOO_BIG, 100000000, 2001, 0, -1, -2000, -TOO_BIG])
def test_refunds_refuse_bad_amounts(market: Market, cents: int) -> None:
    seller = market.sign_up()
    market.fund(seller, 50000)
    order = market.buy(market.sign_up(), market.product(seller, 2000))
    with refused("refund_amount_invalid", "insufficient_funds"):
        market.request_refund(seller, market.line(order["order_id"]), cents)
    with refused("refund_amount_invalid"):
        market.request_refund(market.sign_up(role="admin"), market.line(order["order_id"]), cents)
    assert market.rows("select * from public.refunds") == []


@pytest.mark.parametrize("cents", [TOO_BIG, 100000000, 4999, 0, -1, -5000, -TOO_BIG, None])
def test_payouts_refuse_bad_amounts(market: Market, cents: int | None) -> None:
    seller = market.sign_up()
    market.fund(seller, 50000)
    market.onboard(seller)
    with refused("payout_amount_invalid"):
        market.rpc(seller, "request_payout", amount_cents=cents)


@pytest.mark.parametrize("cents", [TOO_BIG, -TOO_BIG, 100000000, 0, None])
def test_adjustments_refuse_bad_amounts(market: Market, cents: int | None) -> None:
    admin, user = market.sign_up(role="admin"), market.sign_up()
    with refused("adjustment_invalid"):
        market.rpc(admin, "adjust_wallet", user_id=user, amount_cents=cents, reason="x", idempotency_key="k")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "1e400", "19.99", "9223372036854775808"])
@pytest.mark.parametrize(
    "function",
    ["request_payout(amount_cents => %s::text::bigint)", "wallet_statement(before_journal => %s::text::bigint)"],
)
def test_amounts_that_are_no_integers_do_not_reach_a_function(market: Market, word: str, function: str) -> None:
    with refused("22P02", "22003"), market.connection.transaction():
        market.member(market.sign_up(), f"select public.{function}", word)


@pytest.mark.parametrize("cents", [TOO_BIG, 2001, 1999, 0, -2000, None, "NaN", 2000.5])
def test_a_success_over_a_wrong_amount_settles_nothing(market: Market, cents: Json) -> None:
    buyer = market.sign_up()
    order = market.checkout(buyer, market.product(market.sign_up(), 2000))
    market.start(buyer, order["payment_id"])
    assert market.succeed(order["payment_id"], amount_received=cents) in ("dead", "retry")
    assert market.status("payments", order["payment_id"]) == "requires_payment"
    assert market.balances() == {}


def test_a_success_in_another_currency_settles_nothing(market: Market) -> None:
    buyer = market.sign_up()
    order = market.checkout(buyer, market.product(market.sign_up(), 2000))
    market.start(buyer, order["payment_id"])
    assert market.succeed(order["payment_id"], currency="jpy") == "dead"
    assert market.balances() == {}


@pytest.mark.parametrize("cents", [TOO_BIG, 100000000, 2001, 0, -1, -2000, None, "NaN", 0.5])
def test_a_reported_refund_over_a_wrong_amount_books_nothing(market: Market, cents: Json) -> None:
    order = market.buy(market.sign_up(), market.product(market.sign_up(), 2000))
    before = market.balances()
    assert market.provider_refund(order["payment_id"], cents) in ("dead", "retry")
    assert market.balances() == before
    assert market.rows("select * from public.refunds") == []


@pytest.mark.parametrize("cents", [TOO_BIG, 5001, 4999, 0, -5000, None])
def test_a_transfer_over_a_wrong_amount_completes_nothing(market: Market, cents: int | None) -> None:
    seller = market.sign_up()
    market.fund(seller, 5000)
    market.onboard(seller)
    payout = market.request_payout(seller, 5000)
    market.claim(payout)
    assert market.transfer(payout, amount=cents) in ("dead", "retry")
    with refused("event_rejected"):
        market.worker("select private.complete_payout(%s, 'tr_1', %s)", payout, cents)
    assert market.status("payouts", payout) == "processing"


@pytest.mark.parametrize("cents", [TOO_BIG, 100000000, -1, -88, None])
def test_a_real_fee_out_of_range_is_refused(market: Market, cents: int | None) -> None:
    order = market.buy(market.sign_up(), market.product(market.sign_up(), 2000))
    with refused("event_rejected"):
        market.worker("select private.record_provider_fee(%s, null, %s)", order["payment_id"], cents)
    assert market.split(order["order_id"])[0] == 88


@pytest.mark.parametrize(
    "legs",
    [
        pytest.param([(None, "revenue", 1)], id="one leg"),
        pytest.param([], id="no leg"),
        pytest.param([(None, "revenue", 1), (None, "promotions", -2)], id="unbalanced"),
        pytest.param([(None, "revenue", 0), (None, "promotions", 0)], id="zero"),
        pytest.param([(None, "revenue", None), (None, "promotions", None)], id="null"),
        pytest.param([(None, "revenue", 1), (None, "promotions", -1), (None, "revenue", None)], id="null beside"),
        pytest.param([(None, "revenue", TOO_BIG), (None, "promotions", -TOO_BIG)], id="2^53"),
        pytest.param([(None, "revenue", 2**62), (None, "promotions", -(2**62))], id="2^62"),
    ],
)
def test_the_ledger_refuses_bad_legs(market: Market, legs: list[tuple[str | None, str, int | None]]) -> None:
    values = json.dumps([{"o": owner, "a": account, "c": cents} for owner, account, cents in legs])
    with refused("unbalanced_journal"), market.connection.transaction():
        market.rows(
            "select ledger.post('adjustment', %s, array("
            "select ledger.leg((l ->> 'o')::uuid, l ->> 'a', (l ->> 'c')::bigint) "
            "from jsonb_array_elements(%s::jsonb) as l), null, 'USD', 'test')",
            uuid.uuid4().hex,
            values,
        )


AMOUNT_COLUMNS = """
    select c.table_name, c.column_name
    from information_schema.columns as c
    join information_schema.tables as t using (table_schema, table_name)
    where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.column_name like '%%\\_cents'
        and c.is_generated = 'NEVER'
        and c.table_name in ('cart_items', 'orders', 'order_items', 'payments', 'refunds', 'payouts', 'fee_schedules')
        and exists (select from public.order_items)
    order by 1, 2
"""


def test_no_amount_column_holds_a_negative_or_a_2_53_sized_amount(market: Market) -> None:
    """Every client-facing amount has a range in its table, whatever a function might forget."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000, minimum_cents=500)
    market.member(buyer, "insert into public.cart_items (item_id, offered_price_cents) values (%s, 600)", item)
    order = market.buy(buyer, market.product(seller, 2000))
    market.refund(seller, market.line(order["order_id"]), 500)
    market.onboard(seller)
    market.fund(seller, 5000)
    market.request_payout(seller, 5000)
    columns = market.rows(AMOUNT_COLUMNS)
    assert len(columns) >= 15
    market.rows("set local session_replication_role = replica")  # constraints only, no triggers
    accepted = []
    for table, column in (row.values() for row in columns):
        for cents in (-1, TOO_BIG, 2**63 - 1):
            with suppress(psycopg.errors.CheckViolation, psycopg.errors.NumericValueOutOfRange):
                with market.connection.transaction(force_rollback=True):
                    market.rows(f"update public.{table} set {column} = %s", cents)
                accepted.append(f"{table}.{column} = {cents}")
    assert accepted == []

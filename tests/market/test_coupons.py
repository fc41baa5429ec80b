"""Coupons: what they take off, for whom, how often, and what becomes of a use (cases 32 to 36 of the market)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.money.market import Json, Market, number, refused


def coupon(market: Market, seller: str, **terms: Json) -> str:
    """A coupon of a seller; its id. Without a code it gets one, without a discount it is a quarter."""
    terms = {"code": f"CODE{number()}", **terms}
    if not terms.keys() & {"percent_bps", "amount_cents"}:
        terms["percent_bps"] = 2500
    (row,) = market.member(
        seller,
        f"insert into public.coupons ({', '.join(terms)}) values ({', '.join(['%s'] * len(terms))}) returning id",
        *terms.values(),
    )
    return str(row["id"])


def platforms(market: Market, **terms: Json) -> str:
    """A coupon of the platform, written by an admin; its id."""
    return coupon(market, market.sign_up(role="admin"), seller_id=market.platform(), **terms)


def code(market: Market, coupon: str) -> str:
    """Its code."""
    return str(market.one("select code from public.coupons where id = %s", coupon))


def texts(codes: tuple[str, ...]) -> str:
    """An array as PostgreSQL writes it."""
    return "{" + ",".join(json.dumps(text, ensure_ascii=False) for text in codes) + "}"


def checkout(market: Market, buyer: str, items: list[str | Json], *codes: str, **more: Json) -> Json:
    """checkout() with codes."""
    lines = [{"item_id": item} if isinstance(item, str) else item for item in items]
    return market.rpc(buyer, "checkout", items=lines, coupon_codes=texts(codes) if codes else None, **more)


def preview(market: Market, buyer: str, items: list[str | Json], *codes: str) -> Json:
    """preview_checkout() with codes."""
    lines = [{"item_id": item} if isinstance(item, str) else item for item in items]
    return market.rpc(buyer, "preview_checkout", items=lines, coupon_codes=texts(codes))


def pay(market: Market, buyer: str, order: Json) -> Json:
    """A checkout that the provider settles."""
    market.start(buyer, order["payment_id"])
    assert market.succeed(order["payment_id"]) == "processed"
    return order


def buy(market: Market, buyer: str, items: list[str | Json], *codes: str) -> Json:
    """From checkout to settlement."""
    return pay(market, buyer, checkout(market, buyer, items, *codes))


def uses(market: Market, coupon: str) -> dict[str, int]:
    """How many of its uses are in each state."""
    rows = market.rows(
        "select status::text, count(*) as n from private.coupon_uses where coupon_id = %s group by status", coupon
    )
    return {row["status"]: row["n"] for row in rows}


def discounts(market: Market, order: Json) -> list[int]:
    """What was taken off each line."""
    rows = market.rows(
        "select discount_cents from public.order_items where order_id = %s order by line_no", order["order_id"]
    )
    return [row["discount_cents"] for row in rows]


@pytest.fixture(autouse=True)
def kinds(market: Market) -> None:
    """Goods that are bought again and again."""
    market.make_kinds()


# -- 32: uses ---------------------------------------------------------------------------------------------------------


def test_market_32_one_order_is_one_use_whatever_its_lines(market: Market) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    three = [market.product(seller, 2000) for _ in range(3)]
    once = coupon(market, seller, usage_limit=1)
    order = buy(market, buyer, list(three), code(market, once))
    assert discounts(market, order) == [500, 500, 500]
    assert uses(market, once) == {"redeemed": 1}
    with refused("coupon_exhausted"):
        checkout(market, other, list(three), code(market, once))


def test_market_32_the_paying_orders_own_hold_does_not_exhaust_it(market: Market) -> None:
    """Also in another tab, and from the first look to the last cent."""
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1, usage_limit_per_customer=1)
    first = checkout(market, buyer, [item], code(market, once))
    assert uses(market, once) == {"held": 1}
    assert preview(market, buyer, [item], code(market, once))["total_cents"] == 1500
    with refused("coupon_exhausted"):
        checkout(market, other, [item], code(market, once))
    assert preview(market, other, [item], code(market, once))["coupons"][0]["problem"] == "coupon_exhausted"
    second = checkout(market, buyer, [item], code(market, once))
    assert market.status("orders", first["order_id"]) == "cancelled"
    assert uses(market, once) == {"held": 1, "released": 1}
    pay(market, buyer, second)
    assert uses(market, once) == {"redeemed": 1, "released": 1}


def test_market_32_a_retry_of_the_same_payment_keeps_its_use_and_a_declined_card_frees_it(market: Market) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    order = checkout(market, buyer, [item], code(market, once))
    market.start(buyer, order["payment_id"])
    market.decline(order["payment_id"], charge="ch_first")
    assert uses(market, once) == {"held": 1}  # The card is asked again: the attempt goes on.
    market.cancel(order["payment_id"])
    assert uses(market, once) == {"released": 1}
    buy(market, other, [item], code(market, once))
    assert uses(market, once) == {"released": 1, "redeemed": 1}


def test_market_32_an_order_that_runs_out_gives_its_use_back(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    checkout(market, buyer, [item], code(market, once))
    market.rows("update public.payments set expires_at = now() where user_id = %s", buyer)
    assert market.worker("select private.expire_unstarted_payments(10)") == 1
    assert uses(market, once) == {"released": 1}


# -- 33: what was promised --------------------------------------------------------------------------------------------


def test_market_33_exhausted_between_cart_and_checkout_is_said_and_costs_nothing_more(market: Market) -> None:
    seller, buyer, faster = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    assert preview(market, buyer, [item], code(market, once))["total_cents"] == 1500
    buy(market, faster, [item], code(market, once))
    with refused("coupon_exhausted"):
        checkout(market, buyer, [item], code(market, once))
    assert market.one("select count(*) from public.orders where user_id = %s", buyer) == 0


def test_market_33_expiry_after_checkout_is_honoured(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    short = coupon(market, seller)
    order = checkout(market, buyer, [item], code(market, short))
    market.rows(
        "update public.coupons set starts_at = now() - interval '2 days', ends_at = now() - interval '1 day' "
        "where id = %s",
        short,
    )
    with refused("coupon_expired"):
        checkout(market, market.sign_up(), [item], code(market, short))
    pay(market, buyer, order)
    assert market.one("select amount_total_cents from public.transactions where buyer_id = %s", buyer) == 1500
    assert uses(market, short) == {"redeemed": 1}


def test_market_33_cancelling_before_payment_restores_the_use(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    order = checkout(market, buyer, [item], code(market, once))
    market.rpc(buyer, "cancel_order", order_id=order["order_id"])
    assert uses(market, once) == {"released": 1}


def test_market_33_a_full_refund_restores_the_use_and_a_failed_one_takes_it_again_at_the_limit(market: Market) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    items = [market.product(seller, 2000), market.product(seller, 1000)]
    once = coupon(market, seller, usage_limit=1)
    order = buy(market, buyer, list(items), code(market, once))
    market.refund(seller, market.line(order["order_id"], 1))
    market.refund(seller, market.line(order["order_id"], 2), 100)
    assert uses(market, once) == {"redeemed": 1}
    last = market.refund(seller, market.line(order["order_id"], 2))
    assert uses(market, once) == {"released": 1}
    buy(market, other, list(items), code(market, once))
    market.refund_arrives(last["id"], "failed")
    assert uses(market, once) == {"redeemed": 2}


def test_market_33_a_charge_that_is_taken_back_restores_the_use(market: Market) -> None:
    """Its buyer paid nothing after all; a charge that follows is the same sale again, at what was promised."""
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    order = buy(market, buyer, [item], code(market, once))
    market.decline(order["payment_id"], charge=f"ch_{order['payment_id']}")
    assert uses(market, once) == {"released": 1}
    buy(market, other, [item], code(market, once))
    assert market.succeed(order["payment_id"], charge="ch_again") == "processed"
    assert uses(market, once) == {"released": 1, "redeemed": 2}
    assert market.owns(buyer, item)


def test_market_33_a_reopened_order_keeps_its_discount_even_at_the_limit_and_one(market: Market) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    once = coupon(market, seller, usage_limit=1)
    order = checkout(market, buyer, [item], code(market, once))
    market.start(buyer, order["payment_id"])
    market.cancel(order["payment_id"])
    buy(market, other, [item], code(market, once))
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.owns(buyer, item)
    assert uses(market, once) == {"redeemed": 2}
    assert market.one("select amount_total_cents from public.transactions where buyer_id = %s", buyer) == 1500


def test_market_33_money_for_what_is_gone_goes_back_with_the_use(market: Market) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.artwork(seller, 2000)
    twice = coupon(market, seller, usage_limit=2)
    order = checkout(market, buyer, [item], code(market, twice))
    market.start(buyer, order["payment_id"])
    market.cancel(order["payment_id"])
    buy(market, other, [item], code(market, twice))
    assert market.succeed(order["payment_id"]) == "processed"
    assert market.status("orders", order["order_id"]) == "cancelled"
    assert uses(market, twice) == {"released": 1, "redeemed": 1}


# -- 34: the lines ----------------------------------------------------------------------------------------------------


def test_market_34_a_fixed_amount_of_one_seller_over_their_lines(market: Market) -> None:
    """Each line gives back what was paid for it, not re-spread over what is left."""
    a, b, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    items = [market.product(a, 2000), market.product(a, 999), market.product(b, 1500)]
    five = coupon(market, a, amount_cents=500)
    order = buy(market, buyer, list(items), code(market, five))
    assert discounts(market, order) == [333, 167, 0]
    assert order["total_cents"] == 3999
    assert market.refund(a, market.line(order["order_id"], 2))["amount_cents"] == 832
    assert market.refund(a, market.line(order["order_id"], 1))["amount_cents"] == 1667
    assert market.sales(order["order_id"])[2]["refunded_cents"] == 0
    assert uses(market, five) == {"released": 1}


def test_market_34_one_coupon_per_seller_and_order_the_best_wins(market: Market) -> None:
    a, b, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    items = [market.product(a, 2000), market.product(b, 1000)]
    percent = coupon(market, a, percent_bps=2000)
    fixed = coupon(market, a, amount_cents=500)
    theirs = coupon(market, b, percent_bps=1000)
    codes = [code(market, c) for c in (percent, fixed, theirs)]
    seen = preview(market, buyer, list(items), *codes)
    assert [line["discount_cents"] for line in seen["lines"]] == [500, 100]
    assert [c["discount_cents"] for c in seen["coupons"]] == [0, 500, 100]
    assert (seen["subtotal_cents"], seen["discount_cents"], seen["total_cents"]) == (3000, 600, 2400)
    order = buy(market, buyer, list(items), *codes)
    assert discounts(market, order) == [500, 100]
    assert order["total_cents"] == seen["total_cents"]
    assert (uses(market, percent), uses(market, fixed), uses(market, theirs)) == ({}, {"redeemed": 1}, {"redeemed": 1})


@pytest.mark.parametrize("scope", ["kinds", "item_ids", "option_ids"])
def test_market_34_no_share_to_lines_it_is_not_for(market: Market, scope: str) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    wanted, other = market.product(seller, 2000), market.good(seller, 1000)
    option = market.option(seller, wanted, 3000)
    line: Json = {"item_id": wanted, "option_id": option} if scope == "option_ids" else wanted
    only = coupon(
        market,
        seller,
        amount_cents=300,
        **{scope: {"kinds": ["product"], "item_ids": [wanted], "option_ids": [option]}[scope]},
    )
    order = buy(market, buyer, [other, line], code(market, only))
    assert discounts(market, order) == [0, 300]
    assert uses(market, only) == {"redeemed": 1}
    with refused("coupon_not_applicable"):
        checkout(market, market.sign_up(), [other], code(market, only))


def test_market_34_what_the_kind_takes_off_comes_first(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, 2000)
    half = coupon(market, seller, percent_bps=5000)
    order = buy(market, buyer, [{"item_id": item, "details": {"discount_cents": 1000}}], code(market, half))
    assert discounts(market, order) == [1500]
    assert order["total_cents"] == 500


# -- 35: what is paid -------------------------------------------------------------------------------------------------


def test_market_35_commission_on_what_was_paid(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    quarter = coupon(market, seller)
    order = buy(market, buyer, [market.product(seller, 2000)], code(market, quarter))
    assert market.split(order["order_id"]) == (74, 450, 976)


def test_market_35_too_little_is_left(market: Market) -> None:
    """Nothing, or what a provider charges: whatever the price was when the code was saved."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 99)
    much = coupon(market, seller, percent_bps=6000)
    with refused("coupon_price_too_low"):
        checkout(market, buyer, [item], code(market, much))
    assert preview(market, buyer, [item], code(market, much))["coupons"][0]["problem"] == "coupon_price_too_low"
    market.rows("update public.products set price_cents = 125 where id = %s", item)
    assert buy(market, buyer, [item], code(market, much))["total_cents"] == 50


@pytest.mark.parametrize("terms", [{"percent_bps": 10000}, {"amount_cents": 5000}])
def test_market_35_nothing_left_takes_the_free_path(market: Market, terms: Json) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    all_of_it = coupon(market, seller, usage_limit=1, **terms)
    order = checkout(market, buyer, [item], code(market, all_of_it))
    assert (order["status"], order["total_cents"], order["payment_id"]) == ("completed", 0, None)
    assert market.owns(buyer, item)
    assert uses(market, all_of_it) == {"redeemed": 1}
    with refused("coupon_exhausted"):
        checkout(market, other, [item], code(market, all_of_it))


# -- 36: identity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["summer", " SUMMER ", "ＳＵＭＭＥＲ", "Summer\u200b"])
def test_market_36_a_code_is_found_however_it_is_typed(market: Market, typed: str) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    coupon(market, seller, code="Summer")
    assert checkout(market, buyer, [market.product(seller, 2000)], typed)["total_cents"] == 1500


def test_market_36_a_code_is_unique_among_the_sellers_live_ones(market: Market) -> None:
    seller, other = market.sign_up(), market.sign_up()
    first = coupon(market, seller, code="TEST")
    coupon(market, other, code="TEST")
    with refused("23505"):
        coupon(market, seller, code=" ｔｅｓｔ ")
    market.member(seller, "update public.coupons set is_active = false where id = %s", first)
    coupon(market, seller, code="test", percent_bps=1000)
    order = checkout(market, market.sign_up(), [market.product(seller, 2000)], "TEST", "test")
    assert order["total_cents"] == 1800
    with refused("23505"):
        market.member(seller, "update public.coupons set is_active = true where id = %s", first)


def test_a_seller_has_so_many_live_ones(market: Market) -> None:
    seller = market.sign_up()
    market.rows(
        "insert into public.coupons (seller_id, code, percent_bps) "
        "select %s, 'many' || n, 1000 from generate_series(1, 999) as n",
        seller,
    )
    last = coupon(market, seller, code="LAST")
    with refused("too_many_coupons"):
        coupon(market, seller, code="ONE MORE")
    market.member(seller, "update public.coupons set is_active = false where id = %s", last)
    coupon(market, seller, code="ONE MORE")


def test_market_36_orders_refer_to_the_coupon_not_to_its_text(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    renamed = coupon(market, seller, code="OLD", usage_limit_per_customer=1)
    order = buy(market, buyer, [market.product(seller, 2000)], "OLD")
    market.member(seller, "update public.coupons set code = 'NEW' where id = %s", renamed)
    assert market.one("select coupon_id from public.order_items where order_id = %s", order["order_id"]) == renamed
    with refused("coupon_already_used"):
        checkout(market, buyer, [market.product(seller, 2000)], "NEW")


def test_market_36_minimum_spend_from_the_servers_lines_of_that_seller(market: Market) -> None:
    seller, other, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    item, more, foreign = market.product(seller, 2000), market.product(seller, 1000), market.product(other, 9000)
    large = coupon(market, seller, minimum_cents=3000, item_ids=[item])
    with refused("coupon_minimum_not_reached"):
        checkout(market, buyer, [item, foreign], code(market, large))
    order = buy(market, buyer, [item, more], code(market, large))
    assert discounts(market, order) == [500, 0]


def test_market_36_a_limit_added_later_counts_earlier_uses(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    late = coupon(market, seller)
    buy(market, buyer, [item], code(market, late))
    market.member(seller, "update public.coupons set usage_limit = 1 where id = %s", late)
    with refused("coupon_exhausted"):
        checkout(market, market.sign_up(), [item], code(market, late))
    market.member(seller, "update public.coupons set usage_limit = 2 where id = %s", late)
    buy(market, market.sign_up(), [item], code(market, late))


def test_market_36_a_limit_for_each_buyer_is_the_accounts(market: Market) -> None:
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    goods = [market.product(seller, 2000) for _ in range(2)]
    each = coupon(market, seller, usage_limit_per_customer=1)
    buy(market, buyer, [goods[0]], code(market, each))
    with refused("coupon_already_used"):
        checkout(market, buyer, [goods[1]], code(market, each))
    buy(market, other, [goods[1]], code(market, each))


# -- what cannot be used ----------------------------------------------------------------------------------------------


def test_codes_that_are_nobodys_here(market: Market) -> None:
    """A stranger's, one that has not begun, one that was ended: there is no such coupon."""
    seller, stranger, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    foreign = coupon(market, stranger)
    ended = coupon(market, seller, is_active=False)
    coming = coupon(market, seller, code="SOON", starts_at="2999-01-01", ends_at="2999-02-01")
    for wrong in (code(market, foreign), code(market, ended), code(market, coming), "nothing", ""):
        with refused("coupon_not_found"):
            checkout(market, buyer, [item], wrong)
    with refused("invalid_checkout"):
        checkout(market, buyer, [item], *[str(n) for n in range(11)])
    with refused("invalid_checkout"):
        checkout(market, buyer, [item], "x" * 101)


def test_what_it_was_for_may_be_gone(market: Market) -> None:
    """It ends all the same, and takes nothing new that is not its seller's."""
    seller = market.sign_up()
    item = market.product(seller, 2000)
    only = coupon(market, seller, item_ids=[item])
    market.member(seller, "delete from public.products where id = %s", item)
    market.member(seller, "update public.coupons set is_active = false where id = %s", only)
    with refused("invalid_coupon"):
        market.member(seller, "update public.coupons set item_ids = item_ids || gen_random_uuid() where id = %s", only)


def test_tips_cost_what_they_cost(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    quarter = coupon(market, seller)
    market.rpc(buyer, "send_tip", recipient_id=seller, amount_cents=1000)
    jar = market.one("select id from public.tip_jars where seller_id = %s", seller)
    with refused("coupon_not_applicable"):
        checkout(market, buyer, [{"item_id": jar, "offered_price_cents": 1000}], code(market, quarter))
    with refused("invalid_coupon"):
        coupon(market, seller, kinds=["tip_jar"])


def test_the_same_key_with_another_code_is_another_request(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item, quarter = market.product(seller, 2000), coupon(market, seller)
    order = checkout(market, buyer, [item], code(market, quarter), idempotency_key="k")
    assert checkout(market, buyer, [item], code(market, quarter), idempotency_key="k") == order
    with refused("idempotency_key_reused"):
        checkout(market, buyer, [item], idempotency_key="k")


# -- the platform's ---------------------------------------------------------------------------------------------------


def test_the_platforms_coupon_is_paid_by_the_platform(market: Market) -> None:
    """$5.00 off $20.00: the buyer pays 1,500 (fee 74), the commission is 600 of 2,000, the seller has the rest."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    five = platforms(market, amount_cents=500)
    before = market.balances()
    order = buy(market, buyer, [market.product(seller, 2000)], code(market, five))
    assert market.split(order["order_id"]) == (74, 600, 1326)
    (sale,) = market.sales(order["order_id"])
    assert (sale["amount_total_cents"], sale["amount_promotions_cents"]) == (1500, 500)
    change = {k: market.balances().get(k, 0) - before.get(k, 0) for k in market.balances() | before}
    assert {k: v for k, v in change.items() if v} == {
        "clearing:stripe": -1500,
        "promotions": -500,
        "fees:stripe": 74,
        "revenue": 600,
        "users pending": 1326,
    }
    # A third of what was paid goes back, and a third of what the platform gave.
    market.refund(seller, market.line(order["order_id"]), 500)
    assert market.balances()["promotions"] == before.get("promotions", 0) - 333
    market.refund(seller, market.line(order["order_id"]))
    assert market.balances().get("promotions", 0) == before.get("promotions", 0)
    assert market.balances().get("revenue", 0) == before.get("revenue", 0)
    (sale,) = market.sales(order["order_id"])
    assert (sale["refunded_cents"], sale["refunded_promotions_cents"]) == (1500, 500)
    assert uses(market, five) == {"released": 1}


def test_a_failed_refund_takes_the_platforms_part_again(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    five = platforms(market, amount_cents=500)
    order = buy(market, buyer, [market.product(seller, 2000)], code(market, five))
    refund = market.refund(seller, market.line(order["order_id"]))
    market.refund_arrives(refund["id"], "failed")
    (sale,) = market.sales(order["order_id"])
    assert (sale["refunded_cents"], sale["refunded_promotions_cents"]) == (0, 0)
    assert uses(market, five) == {"redeemed": 1}
    assert market.wallet(seller)[1] == 1326


def test_a_late_fee_and_a_late_decline_of_what_the_platform_paid_for(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    five = platforms(market, amount_cents=500)
    order = buy(market, buyer, [market.product(seller, 2000)], code(market, five))
    market.fee(order["payment_id"], 100)
    assert market.split(order["order_id"]) == (100, 600, 1300)
    market.decline(order["payment_id"], charge=f"ch_{order['payment_id']}")
    assert market.wallet(seller) == (0, 0, 0)
    assert market.balances().get("promotions", 0) == 0
    assert uses(market, five) == {"released": 1}


def test_the_platforms_coupon_from_a_wallet(market: Market) -> None:
    seller, buyer = market.sign_up("standard"), market.sign_up()
    market.fund(buyer, 1500)
    five = platforms(market, amount_cents=500)
    order = checkout(market, buyer, [market.product(seller, 2000)], code(market, five), provider="wallet")
    assert market.split(order["order_id"]) == (0, 600, 1400)
    assert market.wallet(buyer)[0] == 0
    market.request_refund(seller, market.line(order["order_id"]))
    assert market.wallet(buyer)[0] == 1500


def test_the_platform_leaves_something_of_each_line(market: Market) -> None:
    """What a seller is paid by the platform is a part of a sale, and a sale has something paid."""
    seller, buyer = market.sign_up(), market.sign_up()
    five = platforms(market, amount_cents=500)
    with refused("coupon_price_too_low"):
        checkout(market, buyer, [market.product(seller, 540)], code(market, five))
    with refused("23514"):
        platforms(market, percent_bps=10000)
    order = buy(market, buyer, [market.product(seller, 550)], code(market, five))
    assert order["total_cents"] == 50


def test_a_budget_is_never_exceeded(market: Market) -> None:
    seller = market.sign_up()
    item = market.product(seller, 2000)
    some = platforms(market, amount_cents=500, budget_cents=1000)
    orders = [
        (buyer, checkout(market, buyer, [item], code(market, some))) for buyer in (market.sign_up(), market.sign_up())
    ]
    with refused("coupon_exhausted"):
        checkout(market, market.sign_up(), [item], code(market, some))
    market.rpc(orders[0][0], "cancel_order", order_id=orders[0][1]["order_id"])
    buy(market, market.sign_up(), [item], code(market, some))
    with refused("23514"):
        coupon(market, seller, budget_cents=1000)


@pytest.mark.parametrize(("platform", "first", "second", "paid_by_platform"), [(500, 1000, 0, 500), (2000, 0, 0, 2000)])
def test_a_line_has_one_coupon_whichever_saves_most(
    market: Market, platform: int, first: int, second: int, paid_by_platform: int
) -> None:
    """Seller A gives $10.00; the platform's counts for B beside it, or for both instead of it."""
    a, b, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    items = [market.product(a, 3000), market.product(b, 3000)]
    theirs, ours = coupon(market, a, amount_cents=1000), platforms(market, amount_cents=platform)
    order = buy(market, buyer, list(items), code(market, theirs), code(market, ours))
    rows = market.rows(
        "select coupon_id, discount_cents, promoted_cents from public.order_items where order_id = %s order by line_no",
        order["order_id"],
    )
    if platform == 500:
        assert [(row["coupon_id"], row["discount_cents"]) for row in rows] == [(theirs, 1000), (ours, 500)]
    else:
        # $20.00 beside it are more than $20.00 instead of it.
        assert [(row["coupon_id"], row["discount_cents"]) for row in rows] == [(theirs, 1000), (ours, 2000)]
    assert sum(row["promoted_cents"] for row in rows) == paid_by_platform


def test_the_platforms_instead_of_a_sellers_where_it_saves_more(market: Market) -> None:
    a, buyer = market.sign_up(), market.sign_up()
    item = market.product(a, 3000)
    theirs, ours = coupon(market, a, amount_cents=100), platforms(market, amount_cents=900)
    order = buy(market, buyer, [item], code(market, theirs), code(market, ours))
    assert discounts(market, order) == [900]
    assert (uses(market, theirs), uses(market, ours)) == ({}, {"redeemed": 1})


# -- where none is used -----------------------------------------------------------------------------------------------


def calls(market: Market, work: Callable[[], object]) -> set[str]:
    """Which functions of coupons ran."""
    market.rows("set local track_functions = 'pl'")
    count = "select funcname, calls from pg_stat_xact_user_functions where funcname ~ 'coupon|discounted'"
    before = {row["funcname"]: row["calls"] for row in market.rows(count)}
    work()
    return {row["funcname"] for row in market.rows(count) if row["calls"] != before.get(row["funcname"], 0)}


def test_who_has_no_coupon_does_not_pay_for_those_who_do(market: Market) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    items = [market.product(seller, 2000), market.product(seller, 1000)]
    quarter = code(market, coupon(market, seller))

    def work() -> None:
        order = market.buy(buyer, *items)
        market.refund(seller, market.line(order["order_id"]))
        market.refund(seller, market.line(order["order_id"], 2))
        market.rpc(buyer, "cancel_order", order_id=market.checkout(buyer, *items)["order_id"])

    assert calls(market, work) == set()
    assert calls(market, lambda: buy(market, buyer, list(items), quarter)) >= {
        "discounted_lines",
        "hold_coupons",
        "follow_coupons",
    }

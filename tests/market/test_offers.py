"""Offers: a version is accepted, what is accepted is paid, and what is just being paid is not taken away."""

from __future__ import annotations

import pytest

from tests.market.order_market import TERMS, conversation, expire_offer, offer, pay, sold_of
from tests.market.service_market import service
from tests.money.market import Json, Market, refused


def accept(market: Market, buyer: str, made: Json, version: int = 1) -> Json:
    """The offer as it is then."""
    return market.rpc(buyer, "accept_offer", offer_id=made["id"], version=version)


def revise(market: Market, seller: str, made: Json, **terms: Json) -> Json:
    """A new version."""
    return market.rpc(
        seller, "revise_offer", offer_id=made["id"], valid_until=str(made["valid_until"]), **{**TERMS, **terms}
    )


def now(market: Market, made: Json) -> str:
    """Its state as it is at this moment."""
    return str(market.one("select effective_status(o) from public.offers as o where id = %s", made["id"]))


def test_market_07_an_offer_changed_while_the_buyer_looks(market: Market) -> None:
    """Accepting names the version that was seen; another one stands: nothing is agreed, nothing charged."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    made = offer(market, seller, buyer)
    revise(market, seller, made, price_cents=20000)
    with refused("offer_changed"):
        accept(market, buyer, made, 1)
    assert market.one("select count(*) from public.payables") == 0
    agreed = accept(market, buyer, made, 2)
    order = pay(market, buyer, agreed["payable_id"])
    assert order["total_cents"] == 20000
    sold = sold_of(market, order).row()
    assert (sold["offer_id"], sold["package_price_cents"], sold["delivery_days"]) == (made["id"], 20000, 5)
    prices = market.rows(
        "select price_cents from public.offer_versions where offer_id = %s order by version", made["id"]
    )
    assert [row["price_cents"] for row in prices] == [10000, 20000]
    with refused("state_changed"):
        revise(market, seller, made)


def test_market_07_accepted_twice_is_one_order(market: Market) -> None:
    """The same answer, the same payable; paying it again is refused."""
    seller, buyer = market.sign_up(), market.sign_up()
    made = offer(market, seller, buyer)
    first, second = accept(market, buyer, made), accept(market, buyer, made)
    assert first["payable_id"] == second["payable_id"]
    pay(market, buyer, first["payable_id"])
    assert accept(market, buyer, made)["payable_id"] == first["payable_id"]
    with refused("payable_not_open"):
        market.pay_agreed(buyer, first["payable_id"])
    assert market.one("select count(*) from public.service_orders where offer_id = %s", made["id"]) == 1


@pytest.mark.parametrize("end", ["withdraw_offer", "decline_offer", "expire_offers"])
def test_market_07_a_payment_that_has_begun_decides(market: Market, end: str) -> None:
    """Expiry and withdrawal do not void it; once the attempt has ended they do."""
    seller, buyer = market.sign_up(), market.sign_up()
    made = offer(market, seller, buyer)
    agreed = accept(market, buyer, made)
    attempt = market.pay_agreed(buyer, agreed["payable_id"])
    market.start(buyer, attempt["payment_id"])
    caller = seller if end == "withdraw_offer" else buyer
    if end == "expire_offers":
        expire_offer(market, made["id"], 49)
        assert now(market, made) == "accepted"
        assert market.worker("select private.expire_offers(10)") == 0
    else:
        with refused("offer_being_paid"):
            market.rpc(caller, end, offer_id=made["id"])
    assert market.succeed(attempt["payment_id"]) == "processed"
    assert market.one("select status from public.service_orders where offer_id = %s", made["id"]) == "in_progress"


def test_market_07_what_ended_before_the_money_came_goes_back(market: Market) -> None:
    """The attempt ran out, the offer was taken back, then the card succeeded after all."""
    seller, buyer = market.sign_up(), market.sign_up()
    made = offer(market, seller, buyer)
    attempt = market.pay_agreed(buyer, accept(market, buyer, made)["payable_id"])
    market.start(buyer, attempt["payment_id"])
    assert market.cancel(attempt["payment_id"]) == "processed"
    market.rpc(seller, "withdraw_offer", offer_id=made["id"])
    assert market.succeed(attempt["payment_id"]) == "processed"
    assert market.one("select count(*) from public.service_orders where offer_id = %s", made["id"]) == 0
    assert market.one("select amount_cents from public.refunds where payment_id = %s", attempt["payment_id"]) == 10000


def test_a_time_that_is_over_is_over_before_any_job(market: Market) -> None:
    """For the buyer who accepts, for the one who pays, for readers."""
    seller, buyer = market.sign_up(), market.sign_up()
    made = offer(market, seller, buyer)
    expire_offer(market, made["id"], 48)
    assert (now(market, made), market.status("offers", made["id"])) == ("expired", "sent")
    with refused("state_changed"):
        accept(market, buyer, made)
    late = offer(market, seller, buyer)
    agreed = accept(market, buyer, late)
    expire_offer(market, late["id"], 48)
    with refused("payable_not_open"):
        market.pay_agreed(buyer, agreed["payable_id"])
    assert now(market, late) == "expired"
    assert market.worker("select private.expire_offers(10)") == 2
    assert market.status("payables", agreed["payable_id"]) == "lapsed"


def test_an_offer_is_its_two_sides(market: Market) -> None:
    """Who else asks finds nothing, each side does its own part, and the item is the service it names."""
    seller, buyer, stranger = market.sign_up(), market.sign_up(), market.sign_up()
    item, _ = service(market, seller, 5000)
    made = offer(market, seller, buyer, service_id=item)
    for act, more in (("accept_offer", {"version": 1}), ("withdraw_offer", {}), ("decline_offer", {})):
        with refused("offer_not_found"):
            market.rpc(stranger, act, offer_id=made["id"], **more)
    for caller, act, more in (
        (seller, "accept_offer", {"version": 1}),
        (seller, "decline_offer", {}),
        (buyer, "withdraw_offer", {}),
    ):
        with refused("not_your_part"):
            market.rpc(caller, act, offer_id=made["id"], **more)
    assert market.member(stranger, "select * from public.offers") == []
    assert market.member(stranger, "select * from public.offer_versions") == []
    order = pay(market, buyer, accept(market, buyer, made)["payable_id"])
    assert sold_of(market, order).row()["service_id"] == item
    assert market.owns(buyer, item)
    market.rpc(seller, "accept_message_request", conversation_id=conversation(market, seller, buyer))
    with refused("item_not_found"):
        offer(market, buyer, seller, service_id=item)


def test_what_an_offer_may_say(market: Market) -> None:
    """A price that can be charged, days, revisions, a time that is to come."""
    seller, buyer = market.sign_up(), market.sign_up()
    for wrong in ({"price_cents": 49}, {"price_cents": 0}, {"delivery_days": 0}, {"revisions": 21}, {"terms": " "}):
        with refused("23514", "23502", "text_not_visible"):
            offer(market, seller, buyer, **wrong)
    for hours in (-1, 24 * 90 + 1):
        with refused("23514"):
            offer(market, seller, buyer, hours)
    for _ in range(10):
        offer(market, seller, buyer)
    with refused("too_many_offers"):
        offer(market, seller, buyer)


def test_the_same_key_is_the_same_offer(market: Market) -> None:
    """A retry answers the first one."""
    seller, buyer = market.sign_up(), market.sign_up()
    until = market.one("select (clock_timestamp() + interval '1 day')::text")
    talk = conversation(market, buyer, seller)
    asked = {**TERMS, "conversation_id": talk, "valid_until": until, "idempotency_key": "once"}
    assert market.rpc(seller, "send_offer", **asked)["id"] == market.rpc(seller, "send_offer", **asked)["id"]


def test_nobody_offers_across_a_block(market: Market) -> None:
    """Neither making nor accepting; what was agreed before is paid."""
    seller, buyer = market.sign_up(), market.sign_up()
    sent, agreed = offer(market, seller, buyer), offer(market, seller, buyer)
    payable = accept(market, buyer, agreed)["payable_id"]
    market.member(buyer, "insert into public.user_blocks (blocked_id) values (%s)", seller)
    with refused("cannot_message"):
        offer(market, seller, buyer)
    with refused("cannot_message"):
        accept(market, buyer, sent)
    pay(market, buyer, payable)


def test_a_stranger_offers_nothing_before_they_are_accepted(market: Market) -> None:
    """Or a request nobody has answered would be a way into anybody's notifications."""
    seller, buyer = market.sign_up(), market.sign_up()
    talk = conversation(market, seller, buyer)
    with refused("request_pending"):
        offer(market, seller, buyer)
    market.rpc(buyer, "accept_message_request", conversation_id=talk)
    assert offer(market, seller, buyer)["status"] == "sent"

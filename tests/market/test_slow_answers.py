"""A request may be slow, by a filter on what it answers: nobody waits long for what many want of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest

from tests.harness.server import Database
from tests.harness.slow import slow_request
from tests.market.order_market import sold_of
from tests.market.service_market import line, mentor, service, session, slots
from tests.market.test_coupons import code, coupon, texts
from tests.market.webinars import register, webinar
from tests.money.market import Json, Market
from tests.money.races import committing

Call = tuple[str, dict[str, Json]]


@pytest.fixture
def market(database: Database) -> Iterator[Market]:
    """A market that commits."""
    with committing(database) as market:
        yield market


def buying(line: Json, *codes: str) -> Call:
    """A checkout of one line."""
    return "checkout", {"items": [line], **({"coupon_codes": texts(codes)} if codes else {})}


def coupons_use(market: Market, seller: str, _: list[str]) -> list[Call]:
    text = code(market, coupon(market, seller, amount_cents=500, usage_limit=5))
    return [buying({"item_id": market.product(seller, 2000)}, text)] * 2


def copy_of_an_edition(market: Market, seller: str, _: list[str]) -> list[Call]:
    return [buying({"item_id": market.edition(seller, 2000, 5)[0]})] * 2


def free_seat(market: Market, seller: str, _: list[str]) -> list[Call]:
    return [("register_for_webinar", {"webinar_id": webinar(market, seller, seats=5)})] * 2


def paid_seat(market: Market, seller: str, _: list[str]) -> list[Call]:
    return [buying({"item_id": webinar(market, seller, 2000, seats=5)})] * 2


def place_in_the_queue(market: Market, seller: str, _: list[str]) -> list[Call]:
    item = webinar(market, seller, seats=2)
    for _ in range(2):
        register(market, market.sign_up(), item)
    return [("join_waiting_list", {"webinar_id": item})] * 2


def seat_given_up(market: Market, seller: str, people: list[str]) -> list[Call]:
    item = webinar(market, seller, seats=2)
    register(market, people[0], item)
    return [("cancel_registration", {"webinar_id": item}), ("register_for_webinar", {"webinar_id": item})]


def hour_of_a_mentor(market: Market, seller: str, people: list[str]) -> list[Call]:
    mentor(market, seller)
    item, (option, *_) = service(market, seller, 2000, session_minutes=60, is_mentoring=True)
    free = slots(market, people[0], item)
    return [buying(line(item, option, session=session(free[no]))) for no in (0, 5)]


def review_of_an_item(market: Market, seller: str, people: list[str]) -> list[Call]:
    item = market.product(seller, 2000)
    for person in people:
        market.buy(person, item)
    return [("review_item", {"item_id": item, "rating": 5})] * 2


@pytest.mark.parametrize(
    "wanted",
    [
        coupons_use,
        copy_of_an_edition,
        free_seat,
        paid_seat,
        place_in_the_queue,
        seat_given_up,
        hour_of_a_mentor,
        review_of_an_item,
    ],
    ids=lambda wanted: wanted.__name__,
)
def test_a_slow_answer_keeps_nobody_from(
    database: Database, market: Market, wanted: Callable[[Market, str, list[str]], list[Call]]
) -> None:
    """The first is ended, not the second, who waits for about a second."""
    seller, people = market.sign_up("standard"), [market.sign_up(), market.sign_up()]
    (function, arguments), (other, others) = wanted(market, seller, people)
    given = ", ".join(f"{name} => %s" for name in arguments)
    values = [json.dumps(value) if isinstance(value, list) else value for value in arguments.values()]
    slowly = f"with done as materialized (select * from public.{function}({given})) select pg_sleep(30) from done"
    with slow_request(database, people[0], slowly, *values) as slow:
        market.rpc(people[1], other, **others)
        assert isinstance(slow.exception(10), psycopg.errors.QueryCanceled)


def test_a_slow_answer_keeps_no_money_from_a_seller(database: Database, market: Market) -> None:
    """What silence approved is written although its buyer keeps the payment busy, by another order of it."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    bought = market.buy(
        buyer,
        *(
            line(item, package)
            for item, (package,) in (
                service(market, seller, 2000),
                service(market, seller, 2000, buyer_requirements="Stems"),
            )
        ),
    )
    done, waiting = sold_of(market, bought, 1), sold_of(market, bought, 2)
    done.deliver()
    done.pass_time(73)
    slowly = (
        "with done as materialized (select * from public.cancel_service_order(%s, 'No.')) select pg_sleep(30) from done"
    )
    with slow_request(database, buyer, slowly, waiting.id) as slow:
        assert market.worker("select private.advance_service_orders(100)") == 1
        assert isinstance(slow.exception(10), psycopg.errors.QueryCanceled)
    assert (done.row()["status"], waiting.status) == ("completed", "awaiting_requirements")

"""Licence keys and versions of files: one key a line, seats, and what a refund and a seller each disable."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.market.reviews import Reviews
from tests.money.market import Json, Market, number, refused


def licensed(market: Market, seats: int | None = 1, cents: int = 2000) -> tuple[str, str]:
    """(seller, product) whose sales get keys."""
    seller = market.sign_up()
    product = market.product(seller, cents)
    market.member(seller, "update public.products set license_seats = %s where id = %s", seats, product)
    return seller, product


def license_of(market: Market, line: str) -> dict[str, Json]:
    return market.row("select * from public.license_keys where order_item_id = %s", line)


def key_of(market: Market, owner: str, line: str) -> str:
    return str(market.rpc(owner, "show_license_key", license_id=license_of(market, line)["id"]))


def check(market: Market, product: str | None, key: str | None) -> Json:
    """What software that is not signed in is told."""
    (row,) = Reviews(market).as_visitor("select * from public.check_license(%s, %s)", product, key)
    return row


def activate(market: Market, owner: str, product: str, key: str, device: str) -> Json:
    return market.rpc(owner, "activate_license", product_id=product, key=key, device_id=device)


def test_market_37_the_public_check_says_valid_or_why_and_nothing_more(market: Market) -> None:
    seller, product = licensed(market)
    other = licensed(market)[1]
    buyer = market.sign_up()
    line = market.line(market.buy(buyer, product)["order_id"])
    key = key_of(market, buyer, line)
    assert re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{5}-){4}[0-9A-HJKMNP-TV-Z]{5}", key)
    assert check(market, product, key) == {"is_valid": True, "state": "valid"}
    # As people type it.
    assert check(market, product, key.lower().replace("-", " ").replace("0", "o").replace("1", "l"))["is_valid"]
    unknown = {"is_valid": False, "state": "unknown"}
    wrong = key[:-1] + ("0" if key[-1] != "0" else "2")
    for given in ((product, wrong), (other, key), (product, ""), (product, None), (None, key), (line, key)):
        assert check(market, *given) == unknown
    market.rpc(seller, "set_license_disabled", license_id=license_of(market, line)["id"], disabled=True)
    assert check(market, product, key) == {"is_valid": False, "state": "disabled"}
    market.refund(seller, line)
    assert check(market, product, key) == {"is_valid": False, "state": "refunded"}
    # Looking changed nothing, and no table holds the key.
    assert market.one("select count(*) from public.license_activations") == 0
    everything = market.rows(
        "select to_jsonb(k)::text || to_jsonb(h)::text as t from public.license_keys as k, private.license_hashes as h"
    )
    assert all(key not in row["t"] for row in everything)


def test_market_37_looking_takes_as_long_whatever_is_asked(market: Market) -> None:
    """Each look costs work: thousands a second are not to be had, and right and wrong take the same."""
    _, product = licensed(market)
    buyer = market.sign_up()
    key = key_of(market, buyer, market.line(market.buy(buyer, product)["order_id"]))

    def shortest(given: str | None) -> float:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            market.one("select private.license_hash(%s, %s)", product, given)
            times.append(time.perf_counter() - started)
        return min(times)

    empty = market.one("select 1")
    assert empty == 1
    taken = [shortest(given) for given in (key, "x", None, key * 50)]
    assert min(taken) > 0.0003
    assert max(taken) < 5 * min(taken)


def test_market_38_a_device_is_one_seat_however_often_it_asks(market: Market) -> None:
    seller, product = licensed(market, 2)
    buyer = market.sign_up()
    line = market.line(market.buy(buyer, product)["order_id"])
    key = key_of(market, buyer, line)
    first = activate(market, buyer, product, key, "laptop")
    assert activate(market, buyer, product, key, " laptop ") == first
    activate(market, buyer, product, key, "desktop")
    with refused("no_seats_left"):
        activate(market, buyer, product, key, "phone")
    assert license_of(market, line)["activations_count"] == 2
    # A device that has its seat keeps it.
    assert activate(market, buyer, product, key, "laptop")["id"] == first["id"]
    for _ in range(2):
        market.rpc(buyer, "deactivate_license", product_id=product, key=key, device_id="laptop")
    activate(market, buyer, product, key, "phone")
    assert license_of(market, line)["activations_count"] == 2
    # Others have nothing by knowing the key.
    for who in (seller, market.sign_up()):
        with refused("license_not_found"):
            activate(market, who, product, key, "mine")
        with refused("license_not_found"):
            market.rpc(who, "show_license_key", license_id=license_of(market, line)["id"])
    assert market.rows("select * from private.recount()") == []


def test_market_38_a_refund_disables_and_a_failed_one_enables_but_not_what_the_seller_disabled(
    market: Market,
) -> None:
    seller, product = licensed(market)
    buyer = market.sign_up()
    line = market.line(market.buy(buyer, product)["order_id"])
    key = key_of(market, buyer, line)
    activate(market, buyer, product, key, "laptop")
    refund = market.refund(seller, line)
    assert check(market, product, key)["state"] == "refunded"
    with refused("license_disabled"):
        activate(market, buyer, product, key, "laptop")
    # The seller does not undo a refund.
    market.rpc(seller, "set_license_disabled", license_id=license_of(market, line)["id"], disabled=False)
    assert check(market, product, key)["state"] == "refunded"
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert check(market, product, key)["state"] == "valid"
    assert license_of(market, line)["activations_count"] == 1
    market.rpc(seller, "set_license_disabled", license_id=license_of(market, line)["id"], disabled=True)
    refund = market.refund(seller, line)
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    # Nor does a failed refund undo the seller.
    assert check(market, product, key)["state"] == "disabled"
    market.rpc(seller, "set_license_disabled", license_id=license_of(market, line)["id"], disabled=False)
    assert check(market, product, key)["state"] == "valid"
    with refused("license_not_found"):
        market.rpc(buyer, "set_license_disabled", license_id=license_of(market, line)["id"], disabled=True)


def test_market_38_three_pieces_are_one_key_with_three_seats(market: Market) -> None:
    _, product = licensed(market, 1)
    buyer = market.sign_up()
    line = market.line(market.buy(buyer, {"item_id": product, "quantity": 3})["order_id"])
    assert license_of(market, line)["seats"] == 3
    key = key_of(market, buyer, line)
    for device in ("a", "b", "c"):
        activate(market, buyer, product, key, device)
    with refused("no_seats_left"):
        activate(market, buyer, product, key, "d")


def test_market_26_a_refund_that_fails_gives_the_licence_back(market: Market) -> None:
    seller, product = licensed(market, 5)
    buyer = market.sign_up()
    line = market.line(market.buy(buyer, product)["order_id"])
    refund = market.refund(seller, line)
    assert not license_of(market, line)["is_valid"]
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert license_of(market, line)["is_valid"]


def test_a_product_without_seats_has_no_keys(market: Market) -> None:
    _, product = licensed(market, None)
    buyer = market.sign_up()
    market.buy(buyer, product)
    assert market.one("select count(*) from public.license_keys") == 0
    assert market.one("select count(*) from private.license_secret") == 0


def test_a_partial_refund_leaves_the_key(market: Market) -> None:
    seller, product = licensed(market)
    buyer = market.sign_up()
    line = market.line(market.buy(buyer, product)["order_id"])
    market.refund(seller, line, 500)
    assert license_of(market, line)["is_valid"]


# -- versions of files ------------------------------------------------------------------------------------------------


def release(market: Market, seller: str, product: str, **more: Json) -> Json:
    """A new version with one file; the version."""
    path = f"{seller}/{number()}.zip"
    market.rows("insert into storage.objects (bucket_id, name) values ('product-files', %s)", path)
    return market.rpc(
        seller, "release_version", product_id=product, **{"notes": "Better.", "files": [{"path": path}], **more}
    )


def files(market: Market, reader: str, product: str) -> set[str]:
    """Ids of the files somebody can have."""
    return {
        row["id"]
        for row in market.member(reader, "select id::text from public.product_files where product_id = %s", product)
    }


def tell(market: Market) -> None:
    while market.worker("select private.tell_versions(2)"):
        pass


def told(market: Market, user: str) -> int:
    return int(market.one("select count(*) from public.notifications where user_id = %s and type = 'updated'", user))


def test_what_was_sold_stays_and_what_is_new_is_theirs_too(market: Market) -> None:
    seller = market.sign_up()
    product = market.product(seller, 2000)
    early = market.sign_up()
    market.buy(early, product)
    first = files(market, early, product)
    version = release(market, seller, product, name="1.1")
    assert (version["number"], version["name"]) == (2, "1.1")
    late = market.sign_up()
    # All of this is one transaction: what was removed was removed just now.
    market.rows(
        "update public.product_files set removed_at = removed_at - interval '1 second' where removed_at < now()"
    )
    market.buy(late, product)
    market.rows("update public.order_items set created_at = now() + interval '1 second' where buyer_id = %s", late)
    assert len(first) == 1
    assert files(market, early, product) > first
    assert len(files(market, early, product)) == 2
    assert len(files(market, late, product)) == 1
    assert not files(market, late, product) & first
    assert files(market, market.sign_up(), product) == set()
    assert release(market, seller, product)["number"] == 3


def test_owners_are_told_once_and_may_switch_it_off(market: Market) -> None:
    seller = market.sign_up()
    product = market.product(seller, 2000)
    owners = [market.sign_up() for _ in range(5)]
    lines = [market.line(market.buy(owner, product)["order_id"]) for owner in owners]
    market.refund(seller, lines[0])
    market.rows(
        "update public.profile_settings set notification_preferences = %s where user_id = %s",
        json.dumps({"updated": {"in_app": False}}),
        owners[1],
    )
    release(market, seller, product)
    tell(market)
    assert [told(market, owner) for owner in owners] == [0, 0, 1, 1, 1]
    tell(market)
    assert [told(market, owner) for owner in owners] == [0, 0, 1, 1, 1]
    assert told(market, seller) == 0
    release(market, seller, product)
    tell(market)
    assert [told(market, owner) for owner in owners] == [0, 0, 2, 2, 2]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"files": []}, "invalid_version"),
        ({"files": [{"path": "x", "size": 1}]}, "invalid_version"),
        ({"files": [{"name": "x"}]}, "invalid_version"),
        ({"files": [{"path": "x", "position": -1}]}, "invalid_version"),
        ({"files": [{"path": "nowhere/x"}]}, "file_not_uploaded"),
        ({"notes": " "}, "text_not_visible"),
        ({"name": "x" * 51}, "23514"),
        ({"replaces": "{00000000-0000-4000-8000-000000000001}"}, "file_not_found"),
    ],
)
def test_what_is_no_version(market: Market, more: Json, code: str) -> None:
    seller = market.sign_up()
    product = market.product(seller, 2000)
    with refused(code):
        release(market, seller, product, **more)
    with refused("item_not_found"):
        release(market, market.sign_up(), product)


def test_a_gift_that_is_claimed_has_a_key(market: Market) -> None:
    seller, product = licensed(market)
    payer, receiver = market.sign_up(), market.sign_up()
    order = market.buy(payer, {"item_id": product, "gift_email": "a@example.com"})
    assert market.one("select count(*) from public.license_keys") == 0, "nobody's yet"
    market.rpc(receiver, "claim_gift", code=market.worker("select private.claim_gift_mail(300)")["code"])
    line = market.line(order["order_id"])
    assert check(market, product, key_of(market, receiver, line))["state"] == "valid"
    market.refund(seller, line)
    assert check(market, product, key_of(market, receiver, line))["state"] == "refunded"

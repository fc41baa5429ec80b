"""Tips to the cent, and what closes them: money.md's sharp case 28. Who may tip whom is in supabase/tests."""

from __future__ import annotations

import pytest

from tests.money.market import Json, Market, refused

TIP = "select t.* from public.tips as t where t.order_item_id = %s"


def tip(market: Market, sender: str, recipient: str, cents: int, provider: str = "stripe") -> Json:
    return market.rpc(sender, "send_tip", recipient_id=recipient, amount_cents=cents, provider=provider)


def pay(market: Market, sender: str, ordered: Json, charge: str | None = None) -> str:
    """The line of a tip that is paid by card."""
    market.start(sender, ordered["payment_id"])
    assert market.succeed(ordered["payment_id"], charge=charge) == "processed"
    return market.line(ordered["order_id"])


@pytest.mark.parametrize(("cents", "fee", "earned"), [(100, 33, 67), (50, 31, 19), (99999999, 2900030, 97099969)])
@pytest.mark.parametrize("tier", ["basic", "standard"])
def test_28_of_a_tip_all_but_the_fee_arrives(market: Market, tier: str, cents: int, fee: int, earned: int) -> None:
    sender, artist = market.sign_up(), market.sign_up(tier)
    line = pay(market, sender, tip(market, sender, artist, cents))
    sale = market.row("select * from public.transactions where order_item_id = %s", line)
    assert (sale["amount_fees_cents"], sale["amount_commission_cents"], sale["amount_seller_cents"]) == (fee, 0, earned)
    assert market.wallet(artist) == (0, earned, 0)
    assert market.row(TIP, line)["amount_cents"] == cents


def test_28_below_what_can_be_charged_there_is_no_tip(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    for cents in (49, 1, 0, -1):
        with refused("price_too_low"):
            tip(market, sender, artist, cents)
    with refused("amount_out_of_range"):
        tip(market, sender, artist, 100000000)
    assert market.one("select count(*) from public.tip_jars") == 0


def test_28_a_wallets_tip_costs_nothing(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    market.fund(sender, 500)
    line = market.line(tip(market, sender, artist, 500, provider="wallet")["order_id"])
    assert (market.wallet(sender), market.wallet(artist)) == ((0, 0, 0), (0, 500, 0))
    # Nothing is kept of it, so all of it goes back.
    market.request_refund(artist, line)
    assert (market.wallet(sender), market.wallet(artist)) == ((500, 0, 0), (0, 0, 0))
    assert market.row(TIP, line)["closed_at"] is not None


def test_28_the_fee_of_a_tip_that_goes_back_is_its_recipients(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    line = pay(market, sender, tip(market, sender, artist, 100))
    market.refund(artist, line)
    assert market.wallet(artist) == (0, 0, 33)


def test_28_the_words_of_a_tip_arrive_once_it_is_paid(market: Market) -> None:
    """Nobody writes to strangers for nothing."""
    sender, artist = market.sign_up(), market.sign_up()
    ordered = tip(market, sender, artist, 100)
    seen = "select details from public.order_items where seller_id = auth.uid()"
    assert market.member(artist, seen) == []
    assert len(market.member(sender, "select id from public.order_items")) == 1
    pay(market, sender, ordered)
    assert len(market.member(artist, seen)) == 1


@pytest.mark.parametrize("order", ["reported", "reversed"])
def test_28_a_charge_taken_back_closes_the_tip(market: Market, order: str) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    ordered = tip(market, sender, artist, 100)
    if order == "reported":
        line = pay(market, sender, ordered, charge="ch_1")
        assert market.row(TIP, line)["closed_at"] is None
        market.decline(ordered["payment_id"], "ch_1")
    else:
        market.start(sender, ordered["payment_id"])
        market.decline(ordered["payment_id"], "ch_1")
        market.succeed(ordered["payment_id"], charge="ch_1")
        line = market.line(ordered["order_id"])
    assert market.row(TIP, line)["closed_at"] is not None
    assert market.wallet(artist) == (0, 0, 0)


def test_28_a_refund_that_fails_opens_it_again(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    line = pay(market, sender, tip(market, sender, artist, 100))
    refund = market.refund(artist, line)
    assert market.row(TIP, line)["closed_at"] is not None
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], refund["provider_ref"])
    assert market.row(TIP, line)["closed_at"] is None
    assert market.wallet(artist) == (0, 67, 0)


def test_28_a_part_given_back_leaves_it_open(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    line = pay(market, sender, tip(market, sender, artist, 100))
    market.refund(artist, line, 99)
    assert market.row(TIP, line)["closed_at"] is None
    market.refund(artist, line)
    assert market.row(TIP, line)["closed_at"] is not None


def test_28_tips_to_two_in_one_order_are_a_line_each(market: Market) -> None:
    """Each of at least what can be charged, and what is shared of it goes by the largest remainder."""
    sender, artists = market.sign_up(), [market.sign_up(), market.sign_up()]
    for artist in artists:
        market.member(artist, "insert into public.tip_jars (suggested_cents) values (500)")
    jars = [market.one("select id from public.tip_jars where seller_id = %s", artist) for artist in artists]
    with refused("price_too_low"):
        market.checkout(sender, *({"item_id": jar, "offered_price_cents": 25} for jar in jars))
    order = market.buy(sender, *({"item_id": jar, "offered_price_cents": 50} for jar in jars))
    # One charge of 100 costs 33: 17 of one and 16 of the other.
    assert sorted(market.wallet(artist)[1] for artist in artists) == [33, 34]
    assert [sale["amount_total_cents"] for sale in market.sales(order["order_id"])] == [50, 50]
    assert market.one("select count(*) from public.tips where sender_id = %s", sender) == 2
    assert market.one("select private.split_cents(5, '{5000,5000}')") == [3, 2]


def test_28_several_at_once_are_several(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    ordered = [tip(market, sender, artist, 100 + extra) for extra in range(3)]
    for each in ordered:
        market.start(sender, each["payment_id"])
    events = [
        market.store("payment_intent.succeeded", market.intent(each["payment_id"], latest_charge=f"ch_{no}"))
        for no, each in enumerate(ordered)
    ]
    settled = market.worker("select private.settle_batch(%s::bigint[])", events)
    assert sorted(settled) == sorted(events)
    tips = market.rows("select amount_cents from public.tips where sender_id = %s order by amount_cents", sender)
    assert [row["amount_cents"] for row in tips] == [100, 101, 102]
    # A group whose answer was lost is tried again and finds nothing to do.
    assert market.worker("select private.settle_batch(%s::bigint[])", events) == []


def test_28_a_tip_to_somebody_who_left_meanwhile_settles(market: Market) -> None:
    sender, artist = market.sign_up(), market.sign_up()
    ordered = tip(market, sender, artist, 100)
    market.start(sender, ordered["payment_id"])
    market.rpc(artist, "delete_my_account")
    market.worker("select private.advance_account(%s)", artist)
    assert market.one("select is_open from public.tip_jars where seller_id = %s", artist) is False
    assert market.succeed(ordered["payment_id"]) == "processed"
    assert market.wallet(artist) == (0, 67, 0)

"""Reviews: what counts, and what a refund, a failed refund, a ban or time make of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from tests.market.order_market import by_service, sold_of
from tests.market.reviews import HIDDEN, Reviews
from tests.market.service_market import line as line_of
from tests.market.service_market import service
from tests.market.test_coupons import checkout, code, coupon
from tests.market.webinars import begin_in, register, webinar
from tests.money.market import Json, Market, refused


@pytest.fixture
def reviews(market: Market) -> Reviews:
    return Reviews(market)


def bought(market: Market, reviews: Reviews, cents: int = 2000, **more: Any) -> tuple[str, str, str, str]:
    """(seller, buyer, item, line) of something sold."""
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, cents, **more)
    return seller, buyer, item, market.line(market.buy(buyer, item)["order_id"])


# -- 27: the only review leaves ---------------------------------------------------------------------------------------


def test_market_27_the_only_review_leaves_with_a_refund(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, line = bought(market, reviews)
    assert reviews.rating(item) == (0, None)
    review = reviews.write(buyer, item, 4)
    assert review["is_verified_purchase"]
    assert reviews.rating(item) == (1, "4.00")
    refund = market.refund(seller, line)
    assert market.status("refunds", refund["id"]) == "succeeded"
    assert reviews.rating(item) == (0, None)
    assert reviews.histogram(item) == {"counts": [0] * 5, "percentages": None, "rating_average": None}
    reviews.check()


def test_market_27_all_five_counters_move_from_what_was(market: Market, reviews: Reviews) -> None:
    """An edit moves one counter down and another up, and total and average see both."""
    _, buyer, item, _ = bought(market, reviews)
    review = reviews.write(buyer, item, 5)
    for rating in (1, 2, 3, 4, 5):
        reviews.edit(buyer, review["id"], rating)
        assert reviews.rating(item) == (1, f"{rating}.00")
        assert reviews.histogram(item)["counts"] == [int(rating == n) for n in range(1, 6)]
    reviews.check()


# -- 28: refunds ------------------------------------------------------------------------------------------------------


def test_market_28_a_full_refund_takes_all_of_it_out_and_a_failed_one_gives_all_back(
    market: Market, reviews: Reviews
) -> None:
    seller, buyer, item, line = bought(market, reviews)
    reader = market.sign_up()
    review = reviews.write(buyer, item, 5, "Lovely.")
    market.rpc(seller, "respond_to_review", review_id=review["id"], response="Thank you!")
    reviews.vote(reader, review["id"], True)
    before = reviews.seen(reader, item)
    assert before == reviews.seen(None, item)
    assert (before[0]["review_text"], before[0]["seller_response"], before[0]["helpful_count"]) == (
        "Lovely.",
        "Thank you!",
        1,
    )
    refund = market.refund(seller, line)
    assert reviews.seen(reader, item) == reviews.seen(None, item) == reviews.seen(seller, item) == []
    assert reviews.rating(item) == (0, None)
    # Its author still has it.
    assert [one["rating"] for one in reviews.seen(buyer, item)] == [5]
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert market.owns(buyer, item)
    after = reviews.seen(reader, item)
    assert [one | {"updated_at": None} for one in after] == [one | {"updated_at": None} for one in before]
    assert reviews.rating(item) == (1, "5.00")
    reviews.check()


def test_market_28_a_charge_taken_back_takes_the_rating_out(market: Market, reviews: Reviews) -> None:
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.product(seller, 2000)
    order = market.buy(buyer, item)
    reviews.write(buyer, item, 1)
    market.decline(order["payment_id"], charge=order["charge"])
    assert not market.owns(buyer, item)
    assert reviews.rating(item) == (0, None)
    reviews.check()


def test_market_28_a_partial_refund_keeps_it(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, line = bought(market, reviews)
    reviews.write(buyer, item, 2)
    market.refund(seller, line, 500)
    assert reviews.rating(item) == (1, "2.00")
    assert len(reviews.seen(None, item)) == 1
    market.refund(seller, line)
    assert reviews.rating(item) == (0, None)
    with refused("review_not_allowed"):
        reviews.write(buyer, item, 1)
    reviews.check()


def test_market_26_a_refund_that_fails_gives_the_rating_back(market: Market, reviews: Reviews) -> None:
    """Also when there is no piece left: then people settle it, and the rating stays out until they did."""
    market.make_kinds()
    seller, buyer, second = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.good(seller, 2000, stock=1)
    line = market.line(market.buy(buyer, item)["order_id"])
    reviews.write(buyer, item, 5)
    refund = market.refund(seller, line)
    market.buy(second, item)
    reviews.write(second, item, 3)
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert reviews.rating(item) == (1, "3.00")
    # Bought again by nobody: it comes back with the right.
    other = market.good(seller, 2000, stock=1)
    line = market.line(market.buy(buyer, other)["order_id"])
    reviews.write(buyer, other, 4)
    refund = market.refund(seller, line)
    assert reviews.rating(other) == (0, None)
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert reviews.rating(other) == (1, "4.00")
    reviews.check()


# -- 29: who counts, and how often ------------------------------------------------------------------------------------


def test_market_29_twenty_cheap_orders_are_shown_and_one_counts(market: Market, reviews: Reviews) -> None:
    market.make_kinds()
    market.rows("update private.settings set review_burst = 100")
    seller, buyer, other = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.good(seller, 50, is_repeatable=True)
    lines = []
    for no in range(20):
        lines.append(market.line(market.buy(buyer, item)["order_id"]))
        reviews.write(buyer, item, 1 + no % 5)
    market.buy(other, item)
    reviews.write(other, item, 2)
    assert len(reviews.seen(None, item)) == 21
    # The newest of each: 20 % 5 → 5, and 2.
    assert reviews.rating(item) == (2, "3.50")
    # The newest is given back: the one before counts.
    market.refund(seller, lines[-1])
    assert reviews.rating(item) == (2, "3.00")
    with refused("already_reviewed"):
        reviews.write(buyer, item, 5)
    reviews.check()


def test_the_newest_taken_back_leaves_the_one_before(market: Market, reviews: Reviews) -> None:
    market.make_kinds()
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, 50, is_repeatable=True)
    for rating in (2, 4):
        market.buy(buyer, item)
        newest = reviews.write(buyer, item, rating)["id"]
    assert reviews.rating(item) == (1, "4.00")
    market.rpc(buyer, "delete_review", review_id=newest)
    assert reviews.rating(item) == (1, "2.00")
    reviews.check()


def test_market_29_what_a_discount_made_free_is_reviewed_unverified(market: Market, reviews: Reviews) -> None:
    market.make_kinds()
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, 2000)
    market.checkout(buyer, {"item_id": item, "details": {"discount_cents": 2000}})
    review = reviews.write(buyer, item, 5)
    assert not review["is_verified_purchase"]
    assert reviews.rating(item) == (1, "5.00")
    # What is free for everybody was got as everybody gets it.
    free = market.product(seller, 0)
    market.checkout(buyer, free)
    assert reviews.write(buyer, free, 5)["is_verified_purchase"]
    reviews.check()


def test_market_29_sellers_and_who_earns_with_them_never_review(market: Market, reviews: Reviews) -> None:
    market.make_kinds()
    seller, partner, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    item = market.good(seller, 2000, payees=[[seller, 6000], [partner, 4000]])
    # Before anything was ever sold the partner buys it.
    market.buy(partner, item)
    with refused("review_not_allowed"):
        reviews.write(partner, item, 5)
    with refused("review_not_allowed"):
        reviews.write(seller, item, 5)
    with refused("review_not_allowed"):
        reviews.write(buyer, item, 5)
    market.buy(buyer, item)
    review = reviews.write(buyer, item, 5)
    for who in (seller, partner, buyer):
        with refused("vote_not_allowed"):
            reviews.vote(who, review["id"], True)
    # No longer a partner: still an insider.
    market.rows("update public.goods set payees = null where id = %s", item)
    with refused("review_not_allowed"):
        reviews.write(partner, item, 5)
    reviews.check()


def test_a_right_that_is_restored_asks_again_who_earns(market: Market, reviews: Reviews) -> None:
    market.make_kinds()
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, 2000)
    line = market.line(market.buy(buyer, item)["order_id"])
    reviews.write(buyer, item, 5)
    refund = market.refund(seller, line)
    market.rows("update public.goods set payees = %s where id = %s", f'[["{buyer}", 10000]]', item)
    market.worker("select private.record_refund(%s, %s, 'failed')", refund["id"], f"re_{refund['id']}")
    assert market.owns(buyer, item)
    assert reviews.rating(item) == (0, None)


# -- 30: double-blind -------------------------------------------------------------------------------------------------


def done(market: Market, cents: int = 2000) -> tuple[str, str, str, str]:
    """A task that is done: (seller, buyer, item, line); what is earned when it is done is reviewed blind."""
    market.make_kinds()
    market.rows("update private.kinds set reviewing = 'blind' where kind = 'task'")
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, cents, "task", is_repeatable=True)
    line = market.line(market.buy(buyer, item)["order_id"])
    with refused("review_too_early"):
        market.rpc(buyer, "review_item", item_id=item, rating=5)
    market.finish(line)
    return seller, buyer, item, line


def test_market_11_a_review_after_approval_by_silence_still_attaches(market: Market, reviews: Reviews) -> None:
    """However long it is done; a charge taken back then takes the rating out of the average."""
    market.make_kinds()
    market.rows("update private.kinds set reviewing = 'blind' where kind = 'task'")
    seller, buyer = market.sign_up(), market.sign_up()
    item = market.good(seller, 2000, "task", is_repeatable=True)
    order = market.buy(buyer, item)
    line = market.line(order["order_id"])
    market.finish(line)
    market.mature()
    assert market.release() == 1
    review = reviews.write(buyer, item, 4)
    assert (review["order_item_id"], review["status"]) == (line, "blind")
    market.rpc(seller, "review_buyer", order_item_id=line, rating=5)
    assert reviews.rating(item) == (1, "4.00")
    market.decline(order["payment_id"], charge=order["charge"])
    assert reviews.rating(item) == (0, None)
    reviews.check()


def test_what_is_done_is_reviewed_while_the_next_one_is_made(market: Market, reviews: Reviews) -> None:
    """Bought again before the first was rated: the rating is of the one that is done, without saying which."""
    _, buyer, item, line = done(market)
    under_way = market.line(market.buy(buyer, item)["order_id"])
    assert reviews.write(buyer, item, 4)["order_item_id"] == line
    with refused("review_too_early"):
        reviews.write(buyer, item, 4)
    market.finish(under_way)
    assert reviews.write(buyer, item, 5)["order_item_id"] == under_way
    reviews.check()


def test_nothing_is_reviewed_before_it_took_place(market: Market, reviews: Reviews) -> None:
    """A webinar when it is over, a service when it is done: by the clock, and also where nothing was paid."""
    host, guest, buyer = market.sign_up(), market.sign_up(), market.sign_up()
    item = webinar(market, host, 2000, duration_minutes=60)
    market.buy(guest, item)
    for minutes in (24 * 60, -30):
        begin_in(market, item, timedelta(minutes=minutes))
        with refused("review_too_early"):
            reviews.write(guest, item, 1)
    begin_in(market, item, timedelta(minutes=-90))
    assert market.status("webinars", item) == "upcoming"
    assert reviews.write(guest, item, 4)["status"] == "published"

    paid = by_service(market)
    offered, (package,) = service(market, host, 2000)
    market.member(host, "insert into public.coupons (code, percent_bps) values ('ALL', 10000)")
    order = market.rpc(buyer, "checkout", items=[line_of(offered, package)], coupon_codes="{ALL}")
    for sold, rated in ((paid, paid.row()["service_id"]), (sold_of(market, order), offered)):
        with refused("review_too_early"):
            reviews.write(sold.buyer, rated, 1)
        sold.deliver()
        with refused("review_too_early"):
            reviews.write(sold.buyer, rated, 1)
        sold.pass_time(72)
        assert sold.row()["status"] == "delivered"
        assert reviews.write(sold.buyer, rated, 3)["status"] == "blind"
    reviews.check()


def told(market: Market, user: str) -> Json:
    return market.one("select count(*) from public.notifications where user_id = %s and type = 'review'", user)


def test_market_30_nothing_tells_before_both_are_in(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, line = done(market)
    first = reviews.write(buyer, item, 2, "Late.")
    assert first["status"] == "blind"
    assert reviews.seen(None, item) == reviews.seen(seller, item) == []
    assert reviews.rating(item) == (0, None)
    assert told(market, seller) == 0
    assert reviews.histogram(item)["counts"] == [0] * 5
    second = market.rpc(seller, "review_buyer", order_item_id=line, rating=1, review_text="Never answered.")
    assert second["status"] == "published"
    assert reviews.rating(item) == (1, "2.00")
    assert [one["rating"] for one in reviews.seen(None, item)] == [2]
    assert (told(market, seller), told(market, buyer)) == (1, 1)
    # What the seller says of the buyer is for the two.
    about = "select rating from public.reviews where side = 'seller'"
    assert [len(market.member(who, about)) for who in (seller, buyer, market.sign_up())] == [1, 1, 0]
    reviews.check()


def test_market_30_after_fourteen_days_it_is_shown_and_the_other_side_is_closed(
    market: Market, reviews: Reviews
) -> None:
    seller, buyer, item, line = done(market)
    review = reviews.write(buyer, item, 3)
    assert market.worker("select private.publish_reviews_due()") == 0
    reviews.pass_days(item, 14)
    # Due by the instant: the late job changes nothing of what readers see.
    assert [one["rating"] for one in reviews.seen(None, item)] == [3]
    assert reviews.histogram(item)["counts"] == [0, 0, 1, 0, 0]
    with refused("review_closed"):
        market.rpc(seller, "review_buyer", order_item_id=line, rating=1)
    assert market.worker("select private.publish_reviews_due()") == 1
    assert market.worker("select private.publish_reviews_due()") == 0
    row = market.row("select * from public.reviews where id = %s", review["id"])
    assert (row["status"], row["published_at"]) == ("published", row["publish_at"])
    assert reviews.histogram(item)["counts"] == [0, 0, 1, 0, 0]
    assert reviews.rating(item) == (1, "3.00")
    assert told(market, seller) == 1
    reviews.check()


def test_market_30_who_has_read_the_other_cannot_write_again(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, line = done(market)
    review = reviews.write(buyer, item, 3)
    market.rpc(seller, "review_buyer", order_item_id=line, rating=1)
    market.rpc(buyer, "delete_review", review_id=review["id"])
    assert reviews.rating(item) == (0, None)
    with refused("review_closed"):
        reviews.write(buyer, item, 1)
    reviews.check()


def test_market_30_who_has_read_the_other_changes_nothing(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, line = done(market)
    ours = reviews.write(buyer, item, 2)["id"]
    # While nobody has read it, it may be changed.
    reviews.edit(buyer, ours, 3)
    theirs = market.rpc(seller, "review_buyer", order_item_id=line, rating=5)["id"]
    for who, review in ((seller, theirs), (buyer, ours)):
        with refused("review_closed"):
            reviews.edit(who, review, 1)
    assert reviews.rating(item) == (1, "3.00")
    # Of whom the other side said nothing may be better again.
    seller, buyer, item, line = done(market)
    alone = reviews.write(buyer, item, 2)["id"]
    reviews.pass_days(item, 14)
    reviews.edit(buyer, alone, 4)
    assert reviews.rating(item) == (1, "4.00")
    reviews.check()


def test_market_30_the_earlier_review_counts_until_the_blind_one_is_shown(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, line = done(market)
    reviews.write(buyer, item, 5)
    market.rpc(seller, "review_buyer", order_item_id=line, rating=5)
    again = market.line(market.buy(buyer, item)["order_id"])
    market.finish(again)
    reviews.write(buyer, item, 1)
    assert reviews.rating(item) == (1, "5.00")
    reviews.pass_days(item, 15)
    assert reviews.histogram(item)["counts"] == [1, 0, 0, 0, 0]
    market.worker("select private.publish_reviews_due()")
    assert reviews.rating(item) == (1, "1.00")
    assert len(reviews.seen(None, item)) == 2
    reviews.check()


def test_market_30_later_edits_restart_votes_and_date_the_response(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, _ = bought(market, reviews)
    readers = [market.sign_up() for _ in range(3)]
    review = reviews.write(buyer, item, 1, "Broken.")["id"]
    market.rpc(seller, "respond_to_review", review_id=review, response="Fixed.")
    for reader in readers:
        reviews.vote(reader, review, True)
    assert reviews.row(review)["helpful_count"] == 3
    # The same words are no edit.
    reviews.edit(buyer, review, 1, " Broken. ")
    assert (reviews.row(review)["version"], reviews.row(review)["helpful_count"]) == (1, 3)
    reviews.edit(buyer, review, 5, "Fixed, thank you.")
    row = reviews.row(review)
    assert (row["version"], row["helpful_count"], row["response_version"]) == (2, 0, 1)
    assert row["is_response_outdated"]
    assert row["seller_response"] == "Fixed."
    assert market.rpc(seller, "respond_to_review", review_id=review, response="Glad.")["is_response_outdated"] is False
    reviews.check()


def test_market_30_votes_are_one_each_and_can_change(market: Market, reviews: Reviews) -> None:
    _, buyer, item, _ = bought(market, reviews)
    reader, other = market.sign_up(), market.sign_up()
    review = reviews.write(buyer, item, 4)["id"]
    for vote, count in ((True, 1), (True, 1), (False, 0), (True, 1), (None, 0), (None, 0), (False, 0)):
        reviews.vote(reader, review, vote)
        assert reviews.row(review)["helpful_count"] == count
    reviews.vote(other, review, True)
    assert reviews.row(review)["helpful_count"] == 1
    assert market.one("select count(*) from public.review_votes") == 2
    reviews.check()


# -- 31: bombing, moderation, standing --------------------------------------------------------------------------------


def test_market_31_more_than_ten_in_a_day_wait_for_moderators(market: Market, reviews: Reviews) -> None:
    seller, admin = market.sign_up(), market.sign_up(role="admin")
    item = market.product(seller, 0)
    written = []
    for _ in range(13):
        buyer = market.sign_up()
        market.checkout(buyer, item)
        written.append(reviews.write(buyer, item, 1))
    assert Counter(one["status"] for one in written) == {"published": 10, "pending": 3}
    assert written[9]["status"] == "published"
    assert reviews.rating(item) == (10, "1.00")
    assert len(reviews.seen(None, item)) == len(reviews.seen(seller, item)) == 10
    assert len(reviews.seen(admin, item)) == 13
    with refused("admin_only"):
        market.rpc(seller, "decide_review", review_id=written[10]["id"], approve=True)
    market.rpc(admin, "decide_review", review_id=written[10]["id"], approve=True)
    market.rpc(admin, "decide_review", review_id=written[11]["id"], approve=False)
    with refused("state_changed"):
        market.rpc(admin, "decide_review", review_id=written[10]["id"], approve=False)
    assert reviews.rating(item) == (11, "1.00")
    reviews.check()


def test_market_31_a_busy_week_before_allows_more(market: Market, reviews: Reviews) -> None:
    """21 in the week before are 3 a day: 15 in 24 hours are nothing special, the 16th is."""
    seller = market.sign_up()
    item = market.product(seller, 0)

    def one() -> str:
        buyer = market.sign_up()
        market.checkout(buyer, item)
        return str(reviews.write(buyer, item, 5)["status"])

    market.rows("update private.settings set review_burst = 100")
    for _ in range(21):
        assert one() == "published"
    market.rows("update private.settings set review_burst = 10")
    market.rows("update public.reviews set created_at = created_at - interval '2 days'")
    assert Counter(one() for _ in range(17)) == {"published": 15, "pending": 2}
    reviews.check()


def test_market_31_a_ban_uncounts_and_its_end_restores(market: Market, reviews: Reviews) -> None:
    _, buyer, item, _ = bought(market, reviews)
    reviews.write(buyer, item, 1, "Bad.")
    market.ban(buyer)
    assert reviews.rating(item) == (0, None)
    assert reviews.seen(None, item) == []
    market.unban(buyer)
    assert reviews.rating(item) == (1, "1.00")
    assert len(reviews.seen(None, item)) == 1
    reviews.check()


def test_market_31_of_a_deleted_account_the_rating_stays_and_nothing_else(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, _ = bought(market, reviews)
    reader = market.sign_up()
    review = reviews.write(buyer, item, 2, "I am Ana from Berlin.")["id"]
    market.rpc(seller, "respond_to_review", review_id=review, response="Dear Ana")
    reviews.vote(reader, review, True)
    market.rows("delete from auth.users where id = %s", buyer)
    assert reviews.rating(item) == (1, "2.00")
    (left,) = reviews.seen(None, item)
    assert (left["review_text"], left["seller_response"], left["helpful_count"]) == (None, None, 0)
    reviews.check()


def test_a_voter_who_leaves_takes_the_vote_along(market: Market, reviews: Reviews) -> None:
    _, buyer, item, _ = bought(market, reviews)
    reader = market.sign_up()
    review = reviews.write(buyer, item, 2)["id"]
    reviews.vote(reader, review, True)
    market.rows("delete from auth.users where id = %s", reader)
    assert reviews.row(review)["helpful_count"] == 0
    reviews.check()


def test_market_31_moderators_hide_for_a_reason_and_sellers_nothing(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, _ = bought(market, reviews)
    admin = market.sign_up(role="admin")
    review = reviews.write(buyer, item, 1, "Something rude.")["id"]
    with refused("moderators_only"):
        market.rpc(seller, "hide_content", target_type="review", target_id=review, reason="I do not like it")
    market.rpc(seller, "report_content", target_type="review", target_id=review, reason="harassment")
    market.rpc(admin, "hide_content", target_type="review", target_id=review, reason="rude")
    assert reviews.rating(item) == (0, None)
    assert reviews.seen(None, item) == reviews.seen(seller, item) == []
    for act in (HIDDEN, "delete_review"):
        with refused("review_hidden"):
            market.rpc(buyer, act, review_id=review, **({"rating": 5} if act == HIDDEN else {}))
    market.rpc(admin, "restore_content", target_type="review", target_id=review)
    assert reviews.rating(item) == (1, "1.00")
    reviews.check()


def test_kinds_say_how_they_are_reviewed(market: Market, reviews: Reviews) -> None:
    market.make_kinds()
    say = "select private.reviewing(%s)"
    known = {kind: market.one(say, kind) for kind in ("product", "artwork", "tip_jar", "post", "good", "task")}
    assert known == {
        "product": "open",
        "artwork": "open",
        "tip_jar": "none",
        "post": "none",
        "good": "open",
        "task": "open",
    }
    market.rows("update private.kinds set is_repeatable = true where kind = 'task'")
    assert market.one(say, "task") == "blind"
    seller, buyer = market.sign_up(), market.sign_up()
    order = market.rpc(buyer, "send_tip", recipient_id=seller, amount_cents=100)
    market.start(buyer, order["payment_id"])
    market.succeed(order["payment_id"])
    jar = market.one("select id from public.tip_jars")
    with refused("review_not_allowed"):
        reviews.write(buyer, jar, 5)


@pytest.mark.parametrize(
    ("counts", "percent"),
    [
        ([1, 1, 1, 0, 0], [33, 33, 34, 0, 0]),
        ([1, 0, 0, 0, 0], [100, 0, 0, 0, 0]),
        ([1, 1, 1, 1, 2], [16, 17, 17, 17, 33]),
        ([1, 1, 1, 2, 2], [14, 14, 14, 29, 29]),
        ([3, 0, 0, 1, 995], [0, 0, 0, 0, 100]),
        ([1, 2, 3, 4, 5], [7, 13, 20, 27, 33]),
    ],
)
def test_percentages_add_up_to_a_hundred(market: Market, counts: list[int], percent: list[int]) -> None:
    answer = market.one("select private.percentages(%s)", counts)
    assert sum(answer) == 100
    assert answer == percent


def test_a_webinar_is_reviewed_when_it_has_ended(market: Market, reviews: Reviews) -> None:
    host, guest, invited = market.sign_up(), market.sign_up(), market.sign_up()
    item = webinar(market, host, 2000)
    market.buy(guest, item)
    checkout(market, invited, [item], code(market, coupon(market, host, percent_bps=10000)))
    for delta in (timedelta(days=2), timedelta(minutes=-30)):
        begin_in(market, item, delta)
        for person in (guest, invited):
            with refused("review_too_early"):
                reviews.write(person, item, 1)
    begin_in(market, item, timedelta(hours=-3))
    assert reviews.write(guest, item, 5)["status"] == "published"
    assert reviews.rating(item) == (1, "5.00")


def test_an_answer_given_again_and_again_is_told_once(market: Market, reviews: Reviews) -> None:
    seller, buyer, item, _ = bought(market, reviews)
    review = reviews.write(buyer, item, 2)
    for _ in range(3):
        market.rpc(seller, "respond_to_review", review_id=review["id"], response="Look again.")
        market.rpc(seller, "respond_to_review", review_id=review["id"], response="")
    told = "select count(*) from public.notifications where user_id = %s and type = 'review_response'"
    assert market.one(told, buyer) == 1


def test_a_recording_of_a_free_webinar_is_no_verified_purchase(market: Market, reviews: Reviews) -> None:
    host = market.sign_up()
    for cents in (0, 2000):
        guest = market.sign_up()
        item = webinar(market, host, cents)
        if cents:
            market.buy(guest, item)
        else:
            register(market, guest, item)
        begin_in(market, item, timedelta(hours=-3 - cents))
        product = market.rpc(host, "convert_recording", webinar_id=item, price_cents=1500)["id"]
        assert reviews.write(guest, product, 5)["is_verified_purchase"] is (cents > 0)

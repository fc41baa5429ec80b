"""A new kind of thing is one page: no other hand-written file knows of it.

tests/schema/toy.sql is that page, for a kind that is sold and one that is not. What they get for nothing, or by one
call for each shape, is tried as their owner, a member and an admin would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from stack.schema import check

PAGE = Path(__file__).with_name("toy.sql")
SELLER, FAN, ADMIN, HELPER = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2, 3, 4))


class Toyshop:
    """The schema with toys in it, undone after the test."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        connection.execute(PAGE.read_bytes())
        for person in (SELLER, FAN, ADMIN, HELPER):
            account = "insert into auth.users (id, email, email_confirmed_at) values (%s, %s, now())"
            self.run(account, person, f"{person}@example.com")
        self.run("update public.profiles set role = 'admin' where id = %s", ADMIN)
        self.run("update public.profiles set role = 'author' where id = %s", SELLER)
        self.run("update public.app_settings set workers_url = 'https://workers.example.com'")
        self.run("delete from public.notifications")

    def run(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def caller(self, person: str | None) -> Iterator[None]:
        """Statements in the block are this person's, or a visitor's, with the rights the API gives them."""
        role = "authenticated" if person else "anon"
        claims = json.dumps({"sub": person, "role": role}) if person else "{}"
        self.run("select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)", claims, role)
        yield
        self.run("select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)")

    def told(self, person: str) -> list[dict[str, Any]]:
        notices = "select type::text, related_type, link_url from public.notifications where user_id = %s order by type"
        return self.run(notices, person)

    def toy(self, **more: object) -> str:
        """A published toy of the seller."""
        with self.caller(SELLER):
            row = self.run(
                "insert into public.toys (title, price_cents, is_published) values ('Red ball', 500, true) returning id"
            )
        for column, value in more.items():
            self.run(f"update public.toys set {column} = %s where id = %s", value, row[0]["id"])
        return str(row[0]["id"])

    def tale(self, toy: str, content: str = "It #rolls") -> str:
        """A tale of the fan about a toy."""
        with self.caller(FAN):
            row = self.run("insert into public.tales (toy_id, content) values (%s, %s) returning id", toy, content)
        return str(row[0]["id"])

    def one(self, statement: str, *values: object) -> Any:
        """The one value of the one row."""
        [row] = self.run(statement, *values)
        [value] = row.values()
        return value

    @contextmanager
    def refused(self, code: str) -> Iterator[None]:
        """The block is refused with this code, and undone."""
        with pytest.raises(psycopg.Error) as refused, self.connection.transaction():
            yield
        assert refused.value.diag.message_hint == code

    def order(self, person: str, *items: str | dict[str, object], provider: str = "stripe") -> str:
        """Checks out; the order."""
        lines = json.dumps([item if isinstance(item, dict) else {"item_id": item} for item in items])
        with self.caller(person):
            answer = self.one("select public.checkout(%s, %s)", lines, provider)
        return str(answer["order_id"])

    def pay_award(self, person: str, payable: object) -> str:
        """Checks out what was agreed; the order."""
        with self.caller(person):
            return str(self.one("select public.checkout_payable(%s)", payable)["order_id"])

    def start(self, order: str) -> str:
        """Opens the order's card form; the payment."""
        payment = str(self.one("select id from public.payments where order_id = %s", order))
        self.run("select private.start_payment(id, user_id) from public.payments where id = %s", payment)
        self.run("select private.attach_payment_ref(%s, %s)", payment, f"pi_{payment}")
        return payment

    def succeed(self, *payments: str) -> list[int]:
        """What the provider says of them, handed over together; the events that settled together."""
        events = [
            {
                "id": f"evt_{payment}",
                "type": "payment_intent.succeeded",
                "created": 1790000000,
                "payload": {"data": {"object": {
                    "object": "payment_intent", "id": f"pi_{payment}", "currency": "usd",
                    "amount_received": self.one("select amount_cents from public.payments where id = %s", payment),
                    "latest_charge": f"ch_{payment}", "metadata": {"payment_id": payment},
                }}},
            }
            for payment in payments
        ]  # fmt: skip
        self.run("select private.store_webhook_events('stripe', %s)", json.dumps(events))
        waiting = "select id from private.webhook_events where status = 'pending' order by id"
        together: list[int] = self.one(f"select private.settle_batch(array({waiting}))")
        for event in self.run(waiting):
            self.run("select private.process_webhook_event(%s)", event["id"])
        assert self.run("select event_id, last_error from private.webhook_events where status <> 'processed'") == []
        return together

    def buy(self, person: str, *items: str | dict[str, object]) -> str:
        """Checks out and pays; the order."""
        order = self.order(person, *items)
        self.succeed(self.start(order))
        return order

    def lines(self, order: str) -> list[str]:
        """The order's lines."""
        rows = self.run("select id::text from public.order_items where order_id = %s order by line_no", order)
        return [row["id"] for row in rows]

    def refund(self, line: str, person: str = SELLER) -> str:
        """The line's seller, or an admin, gives all of it back; the refund, which succeeded."""
        with self.caller(person):
            refund = str(self.one("select (public.refund_order_item(%s)).id", line))
        self.report_refund(refund, "succeeded")
        return refund

    def report_refund(self, refund: str, status: str) -> None:
        """What the provider says of a refund."""
        self.run("select private.record_refund(%s, %s, %s)", refund, f"re_{refund}", status)

    def orders(self, *lines: str) -> list[str]:
        """What became of the toys of these lines."""
        rows = self.run(
            "select o.state::text from public.toy_orders as o inner join public.purchases as p on p.id = o.purchase_id "
            "where p.order_item_id = any(%s::uuid[]) order by p.order_item_id, p.unit", list(lines),
        )  # fmt: skip
        return [row["state"] for row in rows]

    def earned(self, person: str) -> tuple[int, int]:
        """What somebody has: pending, available."""
        query = "select balance_pending_cents, balance_available_cents from public.wallets where user_id = %s"
        [row] = self.run(query, person)
        return row["balance_pending_cents"], row["balance_available_cents"]

    def check(self) -> None:
        """The books and the counters are right."""
        assert self.run("select * from ledger.audit()") == []
        assert self.run("select * from private.recount(true)") == []


@pytest.fixture
def shop(schema: psycopg.Connection) -> Toyshop:
    return Toyshop(schema)


def test_the_page_breaks_no_rule(shop: Toyshop) -> None:
    assert [(finding.rule, finding.text) for finding in check.rules(shop.connection, check.RULES)] == []


def test_registered_listed_and_counted(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(None):
        assert shop.run("select kind, title, slug, is_listed from public.catalog_items where id = %s", toy) == [
            {"kind": "toy", "title": "Red ball", "slug": "red-ball", "is_listed": True}
        ]
        found = shop.run("select id::text from public.search_catalog('ball', kinds => '{toy}')")
        assert found == [{"id": toy}]
        count = "select published_count from public.profile_counts where user_id = %s and kind = 'toy'"
        assert shop.run(count, SELLER) == [{"published_count": 1}]
    with shop.caller(SELLER):
        shop.run("update public.toys set is_published = false where id = %s", toy)
    assert shop.run(count, SELLER) == [{"published_count": 0}]


def test_favored_commented_and_told(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(FAN):
        shop.run("insert into public.favorites (item_id) values (%s)", toy)
        shop.run("insert into public.comments (item_id, content) values (%s, 'How does it bounce?')", toy)
    [item] = shop.run("select favorites_count, comments_count from public.catalog_items where id = %s", toy)
    assert item == {"favorites_count": 1, "comments_count": 1}
    told = {row["type"]: row for row in shop.told(SELLER)}
    assert set(told) == {"favorite", "comment"}
    assert (told["favorite"]["related_type"], told["favorite"]["link_url"]) == ("toy", f"/toys/{toy}")


@pytest.mark.parametrize(("kind", "owner", "liker"), [("toy", SELLER, FAN), ("tale", FAN, SELLER)])
def test_liked_counted_and_told(shop: Toyshop, kind: str, owner: str, liker: str) -> None:
    toy = shop.toy()
    thing = toy if kind == "toy" else shop.tale(toy)
    shop.run("delete from public.notifications")
    mine = f"select likes_count, t.liked_by_me from public.{kind}s as t where id = %s"
    with shop.caller(liker):
        shop.run(f"insert into public.{kind}_likes ({kind}_id) values (%s)", thing)
        assert shop.run(mine, thing) == [{"likes_count": 1, "liked_by_me": True}]
    with shop.caller(None):
        assert shop.run(mine, thing) == [{"likes_count": 1, "liked_by_me": False}]
        assert shop.run(f"select user_id::text from public.{kind}_likes") == [{"user_id": liker}]
    assert shop.told(owner) == [{"type": "like", "related_type": kind, "link_url": f"/{kind}s/{thing}"}]
    with shop.caller(liker):
        [export] = shop.run("select public.export_my_data() as data")
        assert [row[f"{kind}_id"] for row in export["data"][f"{kind}_likes"]] == [thing]
        shop.run(f"delete from public.{kind}_likes where true")
        assert shop.run(mine, thing) == [{"likes_count": 0, "liked_by_me": False}]
    assert shop.told(owner) == []
    shop.run(f"update public.{kind}s set likes_count = 7 where id = %s", thing)
    drift = shop.run("select counter, target::text, counted, truth from private.recount()")
    assert drift == [{"counter": f"{kind}s.likes_count", "target": thing, "counted": 7, "truth": 0}]


def test_follows_its_author_and_is_tagged(shop: Toyshop) -> None:
    toy = shop.toy()
    tale = shop.tale(toy)
    tags = "select name, usage_count from public.tags"
    count = "select tales_count from public.toys where id = %s"
    shop.run("set constraints private.count_tags immediate")
    for person, statement, seen in (
        (FAN, "select", True),
        (ADMIN, "select public.hide_content('tale', %(tale)s, 'Not true')", False),
        (ADMIN, "select public.restore_content('tale', %(tale)s)", True),
        (FAN, "select public.set_profile_visibility('private')", False),
        (FAN, "select public.set_profile_visibility('public')", True),
        (ADMIN, "select public.ban_user(%(fan)s, 'spam')", False),
        (ADMIN, "select public.unban_user(%(fan)s)", True),
        (FAN, "delete from public.tales where id = %(tale)s", False),
    ):
        with shop.caller(person):
            shop.connection.execute(statement.encode(), {"tale": tale, "fan": FAN})
        assert shop.run(count, toy) == [{"tales_count": int(seen)}], statement
        assert shop.run(tags) == ([{"name": "rolls", "usage_count": 1}] if seen else []), statement
        assert shop.run("select * from private.recount()") == [], statement


def test_forgotten_when_hidden_or_deleted(shop: Toyshop) -> None:
    """Others are no longer told of it, nor of what was said there; its owner is."""
    toy = shop.toy()
    with shop.caller(FAN):
        [first] = shop.run("insert into public.comments (item_id, content) values (%s, 'Mine') returning id", toy)
    with shop.caller(ADMIN):
        reply = "insert into public.comments (item_id, parent_comment_id, content) values (%s, %s, 'Fine')"
        shop.run(reply, toy, first["id"])
    assert [row["type"] for row in shop.told(FAN)] == ["reply"]
    assert {row["type"] for row in shop.told(SELLER)} == {"comment"}
    shop.run("update public.toys set is_hidden = true where id = %s", toy)
    assert shop.told(FAN) == []
    assert {row["type"] for row in shop.told(SELLER)} == {"comment"}
    tale = shop.tale(toy)
    with shop.caller(SELLER):
        shop.run("insert into public.tale_likes (tale_id) values (%s)", tale)
    assert [row["type"] for row in shop.told(FAN)] == ["like"]
    shop.run("delete from public.tales where id = %s", tale)
    assert shop.told(FAN) == []


def test_reported_and_hidden(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(FAN):
        shop.run("select public.report_content('toy', %s, 'fraud')", toy)
    [evidence] = shop.run("select author_id::text, content ->> 'title' as title from public.report_evidence")
    assert evidence == {"author_id": SELLER, "title": "Red ball"}
    with shop.caller(ADMIN):
        shop.run("select public.hide_content('toy', %s, 'Not a toy')", toy)
        [waiting] = shop.run("select target_type, is_hidden from public.moderation_queue()")
        assert waiting == {"target_type": "toy", "is_hidden": True}
    with shop.caller(FAN):
        assert shop.run("select from public.toys where id = %s", toy) == []
    with shop.caller(SELLER):
        assert shop.run("select hidden_reason from public.toys where id = %s", toy) == [{"hidden_reason": "Not a toy"}]
    assert [row["type"] for row in shop.told(SELLER)] == ["content_hidden"]
    assert shop.run("select published_count from public.profile_counts where user_id = %s", SELLER) == [
        {"published_count": 0}
    ]
    audited = shop.run("select action, target_type from public.audit_log where target_id = %s", toy)
    assert audited == [{"action": "hide_content", "target_type": "toy"}]
    with shop.caller(ADMIN):
        shop.run("select public.restore_content('toy', %s)", toy)
    with shop.caller(None):
        assert shop.run("select is_listed from public.catalog_items where id = %s", toy) == [{"is_listed": True}]


def test_several_at_once_are_the_same_code(shop: Toyshop) -> None:
    toys = [shop.toy() for _ in range(3)]
    shop.run("select private.dispatch_hide('toy', %s::uuid[], 'All of them')", toys)
    [hidden] = shop.run(
        "select count(*) filter (where is_hidden) as n from private.dispatch_lock('toy', %s::uuid[])", toys
    )
    assert hidden == {"n": 3}
    [seen] = shop.run("select count(*) as n from private.dispatch_evidence('toy', %s::uuid[], null)", toys)
    assert seen == {"n": 3}


def test_exported_and_erased(shop: Toyshop) -> None:
    toy = shop.toy()
    tale = shop.tale(toy)
    with shop.caller(SELLER):
        [export] = shop.run("select public.export_my_data() as data")
    assert [row["id"] for row in export["data"]["toys"]] == [toy]
    shop.run("delete from auth.users where id = %s", SELLER)
    for relation in ("toys", "catalog_items", "profiles", "tales"):
        assert shop.run(f"select from public.{relation} where id in (%s, %s, %s)", toy, SELLER, tale) == []


def test_who_leaves_takes_their_likes_along(shop: Toyshop) -> None:
    toy = shop.toy()
    with shop.caller(FAN):
        shop.run("insert into public.toy_likes (toy_id) values (%s)", toy)
    shop.run("delete from auth.users where id = %s", FAN)
    assert shop.run("select likes_count from public.toys") == [{"likes_count": 0}]
    assert shop.run("select from public.toy_likes") == []
    assert shop.told(SELLER) == []


@pytest.mark.parametrize("kind", ["toy car", "order", None])
def test_no_such_kind(shop: Toyshop, kind: str | None) -> None:
    with shop.caller(FAN), pytest.raises(psycopg.Error) as refused, shop.connection.transaction():
        shop.run("select public.report_content(%s, %s, 'spam')", kind, SELLER)
    assert refused.value.diag.message_hint == "cannot_be_reported"


def product(shop: Toyshop) -> str:
    """A thing of another kind: owned once, earned at once."""
    insert = (
        "insert into public.products (seller_id, title, price_cents) values (%s, 'Ball, recorded', 900) returning id"
    )
    item = str(shop.one(insert, SELLER))
    shop.run("insert into storage.objects (bucket_id, name) values ('product-files', %s)", f"{SELLER}/ball.wav")
    shop.run("insert into public.product_files (product_id, path) values (%s, %s)", item, f"{SELLER}/ball.wav")
    shop.run("update public.products set status = 'active' where id = %s", item)
    return item


def artwork(shop: Toyshop) -> str:
    """A thing of another kind: one of a kind."""
    insert = (
        "insert into public.artworks (seller_id, title, image_url, price_cents, category, status) "
        "values (%s, 'Ball, painted', 'https://example.com/1.png', 5000, 'painting', 'published') returning id"
    )
    return str(shop.one(insert, SELLER))


def test_bought_alone(shop: Toyshop) -> None:
    """Its line says what the kind says of it; the buyer may have another, and another."""
    toy = shop.toy()
    order = shop.buy(FAN, {"item_id": toy, "details": {"name": "Ada"}})
    [line] = shop.run(
        "select title, details, total_cents, is_owned_once, is_held from public.order_items where order_id = %s", order
    )
    assert line == {
        "title": "Red ball",
        "details": {"name": "Ada"},
        "total_cents": 500,
        "is_owned_once": False,
        "is_held": False,
    }
    assert shop.orders(*shop.lines(order)) == ["made_to_order"]
    assert shop.orders(*shop.lines(shop.buy(FAN, toy))) == ["made_to_order"]
    with shop.caller(FAN):
        assert shop.one("select count(*) from public.toy_orders") == 2
    with shop.caller(HELPER):
        assert shop.one("select count(*) from public.toy_orders") == 0
    with shop.caller(None):
        assert shop.one("select purchases_count from public.catalog_items where id = %s", toy) == 2
    for code, details in (("line_not_valid", {"size": 3}), ("line_not_valid", {"voucher": "FREE"})):
        with shop.refused(code):
            shop.order(FAN, {"item_id": toy, "details": details})
    with shop.refused("own_item"):
        shop.order(SELLER, toy)
    shop.check()


@pytest.mark.parametrize("stock", [None, 3])
def test_twice_at_once(shop: Toyshop, stock: int | None) -> None:
    """Two lines of one order are two grants; the refund of one leaves the other."""
    toy = shop.toy(stock=stock)
    order = shop.buy(FAN, {"item_id": toy, "details": {"name": "Ada"}}, {"item_id": toy, "details": {"name": "Bo"}})
    first, second = shop.lines(order)
    assert shop.orders(first) == shop.orders(second) == ["made_to_order"]
    shop.refund(first)
    assert (shop.orders(first), shop.orders(second)) == (["given_up"], ["made_to_order"])
    shop.check()
    if stock:
        shop.buy(ADMIN, {"item_id": toy, "quantity": 2})
        with shop.refused("item_sold"):
            shop.order(HELPER, toy)
        shop.check()


def test_few(shop: Toyshop) -> None:
    """A stock of several: each piece is a grant, held while somebody pays, free when they give up."""
    toy = shop.toy(stock=3)
    held = shop.order(FAN, {"item_id": toy, "quantity": 2})
    with shop.refused("item_reserved"):
        shop.order(ADMIN, {"item_id": toy, "quantity": 2})
    taken = "select stock, taken, is_sold_out from public.catalog_items where id = %s"
    assert shop.run(taken, toy) == [{"stock": 3, "taken": 2, "is_sold_out": False}]
    with shop.caller(FAN):
        shop.run("select public.cancel_order(%s)", held)
    assert shop.run(taken, toy) == [{"stock": 3, "taken": 0, "is_sold_out": False}]
    order = shop.buy(ADMIN, {"item_id": toy, "quantity": 3})
    assert shop.orders(*shop.lines(order)) == ["made_to_order"] * 3
    assert shop.run(taken, toy) == [{"stock": 3, "taken": 3, "is_sold_out": True}]
    with shop.refused("item_sold"):
        shop.order(FAN, toy)
    shop.check()
    shop.refund(shop.lines(order)[0])
    assert shop.run(taken, toy) == [{"stock": 3, "taken": 0, "is_sold_out": False}]
    shop.check()


def test_in_colors(shop: Toyshop) -> None:
    """Options have a price and a stock of their own, and details as their kind wants them."""
    toy = shop.toy()
    add = (
        "insert into public.catalog_options (item_id, title, price_cents, stock, details) "
        "values (%s, %s, %s, %s, %s) returning id"
    )
    with shop.caller(SELLER):
        blue = str(shop.one(add, toy, "Blue", 700, 1, '{"color": "blue"}'))
        with shop.refused("invalid_option"):
            shop.run(add, toy, "Loud", 700, 1, '{"sound": "loud"}')
    order = shop.buy(FAN, {"item_id": toy, "option_id": blue}, toy)
    lines = shop.run(
        "select title, details, total_cents from public.order_items where order_id = %s order by line_no", order
    )
    assert lines == [
        {"title": "Red ball (Blue)", "details": {"color": "blue"}, "total_cents": 700},
        {"title": "Red ball", "details": {}, "total_cents": 500},
    ]
    with shop.refused("item_sold"):
        shop.order(ADMIN, {"item_id": toy, "option_id": blue})
    shop.refund(shop.lines(order)[0])
    shop.buy(ADMIN, {"item_id": toy, "option_id": blue})
    shop.check()


def test_for_less(shop: Toyshop) -> None:
    """What the kind takes off is not paid: commission and fee are on the rest, and a refund gives back the rest."""
    toy = shop.toy(price_cents=999)
    order = shop.buy(FAN, {"item_id": toy, "quantity": 2, "details": {"voucher": "TENTH"}})
    [line] = shop.run(
        "select i.discount_cents, i.total_cents, o.discount_cents as off, o.total_cents as paid, t.amount_total_cents "
        "as sold, t.amount_commission_cents as commission from public.order_items as i "
        "inner join public.orders as o on o.id = i.order_id "
        "inner join public.transactions as t on t.order_item_id = i.id where o.id = %s",
        order,
    )
    assert line == {
        "discount_cents": 199,
        "total_cents": 1799,
        "off": 199,
        "paid": 1799,
        "sold": 1799,
        "commission": 720,
    }
    shop.check()
    refund = shop.refund(shop.lines(order)[0], ADMIN)
    assert shop.one("select amount_cents from public.refunds where id = %s", refund) == 1799
    # What is left has to be worth charging.
    with shop.refused("amount_out_of_range"):
        shop.order(FAN, {"item_id": shop.toy(price_cents=50), "details": {"voucher": "TENTH"}})
    shop.check()


def test_in_a_batch_with_other_kinds(shop: Toyshop) -> None:
    """Settled together, in one order and in several, as if each were alone."""
    shop.connection.execute("update private.settings set holds_per_account = 10")
    toy, few, bonus = shop.toy(), shop.toy(stock=2), shop.toy()
    shop.run("update public.toys set bonus_toy_id = %s, helper_id = %s where id = %s", bonus, HELPER, toy)
    works, file = [artwork(shop) for _ in range(2)], product(shop)
    orders = [
        shop.order(FAN, toy, works[0], few, file),
        shop.order(ADMIN, works[1], {"item_id": few, "details": {"voucher": "TENTH"}}),
        shop.order(HELPER, bonus),
    ]
    with shop.caller(HELPER):
        tip = shop.one("select (public.send_tip(%s, 300)) ->> 'order_id'", SELLER)
    orders.append(tip)
    settled = shop.succeed(*(shop.start(order) for order in orders))
    assert len(settled) == len(orders)
    granted = shop.run(
        "select p.kind, count(*) as n from public.purchases as p where p.revoked_at is null group by p.kind order by 1"
    )
    assert {row["kind"]: row["n"] for row in granted} == {"artwork": 2, "product": 1, "tip_jar": 1, "toy": 5}
    assert shop.orders(*shop.lines(orders[0])) == ["made_to_order"] * 3
    assert {row["status"] for row in shop.run("select status from public.orders")} == {"completed"}
    shop.check()
    for line in shop.lines(orders[0]):
        shop.refund(line, ADMIN)
    shop.check()


def test_refunded_and_the_refund_fails(shop: Toyshop) -> None:
    toy = shop.toy(stock=2)
    order = shop.buy(FAN, {"item_id": toy, "quantity": 2})
    [line] = shop.lines(order)
    refund = shop.refund(line)
    assert shop.orders(line) == ["given_up"] * 2
    assert shop.one("select taken from public.catalog_items where id = %s", toy) == 0
    shop.check()
    shop.report_refund(refund, "failed")
    assert shop.orders(line) == ["made_to_order"] * 2
    assert shop.one("select taken from public.catalog_items where id = %s", toy) == 2
    shop.check()
    # Again, and meanwhile somebody else buys one: that one stays gone, people look.
    refund = str(shop.one("select private.refund_line(id, null, 'again', 'admin') from public.transactions"))
    shop.report_refund(refund, "succeeded")
    shop.buy(ADMIN, toy)
    shop.report_refund(refund, "failed")
    assert sorted(shop.orders(line)) == ["given_up", "made_to_order"]
    assert shop.one("select count(*) from public.audit_log where action = 'refund_failed_after_resale'") == 1
    shop.check()


def test_a_part_refunded_takes_nothing_back(shop: Toyshop) -> None:
    order = shop.buy(FAN, shop.toy())
    [line] = shop.lines(order)
    for cents, state in ((200, "made_to_order"), (300, "given_up")):
        with shop.caller(SELLER):
            refund = shop.one("select (public.refund_order_item(%s, %s)).id", line, cents)
        shop.report_refund(refund, "succeeded")
        assert shop.orders(line) == [state]
        shop.check()


def test_earned_when_it_is_made(shop: Toyshop) -> None:
    """Nothing is released before complete_lines(), whatever job runs; then once."""
    shop.run("update private.settings set earnings_hold = '0 seconds'")
    first, second = shop.lines(shop.buy(FAN, shop.toy(), shop.toy()))
    release = "select private.release_matured_earnings(100)"
    pending, available = shop.earned(SELLER)
    assert (pending > 0, available) == (True, 0)
    assert shop.one(release) == 0
    assert shop.run("select from public.transactions where release_at is not null") == []
    assert shop.one("select private.complete_lines(array[%s]::uuid[])", first) == 1
    assert shop.one("select private.complete_lines(array[%s, %s]::uuid[])", first, first) == 0
    assert (shop.orders(first), shop.orders(second)) == (["made"], ["made_to_order"])
    shop.check()
    assert (shop.one(release), shop.one(release)) == (1, 0)
    assert sum(shop.earned(SELLER)) == pending
    assert min(shop.earned(SELLER)) > 0
    shop.check()
    # Made in the end, but given back before.
    shop.refund(second, ADMIN)
    held, had = shop.earned(SELLER)
    assert held == 0
    assert shop.one("select private.complete_lines(array[%s]::uuid[])", second) == 1
    assert shop.orders(second) == ["given_up"]
    shop.one(release)
    assert shop.earned(SELLER) == (0, had)
    shop.check()


def test_a_ban_freezes_what_is_made(shop: Toyshop) -> None:
    shop.run("update private.settings set earnings_hold = '0 seconds'")
    [line] = shop.lines(shop.buy(FAN, shop.toy()))
    with shop.caller(ADMIN):
        shop.run("select public.ban_user(%s, 'fraud')", SELLER)
    shop.run("select private.complete_lines(array[%s]::uuid[])", line)
    assert shop.one("select private.release_matured_earnings(100)") == 0
    with shop.caller(ADMIN):
        shop.run("select public.unban_user(%s)", SELLER)
    assert shop.one("select private.release_matured_earnings(100)") == 1
    shop.check()


def test_a_bundle(shop: Toyshop) -> None:
    """One line grants several things, also what its buyer has already; its refund takes them all back."""
    bonus = shop.toy()
    toy = shop.toy(bonus_toy_id=bonus)
    own = shop.buy(FAN, bonus)
    order = shop.buy(FAN, {"item_id": toy, "quantity": 2})
    [line] = shop.lines(order)
    granted = (
        "select item_id::text as item, unit, price_cents from public.purchases where order_item_id = %s order by unit"
    )
    assert shop.run(granted, line) == [
        {"item": toy, "unit": 1, "price_cents": 1000},
        {"item": toy, "unit": 2, "price_cents": 1000},
        {"item": bonus, "unit": 3, "price_cents": 0},
    ]
    counts = "select purchases_count, paid_purchases_count from public.catalog_items where id = %s"
    assert shop.run(counts, bonus) == [{"purchases_count": 2, "paid_purchases_count": 1}]
    shop.check()
    shop.refund(line)
    assert shop.orders(line) == ["given_up"] * 3
    assert shop.orders(*shop.lines(own)) == ["made_to_order"]
    assert shop.run(counts, bonus) == [{"purchases_count": 1, "paid_purchases_count": 1}]
    shop.check()


@pytest.mark.parametrize("price", [50, 333, 999, 1000, 99999])
def test_two_payees(shop: Toyshop, price: int) -> None:
    """Their parts add up to what the sale leaves, whatever happens to it, and each is paid their own."""
    shop.run("update private.settings set earnings_hold = '0 seconds'")
    toy = shop.toy(price_cents=price, helper_id=HELPER)
    order = shop.buy(FAN, toy)
    [line] = shop.lines(order)
    left = shop.one("select amount_seller_cents from public.transactions where order_item_id = %s", line)
    parts = shop.earned(SELLER)[0], shop.earned(HELPER)[0]
    assert sum(parts) == left
    assert abs(parts[1] - left * 3333 / 10000) < 1
    shop.check()
    shop.run("select private.record_provider_fee(id, null, fee_estimate_cents + 7) from public.payments")
    shop.check()
    for cents in (price // 3, price // 7):
        if cents:
            with shop.caller(ADMIN):
                refund = shop.one("select (public.refund_order_item(%s, %s, 'sorry')).id", line, cents)
            shop.report_refund(refund, "succeeded")
            shop.check()
    shop.run("select private.complete_lines(array[%s]::uuid[])", line)
    shop.one("select private.release_matured_earnings(100)")
    assert (shop.earned(SELLER)[0], shop.earned(HELPER)[0]) == (0, 0)
    shop.check()
    shop.refund(line, ADMIN)
    shop.check()
    with shop.caller(HELPER):
        assert shop.one("select count(*) from public.transaction_payees") == 1
    with shop.caller(SELLER):
        assert shop.one("select count(*) from public.transaction_payees") == 2
    with shop.caller(FAN):
        assert shop.one("select count(*) from public.transaction_payees") == 0


def test_stepped_back_from_at_the_platforms_cost(shop: Toyshop) -> None:
    """Within the free window: the buyer is whole, who earns is exactly where they were, the platform bears the fee."""
    toy = shop.toy(price_cents=1000, helper_id=HELPER)
    before = shop.earned(SELLER), shop.earned(HELPER)
    [line] = shop.lines(shop.buy(FAN, toy))
    with shop.caller(ADMIN), shop.refused("sale_not_found"):
        shop.run("select public.cancel_line(%s)", line)
    with shop.caller(FAN):
        [refund] = shop.run("select id, fee_bearer, amount_cents from public.cancel_line(%s)", line)
    assert (refund["fee_bearer"], refund["amount_cents"]) == ("platform", 1000)
    assert shop.orders(line) == ["given_up"]
    shop.report_refund(refund["id"], "succeeded")
    assert (shop.earned(SELLER), shop.earned(HELPER)) == before
    assert shop.orders(line) == ["given_up"]
    fee = shop.one("select fee_estimate_cents from public.payments")
    revenue = "select balance_cents from private.account_balances() where account = 'revenue'"
    assert shop.one(revenue) == -fee
    shop.check()
    # A fee that is read later is the platform's too.
    shop.run("select private.record_provider_fee(id, null, fee_estimate_cents + 9) from public.payments")
    assert (shop.earned(SELLER), shop.earned(HELPER)) == before
    assert shop.one(revenue) == -fee - 9
    shop.check()
    [made] = shop.lines(shop.buy(FAN, toy))
    shop.run("select private.complete_lines(array[%s]::uuid[])", made)
    with shop.caller(FAN), shop.refused("cannot_cancel"):
        shop.run("select public.cancel_line(%s)", made)
    [late] = shop.lines(shop.buy(FAN, toy))
    shop.run("update public.transactions set free_until = now() where order_item_id = %s", late)
    with shop.caller(FAN), shop.refused("cannot_cancel"):
        shop.run("select public.cancel_line(%s)", late)
    shop.check()


@pytest.mark.parametrize("stock", [1, 3])
def test_an_award_is_paid(shop: Toyshop, stock: int) -> None:
    """Whoever won it buys it, however often they give up; nobody else does, and nothing of its seller matters."""
    toy = shop.toy(stock=stock)
    payable = shop.one("select private.award_toy(%s, %s, 12300)", toy, FAN)
    if stock == 1:
        with shop.refused("item_reserved"):
            shop.order(ADMIN, toy)
    for person, seen in ((FAN, 1), (SELLER, 0), (HELPER, 0)):
        with shop.caller(person):
            assert shop.one("select count(*) from public.payables") == seen
    for person in (SELLER, HELPER, ADMIN):
        with shop.refused("payable_not_open"):
            shop.pay_award(person, payable)
    with shop.caller(SELLER):
        shop.run("insert into public.user_blocks (blocked_id) values (%s)", FAN)
        shop.run("select public.set_profile_visibility('private')")
        shop.run("update public.toys set price_cents = 99900, is_published = false where id = %s", toy)
    payments = []
    for _ in range(3):
        payments.append(shop.start(shop.pay_award(FAN, payable)))
        shop.run("select private.payment_cancelled(%s)", payments[-1])
    taken = "select taken from public.catalog_items where id = %s"
    assert shop.one(taken, toy) == (1 if stock > 1 else 0)
    order = shop.pay_award(FAN, payable)
    shop.succeed(shop.start(order))
    assert shop.one("select status::text from public.payables") == "paid"
    [line] = shop.run(
        "select title, unit_price_cents, item_id::text from public.order_items where order_id = %s", order
    )
    assert line == {"title": "Red ball", "unit_price_cents": 12300, "item_id": toy}
    assert shop.orders(*shop.lines(order)) == ["made_to_order"]
    assert shop.run("select from private.holds") == []
    shop.check()
    # The form of an earlier attempt was still open somewhere: its money comes back.
    shop.succeed(payments[0])
    assert shop.run("select amount_cents, reason from public.refunds") == [
        {"amount_cents": 12300, "reason": "item_not_available"}
    ]
    assert shop.orders(*shop.lines(order)) == ["made_to_order"]
    shop.check()
    shop.refund(shop.lines(order)[0], ADMIN)
    assert shop.one("select status::text from public.payables") == "returned"
    assert shop.orders(*shop.lines(order)) == ["given_up"]
    shop.check()


@pytest.mark.parametrize("stock", [1, 3])
def test_sold_elsewhere_while_somebody_pays(shop: Toyshop, stock: int) -> None:
    """Whoever paid gets all of it back by themselves; nothing is dead, and it does not appear in the shop again."""
    toy = shop.toy(stock=stock)
    payment = shop.start(shop.order(FAN, {"item_id": toy, "quantity": min(stock, 2)}))
    shop.run("select private.sell_toy_elsewhere(%s)", toy)
    shop.check()
    shop.succeed(payment)
    assert shop.run("select amount_cents, origin::text, reason from public.refunds") == [
        {"amount_cents": 500 * min(stock, 2), "origin": "automatic", "reason": "item_not_available"}
    ]
    assert shop.run("select status::text, status_reason from public.orders") == [
        {"status": "cancelled", "status_reason": "item_not_available"}
    ]
    assert shop.run("select from public.purchases") == []
    shop.report_refund(shop.one("select id from public.refunds"), "succeeded")
    assert shop.one("select status::text from public.payments") == "refunded"
    shop.check()
    for person in (FAN, None):
        with shop.caller(person):
            assert shop.run("select from public.catalog_items where id = %s", toy) == []
    with shop.refused("item_not_available"):
        shop.order(ADMIN, toy)


def test_free_and_taken_away(shop: Toyshop) -> None:
    """What costs nothing is granted at once, and taken back without money."""
    toy = shop.toy(stock=2, price_cents=0)
    order = shop.order(FAN, toy)
    [line] = shop.lines(order)
    assert shop.orders(line) == ["made_to_order"]
    shop.run("select private.revoke_line(%s, 'removed')", line)
    assert shop.orders(line) == ["given_up"]
    assert shop.one("select taken from public.catalog_items where id = %s", toy) == 0
    shop.check()


def test_from_the_wallet(shop: Toyshop) -> None:
    """Settled within the checkout, also where two earn."""
    with shop.caller(ADMIN):
        shop.run("select public.adjust_wallet(%s, 5000, 'Welcome', 'key')", FAN)
    toy = shop.toy(stock=2, price_cents=999, helper_id=HELPER)
    order = shop.order(FAN, {"item_id": toy, "quantity": 2}, provider="wallet")
    assert shop.orders(*shop.lines(order)) == ["made_to_order"] * 2
    assert shop.earned(FAN) == (0, 5000 - 1998)
    with shop.refused("item_sold"):
        shop.order(FAN, toy, provider="wallet")
    with shop.refused("insufficient_funds"):
        shop.order(FAN, {"item_id": shop.toy(price_cents=4000)}, provider="wallet")
    shop.check()


def test_a_seller_who_leaves(shop: Toyshop) -> None:
    """What was ordered stays for its buyers, out of the shop; the rest goes."""
    sold, kept = shop.toy(helper_id=HELPER), shop.toy()
    [line] = shop.lines(shop.buy(FAN, sold))
    shop.run("delete from auth.users where id = %s", SELLER)
    assert shop.run("select id::text, is_published from public.toys where id in (%s, %s)", sold, kept) == [
        {"id": sold, "is_published": False}
    ]
    assert shop.orders(line) == ["made_to_order"]
    shop.refund(line, ADMIN)
    shop.check()

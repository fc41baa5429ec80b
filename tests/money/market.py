"""People, goods, money and provider events on one database connection, through the functions clients and workers call.

Every call acts under the role that makes it in production: members as `authenticated` with their claims, workers as
`avenue_worker`. Only what no client can do (time passing, a subscription bought) is done as the superuser.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

Json = Any
_numbers = itertools.count(1)
_numbers_lock = threading.Lock()


def number() -> int:
    """The next number of this process; unique over threads."""
    with _numbers_lock:
        return next(_numbers)


def code_of(error: psycopg.Error) -> str | None:
    """The stable code of a business error, else its SQLSTATE."""
    business = (error.sqlstate or "").startswith(("PT", "AV"))
    return error.diag.message_hint if business else error.sqlstate


@contextmanager
def refused(*codes: str) -> Iterator[None]:
    """Expects one of these business errors (or SQLSTATEs)."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    assert code_of(caught.value) in codes, f"{code_of(caught.value)}: {caught.value}"


class Market:
    """Everything one connection does. On an autocommit connection each call is a transaction of its own; inside an
    open transaction each is a savepoint, so that a refused call leaves the rest intact.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        # Where a test writes items or counters past what counts.
        self.has_made_up_counts = False
        # Ids are texts here, as they are in every client.
        connection.adapters.register_loader("uuid", TextLoader)

    # -- calls --------------------------------------------------------------------------------------------------------

    def rows(self, query: str, *values: object) -> list[dict[str, Json]]:
        """Rows of a statement run as the superuser."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def row(self, query: str, *values: object) -> dict[str, Json]:
        """The only row."""
        (row,) = self.rows(query, *values)
        return row

    def one(self, query: str, *values: object) -> Json:
        """First column of the first row, None without any."""
        rows = self.rows(query, *values)
        return next(iter(rows[0].values())) if rows else None

    def _as(self, role: str, claims: Json, query: str, values: tuple[object, ...]) -> list[dict[str, Json]]:
        with self.connection.transaction():
            self.rows(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                role,
                json.dumps(claims) if claims else "",
            )
            rows = self.rows(query, *values)
            self.rows("select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)")
        return rows

    def member(self, user: str, query: str, *values: object) -> list[dict[str, Json]]:
        """Rows of a statement run by a signed-in user."""
        return self._as("authenticated", {"sub": user, "role": "authenticated"}, query, values)

    def worker(self, query: str, *values: object) -> Json:
        """First column of the first row of a statement run by the workers; None without rows."""
        rows = self._as("avenue_worker", None, query, values)
        return next(iter(rows[0].values())) if rows else None

    def rpc(self, user: str, function: str, **arguments: object) -> Json:
        """What a public function answers to a member: a scalar, or a row as a dictionary."""
        given = ", ".join(f"{name} => %s" for name in arguments)
        values = [json.dumps(value) if isinstance(value, (dict, list)) else value for value in arguments.values()]
        (row,) = self.member(user, f"select * from public.{function}({given})", *values)
        return next(iter(row.values())) if len(row) == 1 else row

    # -- people and goods ---------------------------------------------------------------------------------------------

    def sign_up(self, tier: str = "basic", role: str = "member") -> str:
        """A new account's id; sellers of a tier pay that tier's commission."""
        user = str(uuid.uuid4())
        self.rows("insert into auth.users (id, email) values (%s, %s)", user, f"user-{user}@example.com")
        if tier != "basic":
            self.rows(
                "update public.subscriptions set plan_key = 'creator_' || %s where user_id = %s and family = 'creator'",
                tier,
                user,
            )
        if role != "member":
            self.rows("update public.profiles set role = %s::public.user_role where id = %s", role, user)
        return user

    def product(self, seller: str, price_cents: int, minimum_cents: int | None = None) -> str:
        """A product on sale, with a file; with a minimum buyers name their price."""
        (row,) = self.member(
            seller,
            "insert into public.products (title, price_cents, allow_name_your_price, minimum_price_cents) "
            "values (%s, %s, %s, %s) returning id",
            f"Product {number()}",
            price_cents,
            minimum_cents is not None,
            minimum_cents,
        )
        path = f"{seller}/{row['id']}.zip"
        self.rows("insert into storage.objects (bucket_id, name) values ('product-files', %s)", path)
        self.member(seller, "insert into public.product_files (product_id, path) values (%s, %s)", row["id"], path)
        self.member(seller, "update public.products set status = 'active' where id = %s", row["id"])
        return str(row["id"])

    def artwork(self, seller: str, price_cents: int, is_physical: bool = False) -> str:
        """A one-of-a-kind artwork on sale."""
        (row,) = self.member(
            seller,
            "insert into public.artworks (title, price_cents, category, image_url, status, is_physical) "
            "values (%s, %s, 'painting', 'https://example.com/a.jpg', 'published', %s) returning id",
            f"Artwork {number()}",
            price_cents,
            is_physical,
        )
        return str(row["id"])

    def edition(self, seller: str, price_cents: int, copies: int, **series: int) -> tuple[str, dict[str, str]]:
        """An artwork in numbered copies, with so many more in series of their own: its id and theirs."""
        (row,) = self.member(
            seller,
            "insert into public.artworks (title, price_cents, category, image_url, status, edition_size) "
            "values (%s, %s, 'photography', 'https://example.com/a.jpg', 'published', %s) returning id",
            f"Edition {number()}",
            price_cents,
            copies,
        )
        item = str(row["id"])
        return item, {
            name: self.option(seller, item, price_cents, stock=stock, is_set_aside=True, details={"series": name})
            for name, stock in series.items()
        }

    def option(self, seller: str, item: str, price_cents: int, **more: Json) -> str:
        """A variant of an item; its id."""
        columns = {"item_id": item, "title": f"Option {number()}", "price_cents": price_cents, **more}
        values = [json.dumps(value) if isinstance(value, dict) else value for value in columns.values()]
        (row,) = self.member(
            seller,
            f"insert into public.catalog_options ({', '.join(columns)}) "
            f"values ({', '.join(['%s'] * len(values))}) returning id",
            *values,
        )
        return str(row["id"])

    def license(self, seller: str, product: str, price_cents: int, type_: str) -> str:
        """A licence tier of a product; the exclusive one ends the others."""
        exclusive = type_ == "exclusive"
        return self.option(
            seller,
            product,
            price_cents,
            stock=1 if exclusive else None,
            is_exclusive=exclusive,
            details={"license_type": type_},
        )

    def make_kinds(self) -> None:
        """Goods of tests/money/goods.sql: good (earned at once), task (when it is done), pack (the platform's).

        Again does no harm, as tests that commit share a database.
        """
        if self.one("select to_regclass('public.goods')") is not None:
            return
        page = Path(__file__).with_name("goods.sql").read_text()
        for kind, proceeds, earned, free_window in (
            ("good", "seller", "at_payment", "null"),
            ("task", "seller", "at_completion", "'2 days'"),
            ("pack", "platform", "at_payment", "'2 days'"),
        ):
            words = {"kind": kind, "proceeds": proceeds, "earned": earned, "free_window": free_window}
            self.connection.execute(re.sub(r"\{(\w+)\}", lambda word, words=words: words.get(word[1], word[0]), page))

    def good(self, seller: str, price_cents: int, kind: str = "good", **more: Json) -> str:
        """One of the goods of make_kinds(), on sale; its id."""
        columns = {"seller_id": seller, "title": f"Good {number()}", "price_cents": price_cents, **more}
        values = [
            json.dumps(value) if isinstance(value, list) and name == "payees" else value
            for name, value in columns.items()
        ]
        return str(
            self.one(
                f"insert into public.{kind}s ({', '.join(columns)}) "
                f"values ({', '.join(['%s'] * len(values))}) returning id",
                *values,
            )
        )

    def platform(self) -> str:
        """Whose goods the platform's are."""
        return str(self.one("select id from public.profiles where private.is_platform(id)"))

    def agree(self, seller: str, buyer: str, cents: int, **more: Json) -> str:
        """A payable: what two people agreed on; its id."""
        terms = {
            "kind": "good",
            "subject_id": str(uuid.uuid4()),
            "seller_id": seller,
            "buyer_id": buyer,
            "amount_cents": cents,
            "title": "As agreed",
            **more,
        }
        return str(
            self.one(
                "select private.add_payable(jsonb_populate_record(null::public.payables, %s::jsonb))", json.dumps(terms)
            )
        )

    def pay_agreed(self, buyer: str, payable: str, provider: str = "stripe", country: str | None = None) -> Json:
        """checkout_payable(), sent to a country."""
        address = {"country": country} if country else None
        return self.rpc(buyer, "checkout_payable", payable_id=payable, provider=provider, shipping_address=address)

    def ban(self, user: str) -> None:
        """As an operator with database rights would."""
        self.rows("insert into public.bans (user_id, reason) values (%s, 'test')", user)

    def unban(self, user: str) -> None:
        """End of the ban."""
        self.rows("delete from public.bans where user_id = %s", user)

    # -- buying -------------------------------------------------------------------------------------------------------

    def checkout(
        self,
        buyer: str,
        *items: str | Json,
        provider: str = "stripe",
        key: str | None = None,
        country: str | None = None,
    ) -> Json:
        """checkout() of item ids or whole lines, sent to a country."""
        lines = [{"item_id": item} if isinstance(item, str) else item for item in items]
        address = {"country": country} if country else None
        return self.rpc(
            buyer, "checkout", items=lines, provider=provider, idempotency_key=key, shipping_address=address
        )

    def start(self, buyer: str, payment: str) -> str:
        """The worker opens the attempt at the provider; answers the PaymentIntent's id."""
        self.worker("select private.start_payment(%s, %s)", payment, buyer)
        intent = f"pi_{payment}"
        self.worker("select private.attach_payment_ref(%s, %s)", payment, intent)
        return intent

    def buy(self, buyer: str, *items: str | Json, charge: str | None = None) -> Json:
        """A card purchase from checkout to the settled event; checkout's answer and `charge`."""
        order = self.checkout(buyer, *items)
        self.start(buyer, order["payment_id"])
        order["charge"] = charge or f"ch_{order['payment_id']}"
        assert self.succeed(order["payment_id"], charge=order["charge"]) == "processed"
        return order

    # -- what Stripe says ---------------------------------------------------------------------------------------------

    def store(self, type_: str, payload: Json, event_id: str | None = None) -> int:
        """Puts a verified event into the inbox; its row's id. The same event id is stored once."""
        event_id = event_id or f"evt_{number()}_{uuid.uuid4().hex[:8]}"
        event = {"id": event_id, "type": type_, "created": 1790000000, "data": {"object": payload}}
        stored = [{"id": event_id, "type": type_, "created": 1790000000, "payload": event}]
        self.worker("select private.store_webhook_events('stripe', %s)", json.dumps(stored))
        return int(self.one("select id from private.webhook_events where event_id = %s", event_id))

    def process(self, event: int) -> str:
        """What became of a stored event."""
        return str(self.worker("select private.process_webhook_event(%s)", event))

    def event(self, type_: str, payload: Json, event_id: str | None = None) -> str:
        """Stores an event and processes it."""
        return self.process(self.store(type_, payload, event_id))

    def why_of(self, event: int) -> str:
        """Why a stored event was not applied."""
        return str(self.one("select last_error from private.webhook_events where id = %s", event))

    def intent(self, payment: str, **changes: Json) -> Json:
        """A PaymentIntent of a payment, as Stripe describes it."""
        row = self.row("select amount_cents, currency, provider_ref from public.payments where id = %s", payment)
        return {
            "object": "payment_intent",
            "id": row["provider_ref"] or f"pi_{payment}",
            "amount": row["amount_cents"],
            "amount_received": row["amount_cents"],
            "currency": row["currency"].lower(),
            "latest_charge": f"ch_{payment}",
            "metadata": {"payment_id": payment},
            **changes,
        }

    def succeed(self, payment: str, charge: str | None = None, event_id: str | None = None, **changes: Json) -> str:
        """payment_intent.succeeded."""
        changes = {"latest_charge": charge or f"ch_{payment}", **changes}
        return self.event("payment_intent.succeeded", self.intent(payment, **changes), event_id)

    def decline(self, payment: str, charge: str | None = None, event_id: str | None = None) -> str:
        """payment_intent.payment_failed."""
        payload = self.intent(
            payment,
            amount_received=0,
            latest_charge=charge or f"ch_{payment}",
            last_payment_error={"code": "card_declined", "decline_code": "insufficient_funds"},
        )
        return self.event("payment_intent.payment_failed", payload, event_id)

    def cancel(self, payment: str) -> str:
        """payment_intent.canceled."""
        return self.event("payment_intent.canceled", self.intent(payment, amount_received=0, latest_charge=None))

    def fee(self, payment: str, cents: int) -> None:
        """The worker read the real fee."""
        self.worker("select private.record_provider_fee(%s, null, %s)", payment, cents)

    def provider_refund(
        self,
        payment: str,
        cents: int,
        ref: str | None = None,
        status: str = "succeeded",
        ours: str | None = None,
        event_id: str | None = None,
    ) -> str:
        """refund.updated: of a refund of ours, or one made in the dashboard."""
        metadata = {"refund_id": ours, "payment_id": payment} if ours else {}
        payload = {
            "object": "refund",
            "id": ref or f"re_{ours or number()}",
            "amount": cents,
            "currency": "usd",
            "payment_intent": self.one("select provider_ref from public.payments where id = %s", payment),
            "status": status,
            "metadata": metadata,
            "reason": None,
            "failure_reason": "lost_or_stolen_card" if status == "failed" else None,
        }
        return self.event("refund.updated", payload, event_id)

    def transfer(self, payout: str, type_: str = "transfer.created", **changes: Json) -> str:
        """transfer.*: of a payout of ours."""
        row = self.row("select amount_cents, currency, destination from public.payouts where id = %s", payout)
        payload = {
            "object": "transfer",
            "id": f"tr_{payout}",
            "amount": row["amount_cents"],
            "amount_reversed": row["amount_cents"] if type_ == "transfer.reversed" else 0,
            "currency": row["currency"].lower(),
            "destination": row["destination"],
            "metadata": {"payout_id": payout},
            **changes,
        }
        return self.event(type_, payload)

    # -- giving back --------------------------------------------------------------------------------------------------

    def line(self, order: str, number: int = 1) -> str:
        """Id of an order's line."""
        return str(self.one("select id from public.order_items where order_id = %s and line_no = %s", order, number))

    def request_refund(self, user: str, line: str, cents: int | None = None, key: str | None = None) -> Json:
        """refund_order_item() by its seller or an admin; the refund's row."""
        return self.rpc(
            user, "refund_order_item", order_item_id=line, amount_cents=cents, reason="asked", idempotency_key=key
        )

    def claim_refund(self, refund: str) -> Json:
        """What the worker sends to the provider; None when there is nothing to send."""
        return self.worker("select private.claim_refund(%s)", refund)

    def refund(self, user: str, line: str, cents: int | None = None) -> Json:
        """A refund that the provider makes at once; its row."""
        refund = self.request_refund(user, line, cents)
        assert self.claim_refund(refund["id"]) is not None
        self.worker("select private.record_refund(%s, %s, 'succeeded')", refund["id"], f"re_{refund['id']}")
        return self.row("select * from public.refunds where id = %s", refund["id"])

    # -- time and payouts ---------------------------------------------------------------------------------------------

    def mature(self) -> None:
        """Seven days pass for every sale that is done."""
        self.rows(
            "update public.transactions set release_at = now() "
            "where release_journal_id is null and completed_at is not null"
        )

    def release(self) -> int:
        """The job runs until nothing is left; how many sales it released."""
        total = 0
        while done := self.worker("select private.release_matured_earnings(100)"):
            total += done
        return total

    def onboard(self, user: str, account: str | None = None) -> str:
        """The seller has a verified Stripe account; its id."""
        account = account or f"acct_{user}"
        self.worker("select private.set_payout_destination(%s, %s)", user, account)
        self.worker("select private.record_account_status(%s, 'enabled')", account)
        return account

    def fund(self, user: str, cents: int) -> None:
        """Goodwill: available money without a sale."""
        admin = self.sign_up(role="admin")
        self.rpc(
            admin,
            "adjust_wallet",
            user_id=user,
            amount_cents=cents,
            reason="goodwill",
            idempotency_key=uuid.uuid4().hex,
        )

    def request_payout(self, user: str, cents: int) -> str:
        """request_payout(); its id."""
        return str(self.rpc(user, "request_payout", amount_cents=cents)["id"])

    def claim(self, payout: str) -> Json:
        """claim_payout()."""
        return self.worker("select private.claim_payout(%s)", payout)

    def complete(self, payout: str, cents: int | None = None, ref: str | None = None) -> None:
        """complete_payout() as the job calls it with the provider's answer."""
        cents = cents if cents is not None else self.one("select amount_cents from public.payouts where id=%s", payout)
        self.worker("select private.complete_payout(%s, %s, %s)", payout, ref or f"tr_{payout}", cents)

    def fail(self, payout: str, reason: str = "account_closed") -> None:
        """fail_payout()."""
        self.worker("select private.fail_payout(%s, %s)", payout, reason)

    # -- what was promised --------------------------------------------------------------------------------------------

    def finish(self, *lines: str) -> int:
        """What these lines promised is done; how many were not yet."""
        return int(self.one("select private.complete_lines(%s::uuid[])", list(lines)))

    def cancel_line(self, buyer: str, line: str) -> Json:
        """cancel_line() by its buyer; the refund's row."""
        return self.rpc(buyer, "cancel_line", order_item_id=line)

    def refund_part(self, line: str, cents: int | None, bearer: str = "seller") -> str:
        """A refund at somebody's cost, as the acts ask for it; its id."""
        return str(
            self.one(
                "select private.refund_line(t.id, %s, 'asked', 'automatic', %s) "
                "from public.transactions as t where t.order_item_id = %s",
                cents,
                bearer,
                line,
            )
        )

    def refund_arrives(self, refund: str, status: str = "succeeded") -> None:
        """The provider made it, or failed later."""
        self.worker("select private.claim_refund(%s)", refund)
        self.worker("select private.record_refund(%s, %s, %s)", refund, f"re_{refund}", status)

    # -- what is so ---------------------------------------------------------------------------------------------------

    def wallet(self, user: str) -> tuple[int, int, int]:
        """(available, pending, debt) in cents."""
        row = self.row(
            "select balance_available_cents as a, balance_pending_cents as p, debt_cents as d "
            "from public.wallets where user_id = %s",
            user,
        )
        return row["a"], row["p"], row["d"]

    def balances(self) -> dict[str, int]:
        """The books on one page: account → cents, without empty ones."""
        rows = self.rows("select account, balance_cents from private.account_balances() where balance_cents <> 0")
        return {row["account"]: row["balance_cents"] for row in rows}

    def owns(self, user: str, item: str) -> bool:
        """Whether the user may download it."""
        return bool(self.one("select private.owns_item(%s, %s)", user, item))

    def listed(self, item: str) -> bool:
        """Whether it is on sale."""
        return bool(self.one("select is_listed from public.catalog_items where id = %s", item))

    def status(self, table: str, id_: str) -> str:
        """State of an order, payment, refund, payout or transaction."""
        return str(self.one(f"select status from public.{table} where id = %s", id_))

    def sales(self, order: str) -> list[dict[str, Json]]:
        """The transactions of an order, by line."""
        return self.rows(
            "select t.* from public.transactions as t join public.order_items as i on i.id = t.order_item_id "
            "where i.order_id = %s order by i.line_no",
            order,
        )

    def split(self, order: str, line: int = 1) -> tuple[int, int, int]:
        """(fee, commission, seller) of one line, cents."""
        sale = self.sales(order)[line - 1]
        return sale["amount_fees_cents"], sale["amount_commission_cents"], sale["amount_seller_cents"]

    def payees(self, order: str, line: int = 1) -> dict[str, tuple[int, int, int]]:
        """Who earns a line: (part, of it held, given back), cents."""
        rows = self.rows(
            "select * from public.transaction_payees where transaction_id = %s", self.sales(order)[line - 1]["id"]
        )
        return {row["payee_id"]: (row["cents"], row["pending_cents"], row["refunded_cents"]) for row in rows}

    def numbers(self, item: str, option: str | None = None) -> list[int]:
        """Numbers of the copies that are somebody's, ascending."""
        rows = self.rows(
            "select number from public.purchases where item_id = %s and option_id is not distinct from %s "
            "and revoked_at is null order by number",
            item,
            option,
        )
        return [row["number"] for row in rows]

    def check(self) -> None:
        """The books are right and add up to nothing, nobody's balance is negative, and every counter is right."""
        assert self.rows("select * from ledger.audit()") == []
        assert self.has_made_up_counts or self.rows("select * from private.recount()") == []
        assert self.one("select coalesce(sum(amount_cents), 0) from ledger.entries") == 0

"""Offers and service orders on the money market: what their two sides, admins and time do."""

from __future__ import annotations

from dataclasses import dataclass

from tests.market.service_market import line, service
from tests.money.market import Json, Market, number

CLOCKS = "due_at", "auto_approve_at", "cancel_after", "revise_until", "delivered_at", "requirements_at", "created_at"


@dataclass(frozen=True)
class Sold:
    """A service order with its two sides."""

    market: Market
    seller: str
    buyer: str
    id: str
    order: str
    payment: str | None

    def row(self) -> dict[str, Json]:
        """The order as it is stored."""
        return self.market.row("select * from public.service_orders where id = %s", self.id)

    @property
    def status(self) -> str:
        """Its state as it is at this moment."""
        return str(self.market.one("select effective_status(o) from public.service_orders as o where id = %s", self.id))

    def side(self, side: str) -> str:
        """Whose the act is."""
        return self.buyer if side == "buyer" else self.seller

    def by(self, side: str, function: str, **arguments: Json) -> Json:
        """An act on the order."""
        return self.market.rpc(self.side(side), function, service_order_id=self.id, **arguments)

    def deliver(self, notes: str = "Here it is.") -> Json:
        """By its seller."""
        return self.by("seller", "deliver_service_order", notes=notes)

    def revise(self) -> Json:
        """By its buyer."""
        return self.by("buyer", "request_revision", note="Louder, please.")

    def approve(self) -> Json:
        """By its buyer."""
        return self.by("buyer", "approve_service_order")

    def cancel(self, side: str) -> Json:
        """By one of the two."""
        return self.by(side, "cancel_service_order", reason="It does not fit.")

    def dispute(self, side: str = "buyer") -> Json:
        """By one of the two."""
        return self.by(side, "open_dispute", reason="Not what was agreed.")

    def propose(self, side: str, cents: int) -> str:
        """An end with so much back; the proposal's id."""
        return str(self.by(side, "propose_cancellation", refund_cents=cents, reason="Agreed settlement")["id"])

    def answer(self, side: str, request: str, accept: bool = True) -> Json:
        """The other side's."""
        return self.market.rpc(self.side(side), "answer_resolution", request_id=request, accept=accept)

    def pass_time(self, hours: float) -> None:
        """So many hours ago everything of it was."""
        columns = ", ".join(f"{name} = {name} - %s * interval '1 hour'" for name in CLOCKS)
        self.market.rows(f"update public.service_orders set {columns} where id = %s", *[hours] * len(CLOCKS), self.id)
        self.market.rows(
            "update public.resolution_requests set answer_by = answer_by - %s * interval '1 hour' "
            "where service_order_id = %s",
            hours,
            self.id,
        )
        self.market.rows(
            "update public.service_deliveries set delivered_at = delivered_at - %s * interval '1 hour' "
            "where service_order_id = %s",
            hours,
            self.id,
        )

    def events(self) -> list[str]:
        """What happened, in its order."""
        rows = self.market.rows(
            "select act from public.service_order_events where service_order_id = %s order by id", self.id
        )
        return [row["act"] for row in rows]

    def refunds(self) -> list[dict[str, Json]]:
        """Refunds of everything paid for it."""
        return self.market.rows(
            "select r.* from public.refunds as r where r.order_item_id = any (private.service_order_lines(%s)) "
            "order by r.created_at, r.amount_cents desc",
            self.id,
        )

    def refunds_arrive(self, status: str = "succeeded") -> None:
        """The provider made them all."""
        for refund in self.refunds():
            self.market.refund_arrives(refund["id"], status)

    def sale(self) -> dict[str, Json]:
        """The sale of its own line."""
        return self.market.row(
            "select t.* from public.transactions as t join public.service_orders as o "
            "on o.order_item_id = t.order_item_id where o.id = %s",
            self.id,
        )


def conversation(market: Market, one: str, other: str) -> str:
    """The two talk; the conversation's id."""
    return str(market.rpc(one, "start_conversation", user_ids=f"{{{other}}}")["id"])


TERMS: dict[str, Json] = {
    "title": "A mix",
    "terms": "Two songs, mixed.",
    "price_cents": 10000,
    "delivery_days": 5,
    "revisions": 2,
}


def offer(market: Market, seller: str, buyer: str, hours: float = 48, **terms: Json) -> dict[str, Json]:
    """An offer that stands for so many hours; its row."""
    until = market.one("select (clock_timestamp() + %s * interval '1 hour')::text", hours)
    made: dict[str, Json] = market.rpc(
        seller,
        "send_offer",
        conversation_id=conversation(market, buyer, seller),
        valid_until=until,
        **{**TERMS, **terms},
    )
    return made


def expire_offer(market: Market, offer_id: str, hours: float) -> None:
    """So many hours pass for it and for what is to be paid."""
    market.rows(
        "update public.offers set valid_until = valid_until - %s * interval '1 hour' where id = %s", hours, offer_id
    )
    market.rows(
        "update public.payables set pay_by = pay_by - %s * interval '1 hour' where subject_id = %s", hours, offer_id
    )


def pay(market: Market, buyer: str, payable: str, provider: str = "stripe") -> Json:
    """What was agreed, from checkout to the settled event; checkout's answer."""
    order = market.pay_agreed(buyer, payable, provider)
    if provider == "stripe":
        market.start(buyer, order["payment_id"])
        assert market.succeed(order["payment_id"]) == "processed"
    return order


def sold_of(market: Market, order: Json, line_no: int = 1) -> Sold:
    """The service order of a line."""
    row = market.row(
        "select o.id, o.seller_id, o.buyer_id from public.service_orders as o "
        "join public.order_items as i on i.id = o.order_item_id where i.order_id = %s and i.line_no = %s",
        order["order_id"],
        line_no,
    )
    return Sold(market, row["seller_id"], row["buyer_id"], row["id"], order["order_id"], order["payment_id"])


def by_offer(market: Market, provider: str = "stripe", tier: str = "standard", **terms: Json) -> Sold:
    """A service order that began as an offer."""
    seller, buyer = market.sign_up(tier), market.sign_up()
    made = offer(market, seller, buyer, **terms)
    agreed = market.rpc(buyer, "accept_offer", offer_id=made["id"], version=1)
    if provider == "wallet":
        market.fund(buyer, TERMS["price_cents"] if "price_cents" not in terms else terms["price_cents"])
    return sold_of(market, pay(market, buyer, agreed["payable_id"], provider))


def by_service(market: Market, cents: int = 10000, **more: Json) -> Sold:
    """A service order from the shop."""
    seller, buyer = market.sign_up("standard"), market.sign_up()
    item, (package,) = service(market, seller, cents, **more)
    wanted = line(item, package)
    return sold_of(market, market.buy(buyer, wanted) if cents else market.checkout(buyer, wanted))


def extra(sold: Sold, cents: int = 2000, days: int = 3) -> dict[str, Json]:
    """Offered by its seller; its row."""
    made: dict[str, Json] = sold.by(
        "seller", "offer_order_extra", title=f"Extra {number()}", price_cents=cents, delivery_days=days
    )
    return made


def upload(market: Market, user: str, order: str, name: str) -> str:
    """A file stored for an order; its path."""
    path = f"{user}/{order}/{name}"
    market.rows(
        "insert into storage.objects (bucket_id, name, owner_id, metadata) "
        'values (\'deliveries\', %s, %s, \'{"mimetype": "audio/wav", "size": 100}\')',
        path,
        user,
    )
    return path

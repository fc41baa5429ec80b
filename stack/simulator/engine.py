"""What the provider does: one unit of work per request or command, and the API's verbs as functions."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from stack.simulator.data import (
    ACCOUNT_STATES,
    API_VERSION,
    CURRENCIES,
    INTENT_VERBS,
    MAX_AMOUNT,
    METHODS,
    MIN_AMOUNT,
    NO_LIVEMODE,
    OUTCOMES,
    PAYMENT_MOVES,
    PREFIXES,
    PUBLIC_FIELDS,
    REFUND_MOVES,
    SESSION_SECONDS,
    TEMPLATES,
    Json,
    Method,
)
from stack.simulator.store import Store, public
from stack.simulator.wire import StripeError, check, doc_url, expand, listing, merge_metadata, money


class Config(BaseModel):
    """Everything that can be set while the simulator runs (`POST /_sim/config`). Survives a restart."""

    model_config = ConfigDict(extra="forbid")

    api_key: str | None = Field(None, description="the one secret key accepted; none = any sk_test_…")
    fee_bps: int = Field(290, ge=0, description="the provider's real fee in basis points, rounded half up")
    fee_fixed_cents: int = Field(30, ge=0, description="and its fixed part")
    float_cents: int = Field(0, ge=0, description="USD balance after a start from nothing and after a reset")
    available_delay_seconds: int = Field(0, ge=0, description="until a charge's money can be transferred")
    defer_fees: bool = Field(False, description="charges get their balance transaction only on command")
    refund_status: Literal["succeeded", "pending", "requires_action"] = Field("succeeded", description="new refunds")
    idempotency_seconds: float = Field(86_400, ge=0, description="how long an Idempotency-Key is remembered")
    webhook_url: str | None = Field(None, pattern="^https?://", description="where events go; none = they are held")
    webhook_secrets: list[str] = Field([], description="each signs every delivery, as during a rotation")
    hold: bool = Field(False, description="collect events without delivering")
    copies: int = Field(1, ge=1, le=50, description="deliveries per event")
    reorder: bool = Field(False, description="random delays of up to 0.3 s, so that events overtake each other")
    delay_seconds: tuple[float, float] = Field((0, 0), description="least and most delay before a delivery")
    drop_rate: float = Field(0, ge=0, le=1, description="share of deliveries lost for good")
    seed: int | None = Field(None, description="of the random delays, orders and losses")
    concurrency: int = Field(8, ge=1, le=100, description="deliveries at the same time; 1 keeps the order")
    timeout_seconds: float = Field(10, gt=0, description="for an answer to a delivery")
    retry_seconds: float = Field(0.5, gt=0, description="before the second attempt, then doubling up to 30 s")
    retry_limit: int = Field(12, ge=1, description="attempts before a delivery is given up")


class Answer(NamedTuple):
    """An answer that is not 200 although its work counts: a decline."""

    status: int
    body: Json


class Work:
    """One request or command: makes and changes objects, emits events. Runs inside one Store transaction."""

    def __init__(
        self,
        store: Store,
        config: Config,
        queue: Callable[[str], list[int]],
        *,
        request_id: str | None = None,
        key: str | None = None,
        base_url: str = "",
        browser: bool = False,
    ) -> None:
        self.store, self.config, self.base_url, self.browser = store, config, base_url, browser
        self.now = int(time.time())
        self.deliveries: list[int] = []
        self._queue = queue
        self._request = {"id": request_id, "idempotency_key": key}

    def create(self, kind: str, **fields: Any) -> Json:
        """A new object from its template; None leaves the template's value."""
        item: Json = {"id": PREFIXES[kind] + uuid4().hex[:24], "object": kind, "created": self.now}
        item |= {} if kind in NO_LIVEMODE else {"livemode": False}
        item |= copy.deepcopy(TEMPLATES[kind]) | {name: value for name, value in fields.items() if value is not None}
        if "metadata" in item:
            item["metadata"] = merge_metadata({}, item["metadata"])
        self.store.save(item)
        return item

    def change(self, item: Json, **fields: Any) -> Json:
        """Update an object; gives the values that differ, as they were (an event's previous_attributes)."""
        previous = {name: item.get(name) for name, value in fields.items() if item.get(name) != value}
        item |= fields
        self.store.save(item)
        return {name: value for name, value in previous.items() if not name.startswith("_")}

    def emit(self, event_type: str, item: Json, previous: Json | None = None) -> None:
        """Record an event with the object as it is now and queue its delivery."""
        event: Json = {
            "id": PREFIXES["event"] + uuid4().hex[:24],
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": {"object": public(item)} | ({"previous_attributes": previous} if previous else {}),
            "livemode": False,
            "pending_webhooks": 1,
            "request": self._request,
            "type": event_type,
        }
        if item["object"] == "account":
            event["account"] = item["id"]
        self.store.save(event)
        self.deliveries += self._queue(event["id"])

    def need(self, kind: str, object_id: str, param: str | None = None) -> Json:
        """An object by id, or Stripe's error: 404 for one in the path, 400 for one in a parameter."""
        item = self.store.find(object_id)
        if item and item["object"] == kind:
            return item
        if kind == "account" and param is None:
            raise StripeError("account_invalid", id=object_id)
        raise StripeError("missing_param" if param else "missing", param=param, what=param or kind, id=object_id)

    def book(self, kind: str, source: Json, amount: int, fee: int = 0, delay: int = 0) -> str:
        """Move the platform's balance by amount − fee (cents, signed); gives the balance transaction's id."""
        currency = source["currency"]
        details = [{"amount": fee, "application": None, "currency": currency, "description": "Stripe processing fees",
                    "type": "stripe_fee"}]  # fmt: skip
        item = self.create(
            "balance_transaction", type=kind, reporting_category=kind, source=source["id"], currency=currency,
            amount=amount, fee=fee, net=amount - fee, fee_details=details if fee else [],
            available_on=self.now + delay, description=source.get("description"),
        )  # fmt: skip
        return str(item["id"])


# Payments


def _check_amount(amount: int, currency: str) -> None:
    if currency not in CURRENCIES:
        raise StripeError("invalid_currency", value=currency)
    if amount < MIN_AMOUNT:
        raise StripeError("amount_too_small", currency=currency)
    if amount > MAX_AMOUNT:
        raise StripeError("amount_too_large")


def _check_status(intent: Json, verb: str) -> None:
    done, allowed = INTENT_VERBS[verb]
    if intent["status"] not in allowed:
        texts = {"verb": verb, "done": done, "status": intent["status"], "allowed": ", ".join(allowed)}
        raise StripeError("intent_state", extra={"payment_intent": public(intent)}, **texts)


def create_intent(work: Work, given: Json) -> Json | Answer:
    """POST /v1/payment_intents."""
    confirm, method = given.pop("confirm", False), given.pop("payment_method", None)
    return_url = given.pop("return_url", None)
    given["currency"] = given["currency"].lower()
    _check_amount(given["amount"], given["currency"])
    if given.get("customer"):
        work.need("customer", given["customer"], "customer")
    automatic = given.get("automatic_payment_methods")
    if automatic or not given.get("payment_method_types"):
        given["automatic_payment_methods"] = {"allow_redirects": "always", **(automatic or {}), "enabled": True}
        given["payment_method_types"] = ["card", "us_bank_account", "link"]
    intent = work.create("payment_intent", **given)
    work.change(intent, client_secret=f"{intent['id']}_secret_{uuid4().hex[:25]}")
    work.emit("payment_intent.created", intent)
    if method:
        work.change(intent, payment_method=_method(work, method)["id"], status="requires_confirmation")
    if confirm:
        return confirm_intent(work, {"return_url": return_url} if return_url else {}, intent["id"])
    return intent


def update_intent(work: Work, given: Json, intent_id: str) -> Json:
    """POST /v1/payment_intents/{id}."""
    intent = work.need("payment_intent", intent_id)
    if set(given) - {"metadata", "description"}:
        _check_status(intent, "update")
    amount, currency = ({**intent, **given}[name] for name in ("amount", "currency"))
    _check_amount(amount, currency.lower())
    if given.get("payment_method"):
        given |= {"payment_method": _method(work, given["payment_method"])["id"], "status": "requires_confirmation"}
    if "metadata" in given:
        given["metadata"] = merge_metadata(intent["metadata"], given["metadata"])
    work.change(intent, **given)
    return intent


def confirm_intent(work: Work, given: Json, intent_id: str) -> Json | Answer:
    """POST /v1/payment_intents/{id}/confirm, by the server or (with the client secret) by the customer's browser."""
    intent = _with_secret(work, given, intent_id)
    _check_status(intent, "confirm")
    name = given.get("payment_method") or intent["payment_method"]
    if not name:
        raise StripeError("intent_no_method", extra={"payment_intent": public(intent)})
    method = _method(work, name)
    work.change(intent, payment_method=method["id"], _return_url=given.get("return_url"))
    behaviour = METHODS[method["_test"]]
    error = apply_outcome(work, intent, behaviour.outcome, behaviour)
    return Answer(402, {"error": error | {"payment_intent": _shown(work, intent)}}) if error else _shown(work, intent)


def retrieve_intent(work: Work, given: Json, intent_id: str) -> Json:
    """GET /v1/payment_intents/{id}."""
    return _shown(work, _with_secret(work, given, intent_id))


def cancel_intent(work: Work, given: Json, intent_id: str) -> Json:
    """POST /v1/payment_intents/{id}/cancel."""
    intent = work.need("payment_intent", intent_id)
    _check_status(intent, "cancel")
    if intent.get("_session"):
        raise StripeError("intent_of_session")
    return _cancel(work, intent, given.get("cancellation_reason"))


def _cancel(work: Work, intent: Json, reason: str | None) -> Json:
    work.change(intent, status="canceled", canceled_at=work.now, cancellation_reason=reason, next_action=None)
    work.emit("payment_intent.canceled", intent)
    return intent


def _with_secret(work: Work, given: Json, intent_id: str) -> Json:
    intent = work.need("payment_intent", intent_id)
    if given.get("client_secret", "" if work.browser else intent["client_secret"]) != intent["client_secret"]:
        raise StripeError("client_secret")
    return intent


def _shown(work: Work, intent: Json) -> Json:
    return {name: intent[name] for name in intent if name in PUBLIC_FIELDS} if work.browser else public(intent)


def _method(work: Work, name: str) -> Json:
    if name not in METHODS:
        return work.need("payment_method", name, "payment_method")
    return work.create("payment_method", _test=name, type=METHODS[name].type, **_method_details(METHODS[name]))


def _method_details(method: Method) -> Json:
    if method.type != "card":
        bank = {"account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK",
                "fingerprint": "simulated", "last4": method.last4, "routing_number": "110000000"}  # fmt: skip
        return {method.type: bank}
    checks = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}
    card = {"brand": method.brand, "checks": checks, "country": "US", "exp_month": 12, "exp_year": 2034,
            "fingerprint": "simulated", "funding": "credit", "last4": method.last4, "network": method.brand,
            "three_d_secure": None, "wallet": None}  # fmt: skip
    return {"card": card}


def apply_outcome(work: Work, intent: Json, name: str, why: Method) -> Json | None:
    """Bring a payment attempt to a result; gives the card error when it failed. `why` names the decline."""
    outcome, before = OUTCOMES[name], intent["status"]
    charge = work.need("charge", intent["latest_charge"]) if before in ("processing", "succeeded") else None
    if not charge and outcome.charge and (name, before) != ("failed", "requires_action"):
        shared = {key: intent[key] for key in ("amount", "currency", "customer", "description", "metadata",
                                               "payment_method", "transfer_group", "receipt_email")}  # fmt: skip
        details = {"type": why.type, **_method_details(why)}
        charge = work.create("charge", payment_intent=intent["id"], payment_method_details=details, **shared)
        work.change(charge, receipt_url=f"{work.base_url}/receipts/{charge['id']}", _refund=why.refund)
    changes: Json = {"status": outcome.intent, "next_action": None, "last_payment_error": None}
    if charge:
        work.change(charge, **_charge_fields(charge, outcome.charge or "", why))
        changes |= {"latest_charge": charge["id"], "amount_received": intent["amount"] if charge["paid"] else 0}
    if name == "failed":
        method = work.need("payment_method", intent["payment_method"])
        error: Json = {"code": why.code, "decline_code": why.decline_code, "doc_url": doc_url(why.code),
                       "message": why.message, "payment_method": public(method), "type": "card_error"}  # fmt: skip
        error = {key: value for key, value in error.items() if value} | ({"charge": charge["id"]} if charge else {})
        changes |= {"last_payment_error": error, "payment_method": None}
    elif name == "requires_action":
        changes["next_action"] = _next_action(work, intent)
    work.change(intent, **changes)
    if before == "succeeded" and charge and charge["balance_transaction"]:
        # Declined at settlement: what the charge brought, and its fee, is taken back; refunds made stay made.
        booked = work.need("balance_transaction", charge["balance_transaction"])
        left = charge["amount"] - charge["amount_refunded"]
        work.change(
            charge, failure_balance_transaction=work.book("payment_failure_refund", charge, -left, -booked["fee"])
        )
    for event in outcome.events:
        if event.startswith("payment_intent."):
            work.emit(event, intent)
        elif charge:
            work.emit(event, charge)
    if name == "succeeded" and charge and not work.config.defer_fees:
        settle_charge(work, charge)
    if intent.get("_session") and before != "succeeded":
        _follow(work, work.need("checkout.session", intent["_session"]), intent)
    failure: Json | None = intent["last_payment_error"]
    return failure


def _charge_fields(charge: Json, status: str, why: Method) -> Json:
    paid, failed = status == "succeeded", status == "failed"
    level = {"advice_code": None, "network_advice_code": None, "network_decline_code": None, "risk_level": "normal",
             "risk_score": 8, "reason": None}  # fmt: skip
    outcome = {"network_status": "approved_by_network", "type": "authorized", "seller_message": "Payment complete."}
    if failed:
        outcome = {"network_status": "declined_by_network", "type": "issuer_declined",
                   "reason": why.decline_code or why.code, "seller_message": why.message}  # fmt: skip
    return {
        "status": status, "paid": paid, "captured": not failed, "amount_captured": 0 if failed else charge["amount"],
        "failure_code": why.code if failed else None, "failure_message": why.message if failed else None,
        "outcome": None if status == "pending" else level | outcome,
    }  # fmt: skip


def _next_action(work: Work, intent: Json) -> Json:
    if intent.get("_return_url"):
        url = f"{work.base_url}/authenticate/{intent['client_secret']}"
        return {"type": "redirect_to_url", "redirect_to_url": {"return_url": intent["_return_url"], "url": url}}
    return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}


def settle_charge(work: Work, charge: Json) -> None:
    """Book a succeeded charge and its fee; as with real asynchronous capture the charge tells by charge.updated."""
    fee = (charge["amount"] * work.config.fee_bps + 5_000) // 10_000 + work.config.fee_fixed_cents
    booked = work.book("charge", charge, charge["amount"], fee, work.config.available_delay_seconds)
    work.emit("charge.updated", charge, work.change(charge, balance_transaction=booked))


# Checkout Sessions


def create_session(work: Work, given: Json) -> Json:
    """POST /v1/checkout/sessions."""
    if given["mode"] != "payment":
        raise StripeError("session_mode")
    total, currency, items = 0, "", given.pop("line_items")
    for number, item in enumerate(items):
        name = f"line_items[{number}]"
        item = check("price_data:map! quantity:int!", item if isinstance(item, dict) else {name: item})
        price = check("currency! unit_amount:int! product_data:map!", item["price_data"])
        check("name! description:text images:list metadata:map", price["product_data"])
        currency = price["currency"].lower()
        total += price["unit_amount"] * item["quantity"]
    _check_amount(total, currency)
    for name in ("success_url", "cancel_url"):
        if name in given and not re.match(r"https?://[^/\s]+", given[name]):
            raise StripeError("url_invalid", param=name)
    least, most = (work.now + seconds for seconds in SESSION_SECONDS)
    if not least <= given.setdefault("expires_at", most) <= most:
        raise StripeError("session_expires")
    about = check("description:text metadata:map receipt_email", given.pop("payment_intent_data", {}))
    session = work.create("checkout.session", **given, currency=currency, amount_subtotal=total, amount_total=total)
    work.change(session, url=f"{work.base_url}/c/pay/{session['id']}", _intent=about)
    return session


def expire_session(work: Work, given: Json, session_id: str) -> Json:
    """POST /v1/checkout/sessions/{id}/expire; its PaymentIntent, if there is one, goes with it."""
    session = work.need("checkout.session", session_id)
    if session["status"] != "open":
        raise StripeError("session_state", status=session["status"])
    work.change(session, status="expired", url=None)
    if session["payment_intent"]:
        intent = work.need("payment_intent", session["payment_intent"])
        if intent["status"] != "canceled":
            _cancel(work, intent, "automatic")
    work.emit("checkout.session.expired", session)
    return session


def pay_session(work: Work, session: Json, method: str) -> Json:
    """The buyer fills in the session's page; gives the session, which stays open when the card is declined."""
    if session["status"] != "open" or session["expires_at"] <= work.now:
        raise ValueError(f"{session['id']} is {session['status']}, nobody can pay it")
    if session["payment_intent"]:
        intent = work.need("payment_intent", session["payment_intent"])
    else:
        intent = work.create(
            "payment_intent", amount=session["amount_total"], currency=session["currency"], **session["_intent"],
            payment_method_types=session["payment_method_types"],
        )  # fmt: skip
        work.change(intent, client_secret=f"{intent['id']}_secret_{uuid4().hex[:25]}", _session=session["id"])
        work.change(session, payment_intent=intent["id"])
        work.emit("payment_intent.created", intent)
    confirm_intent(work, {"payment_method": method, "return_url": session["success_url"]}, intent["id"])
    return work.need("checkout.session", session["id"])


def _follow(work: Work, session: Json, intent: Json) -> None:
    """Let a session follow its PaymentIntent, and tell so."""
    paid = intent["status"] == "succeeded"
    if session["status"] == "open" and (paid or intent["status"] == "processing"):
        work.change(session, status="complete", url=None, payment_status="paid" if paid else "unpaid")
        work.emit("checkout.session.completed", session)
    elif session["status"] == "complete" and paid:
        work.change(session, payment_status="paid")
        work.emit("checkout.session.async_payment_succeeded", session)
    elif session["status"] == "complete" and intent["status"] == "requires_payment_method":
        work.emit("checkout.session.async_payment_failed", session)


# Refunds


def create_refund(work: Work, given: Json) -> Json:
    """POST /v1/refunds."""
    charge = _refundable(work, given.pop("payment_intent", None), given.pop("charge", None))
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise StripeError("charge_already_refunded", id=charge["id"])
    amount = given.pop("amount", left)
    if amount < 1:
        raise StripeError("invalid_positive_integer")
    if amount > left:
        raise StripeError("refund_too_large", amount=money(amount), left=money(left))
    status = "pending" if charge["_refund"] == "pending" else work.config.refund_status
    shared = {key: charge[key] for key in ("currency", "customer", "payment_intent", "payment_method")}
    refund = work.create("refund", charge=charge["id"], amount=amount, status=status, **shared, **given)
    if status == "succeeded":
        work.change(refund, balance_transaction=work.book("refund", refund, -amount))
    else:
        work.change(refund, pending_reason="processing")
    refunded = charge["amount_refunded"] + amount
    work.emit("refund.created", refund)
    previous = work.change(charge, amount_refunded=refunded, refunded=refunded == charge["amount"])
    work.emit("charge.refunded", charge, previous)
    answer = dict(refund)
    if charge["_refund"] == "failed":
        move_refund(work, refund, "failed")
    return answer


def _refundable(work: Work, intent_id: str | None, charge_id: str | None) -> Json:
    if not (intent_id or charge_id):
        raise StripeError("one_of_charge_intent")
    if intent_id:
        intent = work.need("payment_intent", intent_id, "payment_intent")
        if intent["status"] != "succeeded":
            raise StripeError("refund_no_charge", id=intent_id)
        charge_id = intent["latest_charge"]
    charge = work.need("charge", charge_id or "", "charge")
    if charge["status"] != "succeeded":
        raise StripeError("charge_not_paid", id=charge["id"])
    return charge


def cancel_refund(work: Work, given: Json, refund_id: str) -> Json:
    """POST /v1/refunds/{id}/cancel."""
    refund = work.need("refund", refund_id)
    if "canceled" not in REFUND_MOVES.get(refund["status"], set()):
        raise StripeError("refund_state", id=refund_id, status=refund["status"])
    move_refund(work, refund, "canceled")
    return refund


def move_refund(work: Work, refund: Json, to: str, reason: str = "lost_or_stolen_card") -> None:
    """Bring a refund to its next status; a failed or cancelled one gives the money back."""
    changes: Json = {"status": to, "pending_reason": None}
    if to == "succeeded":
        changes["balance_transaction"] = work.book("refund", refund, -refund["amount"])
    else:
        charge = work.need("charge", refund["charge"])
        work.change(charge, amount_refunded=charge["amount_refunded"] - refund["amount"], refunded=False)
        if to == "failed":
            changes["failure_reason"] = reason
        if refund["balance_transaction"]:
            changes["failure_balance_transaction"] = work.book("refund_failure", refund, refund["amount"])
    previous = work.change(refund, **changes)
    for event in ("refund.updated", "charge.refund.updated"):
        work.emit(event, refund, previous)
    if to == "failed":
        work.emit("refund.failed", refund)


# Connected accounts and transfers


def create_account(work: Work, given: Json) -> Json:
    """POST /v1/accounts."""
    controller = {
        "fees": {"payer": "application_express"}, "is_controller": True, "losses": {"payments": "application"},
        "requirement_collection": "stripe", "stripe_dashboard": {"type": "express"}, "type": "application",
    }  # fmt: skip
    asked = given.pop("controller", None)
    if asked is not None:
        controller |= asked
        given["type"] = "none"
    capabilities = {
        name: "inactive" for name, wish in (given.pop("capabilities", None) or {}).items() if wish.get("requested")
    }
    account = work.create("account", controller=controller, capabilities=capabilities, **given)
    url = f"/v1/accounts/{account['id']}/external_accounts"
    work.change(account, external_accounts=listing(url, [], False) | {"total_count": 0}, **ACCOUNT_STATES["new"])
    return account


def create_account_link(work: Work, given: Json) -> Json:
    """POST /v1/account_links."""
    account = work.need("account", given["account"])
    if given["type"] not in ("account_onboarding", "account_update"):
        raise StripeError("invalid_choice", param="type", choices="account_onboarding or account_update")
    for name in ("return_url", "refresh_url"):
        if not re.match(r"https?://[^/\s]+", given[name]):
            raise StripeError("url_invalid", param=name)
    urls = {"_return_url": given["return_url"], "_refresh_url": given["refresh_url"]}
    link = work.create("account_link", expires_at=work.now + 300, _account=account["id"], **urls)
    work.change(link, url=f"{work.base_url}/setup/e/{account['id']}/{link['id']}")
    return link


def move_account(work: Work, account: Json, to: str, reason: str | None = None) -> None:
    """Bring an account into a state of ACCOUNT_STATES and tell the platform."""
    fields = copy.deepcopy(ACCOUNT_STATES[to])
    if reason:
        fields["requirements"]["disabled_reason"] = reason
    fields["capabilities"] = dict.fromkeys(account["capabilities"], fields["_transfers"])
    work.emit("account.updated", account, work.change(account, **fields))


def create_transfer(work: Work, given: Json) -> Json:
    """POST /v1/transfers."""
    given["currency"] = given["currency"].lower()
    if given["amount"] < 1:
        raise StripeError("invalid_positive_integer")
    if given["amount"] > MAX_AMOUNT:
        raise StripeError("amount_too_large")
    destination = work.store.find(given["destination"])
    if not destination or destination["object"] != "account":
        raise StripeError("missing_param", param="destination", what="destination", id=given["destination"])
    if destination["capabilities"].get("transfers") != "active":
        raise StripeError("no_capability")
    if work.store.balance().get(given["currency"], (0, 0))[0] < given["amount"]:
        raise StripeError("balance_insufficient")
    transfer = work.create("transfer", **given, destination_payment="py_1" + uuid4().hex[:24])
    reversals = transfer["reversals"] | {"url": f"/v1/transfers/{transfer['id']}/reversals"}
    booked = work.book("transfer", transfer, -transfer["amount"])
    work.change(transfer, reversals=reversals, balance_transaction=booked)
    work.emit("transfer.created", transfer)
    return transfer


def create_reversal(work: Work, given: Json, transfer_id: str) -> Json:
    """POST /v1/transfers/{id}/reversals."""
    transfer = work.need("transfer", transfer_id)
    left = transfer["amount"] - transfer["amount_reversed"]
    if left == 0:
        raise StripeError("transfer_reversed", id=transfer_id)
    amount = given.pop("amount", left)
    if amount < 1:
        raise StripeError("invalid_positive_integer")
    if amount > left:
        raise StripeError("reversal_too_large", amount=money(amount), left=money(left))
    reversal = work.create(
        "transfer_reversal", amount=amount, transfer=transfer_id, currency=transfer["currency"],
        destination_payment_refund="pyr_1" + uuid4().hex[:24], **given,
    )  # fmt: skip
    work.change(reversal, balance_transaction=work.book("transfer_refund", reversal, amount))
    data = [public(reversal), *transfer["reversals"]["data"]]
    previous = work.change(
        transfer,
        amount_reversed=transfer["amount_reversed"] + amount,
        reversed=amount == left,
        reversals=transfer["reversals"] | {"data": data, "total_count": len(data)},
    )
    work.emit("transfer.reversed", transfer, previous)
    return reversal


# The rest


def create_customer(work: Work, given: Json) -> Json:
    """POST /v1/customers."""
    customer = work.create("customer", **given)
    work.emit("customer.created", customer)
    return customer


def retrieve_balance(work: Work, given: Json) -> Json:
    """GET /v1/balance."""
    parts: dict[str, list[Json]] = {"available": [], "pending": []}
    for currency, amounts in sorted(work.store.balance().items()):
        for name, amount in zip(parts, amounts, strict=True):
            parts[name].append({"amount": amount, "currency": currency, "source_types": {"card": amount}})
    return {"object": "balance", "livemode": False, **parts}


def top_up(work: Work, amount: int, currency: str) -> None:
    """Put money into (or, negative, take it from) the platform's balance."""
    work.book("topup", work.create("topup", amount=amount, currency=currency), amount)


class Endpoint(NamedTuple):
    """A verb of the API: parameters as `wire.check` reads them; `browser` = open to a publishable key."""

    act: Callable[..., Json | Answer]
    params: str = ""
    browser: bool = False


class Resource(NamedTuple):
    """What every kind of object has in common: retrieve, list (with its filters), update of descriptive fields."""

    kind: str
    filters: str = ""
    updates: str | None = None


RESOURCES: dict[str, Resource] = {
    "accounts": Resource("account", "", "metadata:map email:text business_profile:any settings:any capabilities:any"),
    "balance_transactions": Resource("balance_transaction", "type source currency"),
    "checkout/sessions": Resource("checkout.session", "payment_intent customer"),
    "charges": Resource("charge", "payment_intent customer transfer_group", "metadata:map description:text"),
    "customers": Resource("customer", "", "metadata:map email:text name:text description:text phone:text"),
    "events": Resource("event", "type types:list"),
    "payment_intents": Resource("payment_intent", "customer"),
    "payment_methods": Resource("payment_method", "customer type"),
    "refunds": Resource("refund", "payment_intent charge", "metadata:map"),
    "transfers": Resource("transfer", "destination transfer_group", "metadata:map description:text"),
}
_PAGE = "limit:int starting_after ending_before created:any expand:list "
_INTENT = (
    "description:text metadata:map customer transfer_group receipt_email statement_descriptor "
    "statement_descriptor_suffix setup_future_usage shipping:any payment_method payment_method_options:any "
)


def _retrieve(kind: str) -> Endpoint:
    def act(work: Work, given: Json, object_id: str) -> Json:
        item = work.need(kind, object_id)
        return item | ({"pending_webhooks": work.store.pending_webhooks(object_id)} if kind == "event" else {})

    return Endpoint(act)


def _list(kind: str, filters: str, path: str) -> Endpoint:
    def act(work: Work, given: Json, *parent: str) -> Json:
        page = {name: given.pop(name, None) for name in ("limit", "starting_after", "ending_before", "created")}
        limit = 10 if page["limit"] is None else page["limit"]
        if not 1 <= limit <= 100:
            raise StripeError("invalid_limit")
        for name in ("starting_after", "ending_before"):
            if page[name]:
                work.need(kind, page[name], name)
        if "types" in given:
            given["type"] = given.pop("types")
        created = page["created"]
        items, more = work.store.page(
            kind, given | ({"transfer": parent[0]} if parent else {}),
            limit=limit, after=page["starting_after"], before=page["ending_before"],
            created={"gte": created, "lte": created} if isinstance(created, str) else created,
        )  # fmt: skip
        return listing(path.format(id="".join(parent)), items, more)

    return Endpoint(act, _PAGE + filters)


def _update(kind: str, params: str) -> Endpoint:
    def act(work: Work, given: Json, object_id: str) -> Json:
        item = work.need(kind, object_id)
        if "metadata" in given:
            given["metadata"] = merge_metadata(item["metadata"], given["metadata"])
        given.pop("capabilities", None)
        work.emit(f"{kind}.updated", item, work.change(item, **given))
        return item

    return Endpoint(act, params)


ENDPOINTS: dict[str, Endpoint] = {
    "POST /v1/payment_intents": Endpoint(
        create_intent,
        "amount:int! currency! automatic_payment_methods:any payment_method_types:list confirm:bool return_url "
        "capture_method off_session:bool " + _INTENT,
    ),
    "GET /v1/payment_intents/{id}": Endpoint(retrieve_intent, "client_secret", True),
    "POST /v1/payment_intents/{id}": Endpoint(update_intent, "amount:int currency " + _INTENT),
    "POST /v1/payment_intents/{id}/confirm": Endpoint(
        confirm_intent,
        "client_secret payment_method return_url use_stripe_sdk:bool off_session:bool receipt_email",
        True,
    ),
    "POST /v1/payment_intents/{id}/cancel": Endpoint(cancel_intent, "cancellation_reason"),
    "POST /v1/checkout/sessions": Endpoint(
        create_session,
        "mode! line_items:list! success_url! cancel_url expires_at:int metadata:map payment_intent_data:map "
        "client_reference_id customer customer_email payment_method_types:list",
    ),
    "POST /v1/checkout/sessions/{id}/expire": Endpoint(expire_session),
    "POST /v1/refunds": Endpoint(create_refund, "payment_intent charge amount:int reason metadata:map"),
    "POST /v1/refunds/{id}/cancel": Endpoint(cancel_refund),
    "POST /v1/accounts": Endpoint(
        create_account,
        "type country email:text capabilities:any controller:any metadata:map business_type business_profile:any "
        "settings:any default_currency individual:any",
    ),
    "POST /v1/account_links": Endpoint(
        create_account_link, "account! type! return_url! refresh_url! collect collection_options:any"
    ),
    "POST /v1/transfers": Endpoint(
        create_transfer, "amount:int! currency! destination! transfer_group description:text metadata:map source_type"
    ),
    "POST /v1/transfers/{id}/reversals": Endpoint(create_reversal, "amount:int description:text metadata:map"),
    "GET /v1/transfers/{id}/reversals": _list("transfer_reversal", "", "/v1/transfers/{id}/reversals"),
    "POST /v1/customers": Endpoint(
        create_customer, "email:text name:text description:text phone:text address:any shipping:any metadata:map"
    ),
    "GET /v1/balance": Endpoint(retrieve_balance),
}
for _name, _resource in RESOURCES.items():
    ENDPOINTS.setdefault(f"GET /v1/{_name}", _list(_resource.kind, _resource.filters, f"/v1/{_name}"))
    ENDPOINTS.setdefault(f"GET /v1/{_name}/{{id}}", _retrieve(_resource.kind))
    if _resource.updates:
        ENDPOINTS[f"POST /v1/{_name}/{{id}}"] = _update(_resource.kind, _resource.updates)


def find_endpoint(method: str, path: str) -> tuple[Endpoint, list[str]] | None:
    """The endpoint of a request and the ids in its path."""
    parts = path.strip("/").split("/")
    head = 3 if parts[1:2] == ["checkout"] else 2
    ids = parts[head : head + 1]
    pattern = "/".join([*parts[:head], *["{id}"] * len(ids), *parts[head + 1 :]])
    endpoint = ENDPOINTS.get(f"{method} /{pattern}")
    return (endpoint, ids) if endpoint else None


def perform(work: Work, endpoint: Endpoint, ids: list[str], given: Json) -> Answer:
    """Check the parameters, do the work, expand. Raises StripeError."""
    given = check(endpoint.params + " expand:list", given)
    paths = given.pop("expand", [])
    done = endpoint.act(work, given, *ids)
    if isinstance(done, Answer):
        return done
    return Answer(200, expand(work.store, public(done), paths))


# Commands


def move_payment(work: Work, intent: Json, to: str, code: str, message: str) -> None:
    """Bring a processing, authenticating or (late decline) succeeded payment to another result."""
    tested = METHODS[work.need("payment_method", intent["payment_method"])["_test"]]
    apply_outcome(work, intent, to, tested._replace(code=code, message=message, decline_code=""))


def allowed_moves(item: Json) -> set[str]:
    """Where a command may bring this object."""
    if item["object"] == "account":
        return set(ACCOUNT_STATES)
    return (PAYMENT_MOVES if item["object"] == "payment_intent" else REFUND_MOVES).get(item["status"], set())

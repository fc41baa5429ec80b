"""The ASGI application: Stripe's API under /v1, commands under /_sim, pages for people."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from stack.simulator import engine, pages
from stack.simulator.data import API_VERSION, METHODS, Json
from stack.simulator.engine import Config, Work
from stack.simulator.store import Store, public
from stack.simulator.webhooks import Webhooks
from stack.simulator.wire import StripeError, decode

ApiResult = tuple[int, str, dict[str, str]]


class CuttableProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP protocol, whose connections the application can cut without an answer."""

    transports: dict[tuple[str, int], asyncio.Transport] = {}  # noqa: RUF012

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Remember whose connection this is."""
        super().connection_made(transport)
        self.transports[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self.transports.pop(self.client, None)


class Cut(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Cut, then wait until the server noticed, so that it does not complain about a missing answer."""
        CuttableProtocol.transports[tuple(scope["client"])].abort()
        while (await receive())["type"] != "http.disconnect":
            pass


class Fault(BaseModel):
    """Something that goes wrong with the next `times` requests matching "METHOD /path" (with * wildcards)."""

    model_config = ConfigDict(extra="forbid")

    match: str
    mode: Literal["error", "delay_before", "delay_after", "hang", "drop_after"]
    status: int = 500
    body: Json = {"error": {"type": "api_error", "message": "An unknown error occurred"}}
    seconds: float = Field(1, ge=0)
    times: int = Field(1, ge=1)


class Simulator:
    """One provider: store, configuration, deliveries, faults."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store, self.config = store, config
        self.webhooks = Webhooks(store, config)
        self.faults: list[Fault] = []
        self._defaults = config.model_copy(deep=True)
        self._running: set[str] = set()

    # The API

    async def api(self, request: Request) -> Response:
        """Any request to /v1."""
        line = f"{request.method} {request.url.path}"
        fault = next((fault for fault in self.faults if fnmatch.fnmatchcase(line, fault.match)), None)
        if fault:
            fault.times -= 1
            self.faults = [each for each in self.faults if each.times]
        mode, raw = fault.mode if fault else "", await request.body()
        if fault and mode == "error":
            return JSONResponse(fault.body, fault.status, {"Request-Id": "req_" + uuid4().hex[:14]})
        if fault and mode == "hang":
            await until_gone(request, fault.seconds)
            return Cut()
        status, body, headers = await self._answer(
            request, raw, fault.seconds if fault and mode == "delay_before" else 0
        )
        if fault and mode == "delay_after":
            await asyncio.sleep(fault.seconds)
        if mode == "drop_after":
            return Cut()
        return Response(body, status, headers, "application/json")

    async def _answer(self, request: Request, raw: bytes, delay: float) -> ApiResult:
        request_id, path = "req_" + uuid4().hex[:14], request.url.path
        headers = {"Request-Id": request_id, "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION)}
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        try:
            given = decode(raw if request.method == "POST" else request.url.query.encode())
            browser = self._check_key(request, given)
            found = engine.find_endpoint(request.method, path)
            if not found:
                raise StripeError("unknown_url", method=request.method, path=path)
            if browser and not found[0].browser:
                raise StripeError("secret_key_required")
            if key:
                headers["Idempotency-Key"] = key
                if known := self._replay(key, path, raw):
                    headers |= {"Original-Request": known[2], "Idempotent-Replayed": "true"}
                    return known[0], known[1], headers
                self._running.add(key)
            try:
                await asyncio.sleep(delay)
                work = self.work(request, request_id, key, browser)
                return self._perform(work, found, given, key, (path, _fingerprint(raw), request_id), headers)
            finally:
                self._running.discard(key or "")
        except StripeError as error:
            return error.status, json.dumps(error.body), headers

    def _perform(
        self,
        work: Work,
        found: tuple[engine.Endpoint, list[str]],
        given: Json,
        key: str | None,
        used: tuple[str, str, str],
        headers: dict[str, str],
    ) -> ApiResult:
        # The answer is remembered in the transaction of the work it tells of: neither exists without the other.
        path, fingerprint, request_id = used
        try:
            with self.store.transaction():
                answer = engine.perform(work, *found, given)
                body = json.dumps(answer.body, indent=2)
                if key:
                    self.store.save_key(key, path, fingerprint, answer.status, body, request_id)
        except StripeError as error:
            if key and error.kept:
                self.store.save_key(key, path, fingerprint, error.status, json.dumps(error.body), request_id)
            raise
        self.webhooks.start(work.deliveries)
        return answer.status, body, headers

    def _replay(self, key: str, path: str, raw: bytes) -> tuple[int, str, str] | None:
        if key in self._running:
            raise StripeError("idempotency_in_use", key=key)
        known = self.store.key(key, self.config.idempotency_seconds)
        if known is None:
            return None
        if known["path"] != path:
            raise StripeError("idempotency_endpoint", path=path, first=known["path"], key=key)
        if known["fingerprint"] != _fingerprint(raw):
            raise StripeError("idempotency_params", key=key)
        return known["status"], known["body"], known["request"]

    def _check_key(self, request: Request, given: Json) -> bool:
        """True for a publishable key; raises 401 for none or a wrong one."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            value = base64.b64decode(value + "==").decode(errors="replace").partition(":")[0]
        value = value.strip() or given.pop("key", "")
        if not value:
            raise StripeError("no_key")
        if value.startswith("pk_test_"):
            return True
        if value != self.config.api_key if self.config.api_key else not value.startswith(("sk_test_", "rk_test_")):
            raise StripeError("bad_key", key=value[:8] + "****" + value[-4:])
        if "Stripe-Account" in request.headers:
            raise StripeError("no_connect_header")
        return False

    def work(
        self, request: Request, request_id: str | None = None, key: str | None = None, browser: bool = False
    ) -> Work:
        """A unit of work for a request or (without request id) a command."""
        base_url = str(request.base_url).rstrip("/")
        return Work(
            self.store, self.config, self.webhooks.queue, request_id=request_id, key=key, base_url=base_url,
            browser=browser,
        )  # fmt: skip

    def command(self, request: Request, act: Callable[[Work], Any]) -> Any:
        """Do something that no API request caused, in one transaction, and send its events."""
        work = self.work(request)
        with self.store.transaction():
            result = act(work)
        self.webhooks.start(work.deliveries)
        return result

    # Commands (README.md lists them)

    async def get_config(self, request: Request, body: Json) -> Json:
        """GET /_sim/config."""
        return self.config.model_dump()

    async def set_config(self, request: Request, body: Json) -> Json:
        """POST /_sim/config: the fields given."""
        changed = Config.model_validate({**self.config.model_dump(), **body})
        for name in body:
            setattr(self.config, name, getattr(changed, name))
        self.store.set_meta("config", self.config.model_dump())
        self.webhooks.configured()
        return self.config.model_dump()

    async def reset(self, request: Request, body: Json) -> Json:
        """POST /_sim/reset: as started for the first time."""
        self.webhooks.cancel()
        self.faults.clear()
        self.store.clear()
        for name in Config.model_fields:
            setattr(self.config, name, getattr(self._defaults, name))
        self.webhooks.configured()
        self.fund()
        return {"reset": True}

    def fund(self) -> None:
        """Give a new provider its starting balance."""
        with self.store.transaction():
            if self.config.float_cents and not self.store.meta("funded"):
                engine.top_up(Work(self.store, self.config, lambda _: []), self.config.float_cents, "usd")
            self.store.set_meta("funded", True)

    async def idle(self, request: Request, body: Json) -> Json:
        """GET /_sim/idle?timeout=10."""
        return {"idle": await self.webhooks.idle(float(request.query_params.get("timeout", "10")))}

    async def hold(self, request: Request, body: Json) -> Json:
        """POST /_sim/webhooks/hold."""
        return await self.set_config(request, {"hold": True})

    async def release(self, request: Request, body: Json) -> Json:
        """POST /_sim/webhooks/release."""
        await self.set_config(request, {"hold": False})
        return {"released": self.webhooks.release()}

    async def deliver(self, request: Request, body: Json) -> Json:
        """POST /_sim/webhooks/deliver {"events", "order", "times", "secrets", "age_seconds"}."""
        events = body.get("events") or [row["event"] for row in self.store.deliveries(state="held")]
        events = list(dict.fromkeys(events)) * int(body.get("times", 1))
        if body.get("order") == "random":
            self.webhooks.random.shuffle(events)
        return {"responses": await self.webhooks.deliver_now(events, body.get("secrets"), body.get("age_seconds", 0))}

    async def deliveries(self, request: Request, body: Json) -> Json:
        """GET /_sim/webhooks/deliveries?state=&event=&limit=."""
        asked = request.query_params
        rows = self.store.deliveries(
            state=asked.get("state"), event=asked.get("event"), limit=int(asked.get("limit", "1000"))
        )
        return {"deliveries": rows}

    async def list_faults(self, request: Request, body: Json) -> Json:
        """GET /_sim/faults: those still to come."""
        return {"faults": [fault.model_dump() for fault in self.faults]}

    async def add_fault(self, request: Request, body: Json) -> Json:
        """POST /_sim/faults."""
        self.faults.append(Fault.model_validate(body))
        return await self.list_faults(request, body)

    async def clear_faults(self, request: Request, body: Json) -> Json:
        """DELETE /_sim/faults."""
        self.faults.clear()
        return await self.list_faults(request, body)

    async def move(self, request: Request, body: Json) -> Json:
        """POST /_sim/objects/{id} {"to", "code"/"reason", "message"}: a payment's, refund's, account's next state."""
        item = self.store.find(request.path_params["id"])
        to = body["to"]
        if item is None or item["object"] not in ("payment_intent", "refund", "account"):
            raise ValueError(f"no payment intent, refund or account {request.path_params['id']}")
        if to not in engine.allowed_moves(item):
            status = item.get("status", "")
            raise ValueError(f"{item['id']} ({status}) can only become: {', '.join(engine.allowed_moves(item))}")

        def act(work: Work) -> Json:
            if item["object"] == "payment_intent":
                message = body.get("message", "The payment was declined.")
                engine.move_payment(work, item, to, body.get("code", "card_declined"), message)
            elif item["object"] == "refund":
                engine.move_refund(work, item, to, body.get("reason", "lost_or_stolen_card"))
            else:
                engine.move_account(work, item, to, body.get("reason"))
            return public(item)

        result: Json = self.command(request, act)
        return result

    async def pay(self, request: Request, body: Json) -> Json:
        """POST /_sim/sessions/{id}/pay {"payment_method"}: the buyer fills in a Checkout Session's page."""
        session = self.store.find(request.path_params["id"])
        if not session or session["object"] != "checkout.session":
            raise ValueError(f"no session {request.path_params['id']}")
        method = body.get("payment_method", "pm_card_visa")
        result: Json = self.command(request, lambda work: public(engine.pay_session(work, session, method)))
        return result

    async def forget(self, request: Request, body: Json) -> Json:
        """DELETE /_sim/objects/{id}: the provider does not know it any more, as with another account's key."""
        with self.store.transaction():
            if not self.store.forget(request.path_params["id"]):
                raise ValueError(f"there is no {request.path_params['id']}")
        return {"forgotten": request.path_params["id"]}

    async def settle(self, request: Request, body: Json) -> Json:
        """POST /_sim/charges/{id}/settle: the balance transaction that `defer_fees` kept back."""
        charge = self.store.find(request.path_params["id"])
        if (
            not charge
            or charge["object"] != "charge"
            or charge["status"] != "succeeded"
            or charge["balance_transaction"]
        ):
            raise ValueError("no succeeded charge without a balance transaction")
        self.command(request, lambda work: engine.settle_charge(work, charge))
        return public(charge)

    async def balance(self, request: Request, body: Json) -> Json:
        """POST /_sim/balance {"amount_cents", "currency"}."""
        self.command(request, lambda work: engine.top_up(work, int(body["amount_cents"]), body.get("currency", "usd")))
        return {"balance": {currency: list(parts) for currency, parts in self.store.balance().items()}}

    # Pages

    async def setup(self, request: Request) -> Response:
        """The onboarding page behind an account link: completes at once. Used or late: back to refresh_url."""
        link = self.store.find(request.path_params["link"])
        if not link or link["object"] != "account_link":
            return HTMLResponse("<p>No such link.</p>", 404)

        def act(work: Work) -> str:
            if link.get("_used") or link["expires_at"] < work.now:
                return str(link["_refresh_url"])
            work.change(link, _used=True)
            engine.move_account(work, work.need("account", link["_account"]), "enabled")
            return str(link["_return_url"])

        return RedirectResponse(self.command(request, act), 303)

    async def authenticate(self, request: Request) -> Response:
        """The bank's page behind next_action: the customer agrees at once."""
        secret = request.path_params["secret"]
        intent = self.store.find(secret.partition("_secret_")[0])
        if not intent or intent.get("client_secret") != secret or intent["status"] != "requires_action":
            return HTMLResponse("<p>Nothing to authenticate.</p>", 404)
        self.command(request, lambda work: engine.move_payment(work, intent, "succeeded", "", ""))
        query = {"payment_intent": intent["id"], "payment_intent_client_secret": secret, "redirect_status": "succeeded"}
        url = intent["_return_url"]
        return RedirectResponse(f"{url}{'&' if '?' in url else '?'}{urlencode(query)}", 303)

    async def session(self, request: Request) -> Response:
        """A Checkout Session's page: a form that pays. Paid: on to success_url."""
        session = self.store.find(request.path_params["id"])
        if not session or session["object"] != "checkout.session" or session["status"] != "open":
            return HTMLResponse("<p>You are all done here, or took too long.</p>", 404)
        if request.method == "GET":
            return HTMLResponse(pages.session(session))
        method = dict(parse_qsl((await request.body()).decode())).get("payment_method", "pm_card_visa")
        if method not in METHODS:
            return HTMLResponse("<p>No such payment method.</p>", 400)
        found = self.command(request, lambda work: engine.pay_session(work, session, method))
        if found["status"] == "open":
            return HTMLResponse(pages.session(found, "Your card was declined."), 402)
        return RedirectResponse(found["success_url"].replace("{CHECKOUT_SESSION_ID}", found["id"]), 303)

    async def home(self, request: Request) -> Response:
        """The status page."""
        return HTMLResponse(pages.status(self.store, self.config, [fault.model_dump() for fault in self.faults]))


def _fingerprint(raw: bytes) -> str:
    # Order of parameters does not matter, their values do.
    return urlencode(sorted(parse_qsl(raw.decode(errors="replace"), keep_blank_values=True)))


async def until_gone(request: Request, seconds: float) -> None:
    for _ in range(int(seconds * 20)):
        if await request.is_disconnected():
            return
        await asyncio.sleep(0.05)


COMMANDS: dict[str, Callable[[Simulator, Request, Json], Any]] = {
    "GET /_sim/config": Simulator.get_config,
    "POST /_sim/config": Simulator.set_config,
    "POST /_sim/reset": Simulator.reset,
    "GET /_sim/idle": Simulator.idle,
    "POST /_sim/webhooks/hold": Simulator.hold,
    "POST /_sim/webhooks/release": Simulator.release,
    "POST /_sim/webhooks/deliver": Simulator.deliver,
    "GET /_sim/webhooks/deliveries": Simulator.deliveries,
    "GET /_sim/faults": Simulator.list_faults,
    "POST /_sim/faults": Simulator.add_fault,
    "DELETE /_sim/faults": Simulator.clear_faults,
    "POST /_sim/objects/{id}": Simulator.move,
    "DELETE /_sim/objects/{id}": Simulator.forget,
    "POST /_sim/sessions/{id}/pay": Simulator.pay,
    "POST /_sim/charges/{id}/settle": Simulator.settle,
    "POST /_sim/balance": Simulator.balance,
}


def create_app(store: Store, config: Config) -> Starlette:
    """The application on an open store."""
    simulator = Simulator(store, config)
    simulator.fund()

    def command(act: Callable[[Simulator, Request, Json], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                body = json.loads(await request.body() or b"{}")
                return JSONResponse(await act(simulator, request, body))
            except (ValueError, KeyError, TypeError, ValidationError, StripeError) as error:
                return JSONResponse({"error": str(error)}, 400)

        return endpoint

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await simulator.webhooks.open()
        yield
        await simulator.webhooks.close()
        store.close()

    commands = [(line.split(" "), act) for line, act in COMMANDS.items()]
    return Starlette(
        routes=[
            *(Route(path, command(act), methods=[method]) for (method, path), act in commands),
            Route("/v1/{path:path}", simulator.api, methods=["GET", "POST", "DELETE"]),
            Route("/setup/e/{account}/{link}", simulator.setup),
            Route("/authenticate/{secret}", simulator.authenticate),
            Route("/c/pay/{id}", simulator.session, methods=["GET", "POST"]),
            Route("/", simulator.home),
        ],
        # A checkout page of another origin confirms payments here, as it does at the real provider.
        middleware=[Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])],
        lifespan=lifespan,
    )

"""The HTTP application: webhooks and functions, one error format, one lifespan."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from workers import logs
from workers.db import BusinessError, DatabaseUnavailable
from workers.http import downloads, health, media, payments, payouts, photos, unsubscribe, webinars
from workers.http.auth import KeySet, TokenVerifier
from workers.http.context import problems
from workers.http.inbox import Inbox
from workers.http.webhooks import MAX_BODY_BYTES, WebhookEndpoint
from workers.metrics import REQUESTS
from workers.problems import ErrorCode, Problem, ProblemDetails
from workers.providers import Event, ProviderConflict, ProviderError, ProviderUnknown
from workers.services import Services, open_services
from workers.settings import Settings
from workers.storage import StorageUnavailable

log = logs.get(__name__)

PUBLISH_SECONDS = 2.0

DESCRIPTION = """
What needs the network and therefore lives beside the database. Everything else is the Data API.

Errors are [problem details](https://www.rfc-editor.org/rfc/rfc9457): switch on `code`, show `title`.
"""


def create_app(settings: Settings) -> FastAPI:
    """The application. Connections open with the lifespan; a missing database does not keep it from starting."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.services = await stack.enter_async_context(open_services(settings, "avenue-http"))
            keys = None
            if settings.jwks_url:
                client = await stack.enter_async_context(httpx.AsyncClient(timeout=5))
                keys = KeySet(settings.jwks_url, client)
            secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
            app.state.verifier = TokenVerifier(secret=secret, keys=keys, audience=settings.jwt_audience)
            inbox = Inbox.for_database("stripe", app.state.services.db)
            inbox.start()
            stack.push_async_callback(inbox.stop)
            app.state.inbox = inbox
            publishing = asyncio.create_task(_publish(app))
            stack.callback(publishing.cancel)
            yield

    app = FastAPI(
        title="Avenue functions",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        openapi_url="/functions/v1/openapi.json",
        docs_url="/docs",
        redoc_url=None,
    )

    def verify(body: bytes, signature: str | None) -> Event:
        services: Services = app.state.services
        return services.stripe.verify_delivery(body, signature)

    async def store(event: Event) -> None:
        await app.state.inbox.store(event)

    # A route whose endpoint is an ASGI application: FastAPI's request parsing never touches the raw body.
    stripe = WebhookEndpoint("stripe", b"stripe-signature", verify, store)
    app.router.routes.append(Route("/webhooks/stripe", stripe, methods=["POST"]))
    for module in (payments, payouts, downloads, media, photos, unsubscribe, webinars, health):
        app.include_router(module.router)
    app.include_router(health.gauges)
    app.add_middleware(Observed)
    _handle_errors(app)
    _document_webhooks(app)
    return app


async def _publish(app: FastAPI) -> None:
    """Tell clients where we are, as soon as the database can be told."""
    services: Services = app.state.services
    url = services.settings.workers_url
    app.state.unpublished = f"The address {url} is not published yet."
    while True:
        try:
            await services.db.call("publish_workers", url)
        except (DatabaseUnavailable, BusinessError, psycopg.Error) as error:
            log.warning("address not published", url=url, error=str(error))
            await asyncio.sleep(PUBLISH_SECONDS)
            continue
        app.state.unpublished = None
        log.info("address published", url=url)
        return


def create_operations(services: Services) -> FastAPI:
    """What a process without functions shows its operators: whether it lives, is ready, and its own counters."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    app.include_router(health.router)
    app.include_router(health.counters)
    _handle_errors(app)
    return app


class OperationsServer(uvicorn.Server):
    """Serves beside a process's real work, which sees to the signals itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class Observed:
    """Counts, times and logs function calls, and limits their bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/functions/"):
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        size = 0

        async def counted_receive() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                raise HTTPException(413, headers={"connection": "close"})
            return message

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, counted_receive, watched_send)
        finally:
            seconds = time.perf_counter() - started
            # The template, not the path: ids would make a time series each.
            route = getattr(scope.get("route"), "path", "unmatched")
            REQUESTS.labels(route, scope["method"], status).observe(seconds)
            log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return error.response(request.url.path)

    @app.exception_handler(BusinessError)
    async def on_business_error(request: Request, error: BusinessError) -> Response:
        known = ErrorCode(error.status, error.message, "")
        return Problem(error.code, error.detail, known=known).response(request.url.path)

    @app.exception_handler(DatabaseUnavailable)
    @app.exception_handler(StorageUnavailable)
    async def on_unavailable(request: Request, error: Exception) -> Response:
        log.error("unavailable", path=request.url.path, error=str(error))
        return Problem.unavailable().response(request.url.path)

    @app.exception_handler(ProviderError)
    async def on_provider_error(request: Request, error: ProviderError) -> Response:
        log.error("provider error", path=request.url.path, kind=type(error).__name__, code=error.code, error=str(error))
        if isinstance(error, ProviderUnknown):
            return Problem.unavailable("The payment provider did not answer.").response(request.url.path)
        if isinstance(error, ProviderConflict):
            return Problem("provider_conflict").response(request.url.path)
        return Problem("provider_refused", error.message).response(request.url.path)

    @app.exception_handler(RequestValidationError)
    async def on_invalid_request(request: Request, error: RequestValidationError) -> Response:
        errors = [
            {"field": ".".join(str(part) for part in e["loc"]), "message": e["msg"], "type": e["type"]}
            for e in error.errors()
        ]
        return Problem("invalid_request", errors=errors).response(request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        code = {404: "no_such_function", 405: "method_not_allowed", 413: "body_too_large"}.get(
            error.status_code, "bad_request"
        )
        return Problem(code, headers=dict(error.headers or {})).response(request.url.path)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        # Starlette re-raises after answering, so the traceback is in the log.
        return Problem("internal_error").response(request.url.path)


def _document_webhooks(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"]["ProblemDetails"] = ProblemDetails.model_json_schema()
        document["paths"].setdefault(
            "/webhooks/stripe",
            {
                "post": {
                    "tags": ["webhooks"],
                    "summary": "Stripe events",
                    "description": "Stripe delivers here. Verified on the raw body, stored, then answered.",
                    "parameters": [
                        {"name": "Stripe-Signature", "in": "header", "required": True, "schema": {"type": "string"}}
                    ],
                    "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                    "responses": {
                        "200": {
                            "description": "Stored, now or earlier",
                            "content": {"application/json": {"example": {"received": True}}},
                        },
                        **{
                            str(status): declared
                            for status, declared in problems(
                                _400="Not authentic, too old, or not an event; nothing was stored",
                                _413="More than 1 MB",
                                _503="The database cannot be reached; deliver again",
                            ).items()
                        },
                    },
                }
            },
        )
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """The application for browsers: outermost, so that a page can read every error too."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=("Retry-After", "WWW-Authenticate"),
        max_age=86400,
    )


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT; open requests are finished first."""
    config = uvicorn.Config(
        with_cors(create_app(settings), settings.origins),
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=20,
    )
    uvicorn.Server(config).run()

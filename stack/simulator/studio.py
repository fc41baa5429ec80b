"""A photo studio that is none: Replicate's prediction API, and on command what such an API does at the worst moment.

    python -m stack.simulator.studio --port 12112 --state FILE --token r8_… --webhook-secret whsec_…

README.md lists the commands; `studio_control` is their client. The pictures it makes are real.
"""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hashlib
import hmac
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx
import typer
import uvicorn
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from stack.simulator.server import Cut, CuttableProtocol, until_gone

Json = dict[str, Any]

FINAL = ("succeeded", "failed", "canceled", "aborted")
FLAGGED = "The input or output was flagged as sensitive. Please try again with different inputs. (E005) (simulated)"
CRASHED = "CUDA out of memory (simulated)"
HUGE_BYTES = 256 * 1024 * 1024
_SCHEMA = """
create table if not exists predictions (
    seq integer primary key, id text not null unique, body text not null, plan text not null, webhook text,
    events text not null, due real, deadline real, file blob
);
create table if not exists deliveries (
    id integer primary key, prediction text not null, message text not null, event text not null, body text not null,
    state text not null, due real not null, attempts integer not null default 0, forged integer not null,
    responses text not null default '[]'
);
create table if not exists meta (name text primary key, value text not null);
"""


class Config(BaseModel):
    """Settings; all but the first three may be changed while it runs."""

    model_config = ConfigDict(extra="forbid")

    token: str = "r8_simulator"
    webhook_secrets: list[str] = []
    version: str | None = Field(None, description="The only version that is known; None: any.")
    work_seconds: float | None = Field(0, ge=0, description="How long a photo takes; None: until told.")
    page_size: int = Field(100, ge=1)
    retention_seconds: float = Field(3600, description="When inputs and outputs are deleted.")
    shows_webhook: bool = Field(True, description="Whether predictions tell their webhook's URL.")
    knows_filter: bool = Field(True, description="Whether the list knows created_after.")
    retry_seconds: float = Field(0.2, gt=0, description="Before the second delivery; doubled each time.")
    retries_for_seconds: float = Field(60, description="How long after its end a prediction's last event is retried.")
    predict_seconds: float = Field(1.5, description="What a prediction says it took.")


class Plan(BaseModel):
    """How the next `times` predictions go."""

    model_config = ConfigDict(extra="forbid")

    times: int = Field(1, ge=1)
    result: Literal["succeeded", "flagged", "failed"] = "succeeded"
    output: Literal["picture", "broken", "huge", "cut", "empty", "page", "wrong_type", "none"] = "picture"
    work_seconds: float | None = None
    until_told: bool = False
    ignores_deadline: bool = False
    early: bool = False
    webhook: Literal["sent", "lost", "twice", "forged"] = "sent"
    webhook_seconds: float = Field(0, ge=0)


class Fault(BaseModel):
    """What goes wrong with the next `times` requests like "METHOD /path" (with * wildcards)."""

    model_config = ConfigDict(extra="forbid")

    match: str
    mode: Literal["error", "error_after", "cut", "cut_after", "hang", "hang_after", "delay_after"]
    status: int = 500
    headers: dict[str, str] = {}
    body: Any = {"detail": "Internal server error", "status": 500}
    seconds: float = Field(60, ge=0)
    times: int = Field(1, ge=1)


class ApiError(Exception):
    """A refusal in the API's words."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.response = JSONResponse({"title": title, "detail": detail, "status": status}, status)


class Store:
    """All state, in one SQLite file that survives `kill -9`."""

    def __init__(self, path: Path | str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        self.db.row_factory = sqlite3.Row
        for pragma in ("locking_mode = exclusive", "journal_mode = wal", "synchronous = normal"):
            self.db.execute(f"pragma {pragma}")
        self.db.executescript(_SCHEMA)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self.db.execute(sql, values).fetchall()

    def meta(self, name: str, default: Any = None) -> Any:
        """A stored setting."""
        rows = self.rows("select value from meta where name = ?", name)
        return json.loads(rows[0]["value"]) if rows else default

    def set_meta(self, name: str, value: Any) -> None:
        """Store a setting."""
        self.db.execute("insert or replace into meta values (?, ?)", (name, json.dumps(value)))


def sign(secrets: Sequence[str], message: str, timestamp: int, body: bytes) -> str:
    """The webhook-signature header of Standard Webhooks: a v1 per secret."""
    marks = []
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        mark = hmac.new(key, f"{message}.{timestamp}.".encode() + body, hashlib.sha256).digest()
        marks.append(f"v1,{base64.b64encode(mark).decode()}")
    return " ".join(marks)


class Studio:
    """One provider: its predictions, what is planned for them, its deliveries."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store, self.config = store, config
        self._defaults = config.model_copy(deep=True)
        self.plans: list[Plan] = []
        self.faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stirred = asyncio.Event()

    @asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Work, with what an earlier process left undone."""
        # Proxies of the environment are not for a local endpoint.
        async with httpx.AsyncClient(trust_env=False, timeout=10) as self._client:
            for row in self.store.rows("select id from deliveries where state = 'queued'"):
                self._start(self._carry_out(row["id"]))
            worker = asyncio.create_task(self._work())
            yield
            for task in (worker, *self._tasks):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self.store.db.close()

    # Time

    @property
    def now(self) -> float:
        """The provider's clock, which a test may move."""
        return time.time() + float(self.store.meta("offset", 0))

    def _stir(self) -> None:
        """Wake whoever waits for a time: there is something new, or it is later than they thought."""
        self._stirred.set()
        self._stirred = asyncio.Event()

    async def _pause(self, seconds: float, stirred: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stirred.wait()

    async def move_clock(self, request: Request, body: Json) -> Json:
        """POST /_sim/clock {"seconds"}: forward."""
        self.store.set_meta("offset", self.store.meta("offset", 0) + float(body["seconds"]))
        self._stir()
        return {"now": _time(self.now)}

    # The API

    async def api(self, request: Request) -> Response:
        """Any request but a command's."""
        line = f"{request.method} {request.url.path}"
        fault = next((each for each in self.faults if fnmatch.fnmatchcase(line, each.match)), None)
        if fault:
            fault.times -= 1
            self.faults = [each for each in self.faults if each.times]
        mode = fault.mode if fault else ""
        if fault and mode in ("error", "hang", "cut"):
            return await self._spoiled(request, fault)
        try:
            answer = await self._answer(request)
        except ApiError as error:
            answer = error.response
        if fault and mode == "delay_after":
            await asyncio.sleep(fault.seconds)
        return (
            await self._spoiled(request, fault) if fault and mode.endswith("_after") and mode[:5] != "delay" else answer
        )

    async def _spoiled(self, request: Request, fault: Fault) -> Response:
        if fault.mode.startswith("error"):
            return JSONResponse(fault.body, fault.status, fault.headers)
        if fault.mode.startswith("hang"):
            await until_gone(request, fault.seconds)
        return Cut()

    async def _answer(self, request: Request) -> Response:
        method, parts = request.method, request.url.path.strip("/").split("/")
        if method == "GET" and parts[0] == "files" and len(parts) == 3:
            return self._file(request, parts[1])
        if request.headers.get("authorization") != f"Bearer {self.config.token}":
            raise ApiError(401, "Unauthenticated", "You did not pass a valid authentication token")
        match [method, *parts]:
            case ["POST", "v1", "predictions"]:
                return await self._create(request)
            case ["GET", "v1", "predictions"]:
                return self._list(request)
            case ["GET", "v1", "predictions", ref]:
                return JSONResponse(self.shown(self._row(ref)))
            case ["POST", "v1", "predictions", ref, "cancel"]:
                row = self._row(ref)
                if json.loads(row["body"])["status"] not in FINAL:
                    await self._end(row, "canceled")
                return JSONResponse(self.shown(self._row(ref)))
        raise ApiError(404, "Not found", "The requested resource could not be found.")

    async def _create(self, request: Request) -> Response:
        try:
            given = json.loads(await request.body())
            data, version, webhook = given["input"], given["version"], given.get("webhook")
        except (ValueError, KeyError, TypeError):
            raise ApiError(422, "Input validation failed", "- version, input are required") from None
        if self.config.version not in (None, version):
            raise ApiError(422, "Invalid version or not permitted", "The specified version does not exist")
        if not isinstance(data, dict) or not isinstance(data.get("prompt"), str):
            raise ApiError(422, "Input validation failed", "- input: prompt is required")
        if webhook is not None and urlsplit(webhook).scheme not in ("http", "https"):
            raise ApiError(422, "Invalid webhook", "webhook must be an URL")
        plan = Plan(times=1, webhook_seconds=0)
        if self.plans:
            plan = self.plans[0].model_copy(update={"times": 1})
            self.plans[0].times -= 1
            self.plans = [each for each in self.plans if each.times]
        ref, base = uuid4().hex[:26], str(request.base_url).rstrip("/")
        body = {
            "id": ref, "model": "simulator/studio", "version": version, "input": data, "logs": "", "output": None,
            "data_removed": False, "error": None, "source": "api", "status": "starting", "created_at": _time(self.now),
            "started_at": None, "completed_at": None, "metrics": {},
            "urls": {"get": f"{base}/v1/predictions/{ref}", "cancel": f"{base}/v1/predictions/{ref}/cancel"},
        }  # fmt: skip
        seconds = self.config.work_seconds if plan.work_seconds is None else plan.work_seconds
        due = None if plan.until_told or seconds is None else self.now + seconds
        limit = request.headers.get("cancel-after")
        deadline = self.now + int(limit.removesuffix("s")) if limit and not plan.ignores_deadline else None
        events = given.get("webhook_events_filter", ["start", "output", "logs", "completed"])
        self.store.db.execute(
            "insert into predictions (id, body, plan, webhook, events, due, deadline) values (?, ?, ?, ?, ?, ?, ?)",
            (ref, json.dumps(body), plan.model_dump_json(), webhook, json.dumps(events), due, deadline),
        )
        row = self._row(ref)
        if plan.early:
            await self._make(row)
            await self.idle_for(10)
        else:
            self._tell(row, "start", body)
        self._stir()
        return JSONResponse({**body, **({"webhook": webhook} if self.config.shows_webhook else {})}, 201)

    def _list(self, request: Request) -> Response:
        query = dict(request.query_params)
        cursor, after = int(query.get("cursor", 2**62)), query.get("created_after")
        rows = self.store.rows(
            "select * from predictions where seq < ? order by seq desc limit ?", cursor, self.config.page_size + 1
        )
        found = rows[: self.config.page_size]
        shown = [self.shown(row) for row in found]
        if after and self.config.knows_filter:
            since = datetime.fromisoformat(after)
            shown = [each for each in shown if datetime.fromisoformat(each["created_at"]) >= since]
        more = urlencode({**query, "cursor": found[-1]["seq"]}) if len(rows) > len(found) else None
        base = str(request.url).partition("?")[0]
        return JSONResponse({"previous": None, "next": more and f"{base}?{more}", "results": shown})

    def _file(self, request: Request, ref: str) -> Response:
        rows = self.store.rows("select * from predictions where id = ?", ref)
        if not rows or rows[0]["file"] is None or self.shown(rows[0])["data_removed"]:
            return JSONResponse({"detail": "Not found."}, 404)
        data, kind = rows[0]["file"], Plan.model_validate_json(rows[0]["plan"]).output
        if kind == "huge":
            return StreamingResponse((bytes(65536) for _ in range(HUGE_BYTES // 65536)), media_type="image/png")
        if kind == "cut":
            return StreamingResponse(_cut_off(request, data), headers={"content-length": str(len(data))})
        types = {"page": "text/html", "wrong_type": "text/plain"}
        return Response(data, media_type=types.get(kind, "image/png" if data[:4] == b"\x89PNG" else "image/jpeg"))

    def _row(self, ref: str) -> sqlite3.Row:
        rows = self.store.rows("select * from predictions where id = ?", ref)
        if not rows:
            raise ApiError(404, "Not found", "The requested resource could not be found.")
        return rows[0]

    def shown(self, row: sqlite3.Row) -> Json:
        """A prediction as the API shows it now."""
        body: Json = json.loads(row["body"])
        if self.config.shows_webhook and row["webhook"]:
            body["webhook"] = row["webhook"]
        ended = body["completed_at"]
        if ended and datetime.fromisoformat(ended).timestamp() + self.config.retention_seconds <= self.now:
            body |= {"input": {}, "output": None, "logs": None, "data_removed": True}
        return body

    # The work

    async def _work(self) -> None:
        while True:
            stirred = self._stirred
            wait = 3600.0
            for row in self.store.rows("select * from predictions where due is not null or deadline is not null"):
                due, deadline = row["due"], row["deadline"]
                if deadline is not None and deadline <= min(self.now, due or deadline):
                    await self._end(row, "aborted" if json.loads(row["body"])["status"] == "starting" else "canceled")
                elif due is not None and due <= self.now:
                    await self._make(row)
                else:
                    wait = min(wait, *(each - self.now for each in (due, deadline) if each is not None))
            await self._pause(max(wait, 0.01), stirred)

    async def _make(self, row: sqlite3.Row) -> None:
        """The prediction's result, as planned."""
        body, plan = json.loads(row["body"]), Plan.model_validate_json(row["plan"])
        if plan.result != "succeeded":
            await self._end(row, "failed", error=FLAGGED if plan.result == "flagged" else CRASHED)
            return
        url = next((each for each in body["input"].values() if isinstance(each, str) and "://" in each), None)
        try:
            photo = await self._photo(url) if url else None
            file = await asyncio.to_thread(_picture, photo)
        except (httpx.HTTPError, ValueError) as error:
            await self._end(row, "failed", error=f"Failed to download input image: {error}")
            return
        except Exception as error:
            # Whatever the image library says of a file.
            await self._end(row, "failed", error=str(error))
            return
        spoiled = {"broken": file[: len(file) // 3], "empty": b"", "page": b"<!doctype html><p>Sorry, try again"}
        file = spoiled.get(plan.output, file)
        name = "output.png" if file[:4] == b"\x89PNG" else "output.jpg"
        base = body["urls"]["get"].partition("/v1/")[0]
        output = [] if plan.output == "none" else [f"{base}/files/{body['id']}/{name}"]
        await self._end(row, "succeeded", output=output, file=file)

    async def _photo(self, url: str) -> bytes:
        answer = await self._client.get(url)
        if answer.status_code != 200:
            raise ValueError(f"HTTP {answer.status_code}")
        return answer.content

    async def _end(self, row: sqlite3.Row, status: str, *, file: bytes | None = None, **changes: Any) -> None:
        body = json.loads(row["body"])
        seconds = {} if status == "aborted" else {"predict_time": self.config.predict_seconds}
        body |= {
            "status": status,
            "started_at": body["created_at"],
            "completed_at": _time(self.now),
            "metrics": seconds,
        }
        body |= changes
        self.store.db.execute(
            "update predictions set body = ?, file = ?, due = null, deadline = null where id = ?",
            (json.dumps(body), file, row["id"]),
        )
        self._tell(row, "completed", body)

    # Deliveries

    def _tell(self, row: sqlite3.Row, event: str, body: Json) -> None:
        plan = Plan.model_validate_json(row["plan"])
        if not row["webhook"] or event not in json.loads(row["events"]):
            return
        text = json.dumps({**body, **({"webhook": row["webhook"]} if self.config.shows_webhook else {})})
        for _ in range(2 if plan.webhook == "twice" else 1):
            state = "dropped" if plan.webhook == "lost" else "queued"
            values = (row["id"], f"msg_{uuid4().hex}", event, text, state, self.now + plan.webhook_seconds)
            cursor = self.store.db.execute(
                "insert into deliveries (prediction, message, event, body, state, due, forged) "
                "values (?, ?, ?, ?, ?, ?, ?)",
                (*values, plan.webhook == "forged"),
            )
            if state == "queued":
                self._start(self._carry_out(int(cursor.lastrowid or 0)))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, delivery: int) -> None:
        while rows := self.store.rows("select * from deliveries where id = ? and state = 'queued'", delivery):
            row = rows[0]
            while (left := row["due"] - self.now) > 0:
                await self._pause(left, self._stirred)
            secrets = [_secret()] if row["forged"] else self.config.webhook_secrets
            response = await self._post(row, secrets)
            attempts = row["attempts"] + 1
            wait = self.config.retry_seconds * 2 ** row["attempts"]
            late = row["event"] != "completed" or self._is_late(row, wait)
            accepted = response["status"] is not None and 200 <= response["status"] < 300
            state = "delivered" if accepted else "failed" if late else "queued"
            self.store.db.execute(
                "update deliveries set state = ?, due = ?, attempts = ?, "
                "responses = json_insert(responses, '$[#]', json(?)) where id = ?",
                (state, self.now + wait, attempts, json.dumps(response), delivery),
            )

    def _is_late(self, row: sqlite3.Row, wait: float) -> bool:
        ended = datetime.fromisoformat(json.loads(row["body"])["completed_at"]).timestamp()
        return self.now + wait > ended + self.config.retries_for_seconds

    async def _post(self, row: sqlite3.Row, secrets: Sequence[str], age_seconds: int = 0) -> Json:
        """One delivery: {"status"}, or {"status": None, "error"} without an answer."""
        url = self.store.rows("select webhook from predictions where id = ?", row["prediction"])
        if not url:
            return {"status": None, "error": "forgotten"}
        body, stamp = row["body"].encode(), int(time.time()) - age_seconds
        headers = {
            "content-type": "application/json", "webhook-id": row["message"], "webhook-timestamp": str(stamp),
            "webhook-signature": sign(secrets, row["message"], stamp, body),
        }  # fmt: skip
        try:
            answer = await self._client.post(url[0]["webhook"], content=body, headers=headers)
        except httpx.HTTPError as error:
            return {"status": None, "error": str(error) or type(error).__name__}
        return {"status": answer.status_code, "body": answer.text[:200]}

    async def idle_for(self, seconds: float) -> bool:
        """Wait until nothing is being delivered; False when that takes longer."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        return not self._tasks

    # Commands

    async def get_config(self, request: Request, body: Json) -> Json:
        """GET /_sim/config."""
        return self.config.model_dump()

    async def set_config(self, request: Request, body: Json) -> Json:
        """POST /_sim/config: the fields given."""
        changed = Config.model_validate({**self.config.model_dump(), **body})
        for name in body:
            setattr(self.config, name, getattr(changed, name))
        self.store.set_meta("config", self.config.model_dump())
        return self.config.model_dump()

    async def reset(self, request: Request, body: Json) -> Json:
        """POST /_sim/reset: forget everything, the moved clock and changed settings too."""
        for task in list(self._tasks):
            task.cancel()
        self.plans.clear()
        self.faults.clear()
        for table in ("predictions", "deliveries", "meta"):
            self.store.db.execute(f"delete from {table}")  # noqa: S608
        for name in Config.model_fields:
            setattr(self.config, name, getattr(self._defaults, name))
        return {"reset": True}

    async def idle(self, request: Request, body: Json) -> Json:
        """GET /_sim/idle?timeout=10."""
        return {"idle": await self.idle_for(float(request.query_params.get("timeout", "10")))}

    async def add_plan(self, request: Request, body: Json) -> Json:
        """POST /_sim/plans."""
        self.plans.append(Plan.model_validate(body))
        return {"plans": [plan.model_dump() for plan in self.plans]}

    async def add_fault(self, request: Request, body: Json) -> Json:
        """POST /_sim/faults."""
        self.faults.append(Fault.model_validate(body))
        return {"faults": [fault.model_dump() for fault in self.faults]}

    async def clear_faults(self, request: Request, body: Json) -> Json:
        """DELETE /_sim/faults: plans, too."""
        self.faults.clear()
        self.plans.clear()
        return {}

    async def predictions(self, request: Request, body: Json) -> Json:
        """GET /_sim/predictions: all, oldest first."""
        return {"predictions": [self.shown(row) for row in self.store.rows("select * from predictions order by seq")]}

    async def finish(self, request: Request, body: Json) -> Json:
        """POST /_sim/predictions/{id}: end it now, as planned or by {"to": "failed", "error"}."""
        row = self._row(request.path_params["id"])
        if json.loads(row["body"])["status"] in FINAL:
            raise ValueError("it has ended")
        if to := body.get("to"):
            await self._end(row, to, error=body.get("error"))
        else:
            await self._make(row)
        return self.shown(self._row(row["id"]))

    async def forget(self, request: Request, body: Json) -> Json:
        """DELETE /_sim/predictions/{id}: 404 from now on."""
        self.store.db.execute("delete from predictions where id = ?", (self._row(request.path_params["id"])["id"],))
        return {}

    async def deliveries(self, request: Request, body: Json) -> Json:
        """GET /_sim/deliveries; states: queued, delivered, failed, dropped."""
        rows = self.store.rows("select id, prediction, event, state, attempts, responses from deliveries order by id")
        return {"deliveries": [{**dict(row), "responses": json.loads(row["responses"])} for row in rows]}

    async def deliver(self, request: Request, body: Json) -> Json:
        """POST /_sim/deliver {"prediction", "times", "secrets", "age_seconds"}: its last event, now."""
        rows = self.store.rows("select * from deliveries where prediction = ? order by id desc", body["prediction"])
        if not rows:
            raise ValueError("nothing to deliver")
        secrets, age = body.get("secrets") or self.config.webhook_secrets, int(body.get("age_seconds", 0))
        return {"responses": [await self._post(rows[0], secrets, age) for _ in range(int(body.get("times", 1)))]}


COMMANDS: dict[str, Callable[[Studio, Request, Json], Awaitable[Json]]] = {
    "GET /_sim/config": Studio.get_config,
    "POST /_sim/config": Studio.set_config,
    "POST /_sim/reset": Studio.reset,
    "POST /_sim/clock": Studio.move_clock,
    "GET /_sim/idle": Studio.idle,
    "POST /_sim/plans": Studio.add_plan,
    "POST /_sim/faults": Studio.add_fault,
    "DELETE /_sim/faults": Studio.clear_faults,
    "GET /_sim/predictions": Studio.predictions,
    "POST /_sim/predictions/{id}": Studio.finish,
    "DELETE /_sim/predictions/{id}": Studio.forget,
    "GET /_sim/deliveries": Studio.deliveries,
    "POST /_sim/deliver": Studio.deliver,
}


def create_app(store: Store, config: Config) -> Starlette:
    """The application on an open store."""
    studio = Studio(store, config)

    def command(act: Callable[[Studio, Request, Json], Awaitable[Json]]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            try:
                return JSONResponse(await act(studio, request, json.loads(await request.body() or b"{}")))
            except (ValueError, KeyError, TypeError, ValidationError, ApiError) as error:
                return JSONResponse({"error": str(error)}, 400)

        return endpoint

    return Starlette(
        routes=[
            *(Route(line.split(" ")[1], command(act), methods=[line.split(" ")[0]]) for line, act in COMMANDS.items()),
            Route("/{path:path}", studio.api, methods=["GET", "POST", "DELETE"]),
        ],
        lifespan=studio.running,
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


def _secret() -> str:
    return "whsec_" + base64.b64encode(uuid4().bytes).decode()


def _picture(photo: bytes | None) -> bytes:
    """A studio's idea of a photo: stretched contrast, a white frame. PNG stays PNG."""
    image = Image.open(BytesIO(photo)) if photo else Image.linear_gradient("L")
    file, kind = BytesIO(), "PNG" if image.format == "PNG" else "JPEG"
    done = ImageOps.autocontrast(ImageOps.exif_transpose(image).convert("RGB"))
    ImageOps.expand(done, border=max(done.size) // 20, fill="white").save(file, kind)
    return file.getvalue()


async def _cut_off(request: Request, data: bytes) -> AsyncIterator[bytes]:
    yield data[: len(data) // 2]
    # Let it leave first, and the server notice that the connection is gone.
    await asyncio.sleep(0.05)
    CuttableProtocol.transports[tuple(request.scope["client"])].abort()
    await asyncio.sleep(0.05)


def main(
    port: Annotated[int, typer.Option(help="Port to listen on.")],
    state: Annotated[Path, typer.Option(help="SQLite file that keeps everything; created when missing.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    token: Annotated[str | None, typer.Option(help="The API token that is accepted.")] = None,
    webhook_secret: Annotated[list[str] | None, typer.Option(help="Signing secret; may be repeated.")] = None,
) -> None:
    """Serve the studio simulator until terminated. What is given here wins over the state file's settings."""
    store = Store(state)
    given = {"token": token, "webhook_secrets": webhook_secret or None}
    config = Config.model_validate({**store.meta("config", {}), **{name: each for name, each in given.items() if each}})
    uvicorn.run(
        create_app(store, config), host=host, port=port, http=CuttableProtocol, log_level="warning", access_log=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)

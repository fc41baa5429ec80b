"""A studio behind a prediction API in Replicate's form: create with a webhook, poll, cancel, outputs gone in an hour.

Written for replicate.com/docs/reference/http; the simulator (`stack.simulator.studio`) speaks the same. What decides:

- Creating has no idempotency key. So it is called once and never repeated by itself, and our attempt's id goes along
  twice, where the provider gives it back: in the webhook's URL, and behind the photo's URL as a fragment, which is no
  part of what anybody asks a server for. By these find() and verify_delivery() know whose prediction it is.
- Only the provider's own final words are a verdict. A state we do not know is `processing`.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from uuid import UUID

import httpx
from pydantic import AwareDatetime, BaseModel, Field, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from workers.studio.fetch import Gone, TooLarge, fetch
from workers.studio.protocol import (
    ATTEMPT_PARAMETER,
    WEBHOOK_PATH,
    Attempt,
    Code,
    Delivery,
    InvalidDelivery,
    OutputGone,
    OutputInvalid,
    State,
    Status,
    StudioUnavailable,
    StudioUnknown,
)

# Connecting works quickly or not at all; a create that takes longer is looked for.
TIMEOUT = httpx.Timeout(20, connect=5)
TOTAL_SECONDS = 60
# Before a call that changes nothing is repeated.
PAUSES = (0.2, 1.0)
DETAIL_CHARACTERS, URL_CHARACTERS = 500, 2000
ANSWER_BYTES = 5 * 1024 * 1024
# The provider refuses other spans.
SHORTEST_SECONDS, LONGEST_SECONDS = 5, 24 * 3600
# How far back find() looks when it is not told, how far clocks may differ, how long a request may be on its way.
HORIZON, SKEW, ON_ITS_WAY = timedelta(hours=25), timedelta(minutes=2), timedelta(minutes=10)
MOST_PAGES = 50
# Where the provider keeps outputs; they may ask for the token, which nobody else shall see.
OUTPUT_HOSTS = ("replicate.delivery",)

_FINAL: dict[str, State] = {"succeeded": "succeeded", "failed": "failed", "canceled": "canceled", "aborted": "canceled"}
# Models say why in prose only.
_REFUSED = re.compile(r"\bE005\b|\bnsfw\b|flagged|sensitive|safety|moderat|content policy|prohibited", re.IGNORECASE)
_UNREADABLE = re.compile(
    r"cannot identify image|not a valid image|unsupported image|image file is truncated|decompression bomb"
    r"|(?:failed|unable) to (?:download|fetch|load|read|open) (?:the )?(?:input|image|file)"
    r"|could not (?:download|read)",
    re.IGNORECASE,
)

_ABOUT_INPUT = re.compile(r"\binput\b", re.IGNORECASE)


class _Metrics(BaseModel):
    predict_time: float | None = Field(default=None, ge=0, le=10**7)


class _Prediction(BaseModel):
    """What we read of a prediction; all else is ignored."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^[\w-]+$")
    status: str = Field(max_length=50)
    input: Any = None
    output: Any = None
    error: Any = None
    data_removed: bool = False
    metrics: _Metrics | None = None
    webhook: str | None = None
    source: str | None = None
    created_at: AwareDatetime | None = None


class _Page(BaseModel):
    results: list[_Prediction]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the provider bills, in millionths of a dollar: for each picture, and for each second of computing."""

    micros_per_output: int = 0
    micros_per_second: int = 0

    def of(self, state: str, seconds: float) -> int:
        """What a prediction that ended so cost."""
        # One that never began ("aborted") is not billed and has no seconds.
        return ceil(self.micros_per_second * seconds) + (self.micros_per_output if state == "succeeded" else 0)


class HttpStudio:
    """One account at a prediction API. `version`: which model does the work; `input_name`: what it calls the photo.

    workers_url: where the provider reaches our webhooks; without it there are none, and polling has to do.
    """

    name = "http"

    def __init__(
        self,
        api_base: str,
        token: str,
        version: str,
        *,
        webhook_secrets: Sequence[str] = (),
        workers_url: str | None = None,
        input_name: str = "image",
        cost: Cost | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        self._base = httpx.URL(api_base)
        self._version, self._input_name, self._cost = version, input_name, cost
        self._workers_url = workers_url
        self._verifiers = [Webhook(secret) for secret in webhook_secrets]
        self._token = {"authorization": f"Bearer {token}"}
        self._client = httpx.AsyncClient(timeout=timeout)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def submit(self, attempt: Attempt) -> Status:
        """Create the prediction, once. Raises StudioUnknown, StudioUnavailable."""
        seconds = int((attempt.deadline - datetime.now(UTC)).total_seconds())
        if seconds <= 0:
            return Status("canceled", None, code="canceled", detail="too late before it was submitted", cost_micros=0)
        until = f"{min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)}s"
        try:
            answer = await self._call(
                "POST", "predictions", json=self._request(attempt), headers={"cancel-after": until}
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise StudioUnavailable(f"not created: {error!r}") from error
        except httpx.HTTPError as error:
            raise StudioUnknown(f"no answer: {error!r}") from error
        status = answer.status_code
        if status in (400, 413, 422) and (_REFUSED.search(answer.text) or _ABOUT_INPUT.search(answer.text)):
            # About this photo or prompt, before anything was made of it.
            code: Code = "refused" if _REFUSED.search(answer.text) else "provider_failed"
            return Status("failed", None, code=code, detail=_words(answer), cost_micros=0)
        if 400 <= status < 500 and status != 408:
            # Too many, or what is wrong with our account or settings, such as the version: no photo's fault.
            raise StudioUnavailable(f"not created: {_words(answer)}", _retry_after(answer))
        if not 200 <= status < 300:
            raise StudioUnknown(_words(answer))
        try:
            return self._status(_Prediction.model_validate_json(answer.content))
        except ValidationError as error:
            raise StudioUnknown(f"no prediction in the answer: {_first(error)}") from error

    async def find(self, attempt_id: UUID, submitted_at: datetime | None = None) -> Status | None:
        """Look through the account's predictions, newest first. Raises StudioUnavailable when they do not tell."""
        first = (submitted_at or datetime.now(UTC) - HORIZON) - SKEW
        last = submitted_at + ON_ITS_WAY if submitted_at else datetime.max.replace(tzinfo=UTC)
        query, unclear = {"created_after": first.isoformat()}, 0
        for _ in range(MOST_PAGES):
            body = await self._get("predictions", query)
            try:
                page = _Page.model_validate_json(body or b"")
            except ValidationError as error:
                raise StudioUnavailable(f"no list of predictions in the answer: {_first(error)}") from error
            for prediction in page.results:
                if _attempt_of(prediction) == attempt_id:
                    return self._status(prediction)
                # The filter above may be unknown to the API; what is older ends the search.
                created = prediction.created_at
                if created and created < first:
                    _check_all_told(unclear)
                    return None
                unclear += not self._is_legible(prediction) and (created is None or created < last)
            if not page.next:
                _check_all_told(unclear)
                return None
            # Only the cursor: the token goes nowhere else.
            query = {name: values[-1] for name, values in parse_qs(urlsplit(page.next).query).items()}
        raise StudioUnavailable(f"more than {MOST_PAGES} pages of predictions")

    def _is_legible(self, prediction: _Prediction) -> bool:
        """Whether it would show our mark if it were ours. The provider deletes inputs after an hour."""
        given = prediction.input if isinstance(prediction.input, dict) else {}
        return bool(prediction.webhook or given.get(self._input_name)) or prediction.source == "web"

    async def get_status(self, ref: str) -> Status:
        """How a prediction stands. Raises StudioUnavailable."""
        body = await self._get(f"predictions/{quote(ref, safe='')}")
        if body is None:
            return Status("failed", ref, code="output_gone", detail="the provider does not know it")
        try:
            prediction = _Prediction.model_validate_json(body)
        except ValidationError as error:
            raise StudioUnavailable(f"no prediction in the answer: {_first(error)}") from error
        if prediction.id != ref:
            raise StudioUnavailable("the answer is about another prediction")
        return self._status(prediction)

    async def fetch_output(self, status: Status, limit: int) -> bytes:
        """The file, over HTTPS or from the API's own host. Raises OutputGone, OutputInvalid, StudioUnavailable."""
        try:
            url = httpx.URL(status.output_url or "")
        except httpx.InvalidURL as error:
            raise OutputInvalid(f"no URL: {error}") from error
        own = (url.scheme, url.host, url.port) == (self._base.scheme, self._base.host, self._base.port)
        if not own and url.scheme != "https":
            raise OutputInvalid("no HTTPS URL")
        trusted = own or any(url.host == host or url.host.endswith(f".{host}") for host in OUTPUT_HOSTS)
        try:
            data = await fetch(
                self._client, str(url), limit, headers=self._token if trusted else None, gone=frozenset({404, 410})
            )
        except Gone as error:
            raise OutputGone(str(error)) from error
        except TooLarge as error:
            raise OutputInvalid(str(error)) from error
        if not data:
            raise OutputInvalid("empty")
        return data

    async def cancel(self, ref: str) -> None:
        """Ask to stop; one that has ended or is not known is as good as stopped. Raises StudioUnavailable."""
        answer = await self._repeated("POST", f"predictions/{quote(ref, safe='')}/cancel")
        if answer.status_code >= 300 and answer.status_code not in (404, 409, 422):
            raise StudioUnavailable(_words(answer), _retry_after(answer))

    def verify_delivery(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """The prediction in a delivery signed by Standard Webhooks. Raises InvalidDelivery."""
        given = {name: value for name, value in headers.items() if name.lower().startswith("webhook-")}
        reason = "no webhook secret is configured"
        for verifier in self._verifiers:
            try:
                verifier.verify(body, given, json_parse=False)
                break
            except (WebhookVerificationError, ValueError) as error:
                # A signature that is no base64, a body that is no UTF-8.
                reason = str(error) or "not signed"
        else:
            raise InvalidDelivery(reason)
        try:
            prediction = _Prediction.model_validate_json(body)
        except ValidationError as error:
            raise InvalidDelivery(f"no prediction: {_first(error)}") from error
        return Delivery(_attempt_of(prediction), self._status(prediction))

    # Inside

    def _request(self, attempt: Attempt) -> dict[str, Any]:
        given: dict[str, Any] = {"prompt": attempt.prompt}
        mark = urlencode({ATTEMPT_PARAMETER: str(attempt.id)})
        if attempt.input_url is not None:
            given[self._input_name] = f"{attempt.input_url}#{mark}"
        request: dict[str, Any] = {"version": self._version, "input": given}
        if self._workers_url:
            request["webhook"] = f"{self._workers_url}{WEBHOOK_PATH}?{mark}"
            # The first tells of a prediction whose create call did not answer.
            request["webhook_events_filter"] = ["start", "completed"]
        return request

    def _status(self, prediction: _Prediction) -> Status:
        state = _FINAL.get(prediction.status, "processing")
        ref, error = prediction.id, _text(prediction.error)
        if state == "processing":
            return Status(state, ref)
        seconds = prediction.metrics.predict_time or 0 if prediction.metrics else 0
        cost = self._cost.of(state, seconds) if self._cost else None
        if state == "canceled":
            return Status(state, ref, code="canceled", detail=error or prediction.status, cost_micros=cost)
        if state == "succeeded":
            if url := _url(prediction.output):
                return Status(state, ref, output_url=url, cost_micros=cost)
            # An empty list is what is left after a filter took the picture out of it.
            code: Code = "output_gone" if prediction.data_removed else "provider_failed"
            return Status("failed", ref, code=code, detail="succeeded without an output", cost_micros=cost)
        code = "provider_failed"
        if _REFUSED.search(error):
            code = "refused"
        elif _UNREADABLE.search(error):
            code = "unreadable_input"
        return Status(state, ref, code=code, detail=error, cost_micros=cost)

    async def _get(self, path: str, query: dict[str, str] | None = None) -> bytes | None:
        """What is there; None when the API itself, and not some proxy before it, says that nothing is."""
        answer = await self._repeated("GET", path, query)
        if answer.status_code == 404 and _is_of_the_api(answer):
            return None
        if answer.status_code != 200:
            raise StudioUnavailable(_words(answer), _retry_after(answer))
        return answer.content

    async def _repeated(self, method: str, path: str, query: dict[str, str] | None = None) -> httpx.Response:
        """A call that does no harm when it is made twice. Raises StudioUnavailable when there is no answer."""
        for pause in (*PAUSES, None):
            try:
                answer = await self._call(method, path, params=query)
            except httpx.HTTPError as error:
                if pause is None:
                    raise StudioUnavailable(f"no answer: {error!r}") from error
            else:
                if answer.status_code < 500 or pause is None:
                    return answer
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """One call, read to its end. Raises httpx.HTTPError, and nothing else."""
        url = f"{str(self._base).rstrip('/')}/v1/{path}"
        try:
            async with (
                asyncio.timeout(TOTAL_SECONDS),
                self._client.stream(method, url, headers={**self._token, **(headers or {})}, **more) as answer,
            ):
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > ANSWER_BYTES:
                        raise httpx.RemoteProtocolError(f"an answer of more than {ANSWER_BYTES} bytes")
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no answer within {TOTAL_SECONDS} s") from error
        kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "retry-after")}
        return httpx.Response(answer.status_code, headers=kept, content=body)


def _attempt_of(prediction: _Prediction) -> UUID | None:
    """The attempt whose mark a prediction carries."""
    given = list(prediction.input.values()) if isinstance(prediction.input, dict) else []
    for url in (prediction.webhook, *given):
        if not isinstance(url, str):
            continue
        try:
            parts = urlsplit(url)
            return UUID(parse_qs(parts.fragment or parts.query)[ATTEMPT_PARAMETER][0])
        except (ValueError, KeyError):
            continue
    return None


def _check_all_told(unclear: int) -> None:
    if unclear:
        raise StudioUnavailable(f"{unclear} predictions do not tell any more whose they are")


def _url(output: Any) -> str | None:
    """The one file of an output: models answer with a URL or with a list of them."""
    first = output[0] if isinstance(output, list) and output else output
    if not isinstance(first, str) or not first.startswith(("https://", "http://")):
        return None
    return first if len(first) <= URL_CHARACTERS and first.isascii() and first.isprintable() else None


def _text(error: Any) -> str:
    return _storable(error if isinstance(error, str) else "" if error is None else json.dumps(error))


def _words(answer: httpx.Response) -> str:
    return _storable(f"HTTP {answer.status_code}: {answer.text}")


def _storable(text: str) -> str:
    # PostgreSQL stores everything but NUL.
    return text[:DETAIL_CHARACTERS].replace("\0", "\ufffd")


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"


def _is_of_the_api(answer: httpx.Response) -> bool:
    try:
        body = json.loads(answer.content)
    except ValueError:
        return False
    return isinstance(body, dict) and isinstance(body.get("detail"), str)


def _retry_after(answer: httpx.Response) -> float | None:
    value = answer.headers.get("retry-after", "")
    return float(value) if re.fullmatch(r"\d{1,6}", value) else None

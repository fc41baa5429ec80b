"""The HTTP provider against the simulator, over loopback and with real signatures: all that goes wrong out there."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from stack.simulator.studio import sign
from stack.simulator.studio_control import StudioControl
from tests.harness.waiting import until
from tests.media import pictures
from tests.studio.conftest import OTHER_SECRET, PHOTO, SECRET, Desk, Outside, StudioProcess, attempt_in
from workers.media.picture import Refused
from workers.media.pool import Pool
from workers.studio.http import HttpStudio
from workers.studio.protocol import (
    Attempt,
    InvalidDelivery,
    OutputGone,
    OutputInvalid,
    Status,
    StudioUnavailable,
    StudioUnknown,
)

LIMIT = 10_000_000
# The first for a call that is never answered.
BRIEF, LONG = httpx.Timeout(1), httpx.Timeout(30)


async def ended(studio: HttpStudio, ref: str | None) -> Status:
    """The final status, by polling."""
    assert ref
    async with asyncio.timeout(30):
        while not (status := await studio.get_status(ref)).is_final:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return status


async def done(studio: HttpStudio, attempt: Attempt) -> Status:
    """Submitted and ended."""
    return await ended(studio, (await studio.submit(attempt)).ref)


def delivered(outside: Outside, count: int) -> list[tuple[str, dict[str, str], bytes]]:
    return until(lambda: outside.deliveries if len(outside.deliveries) >= count else [], f"{count} webhooks")


def test_a_photo_goes_the_whole_way(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    attempt = outside.attempt(prompt="on a beach")

    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(attempt)
        assert (begun.state, begun.output_url, begun.cost_micros) == ("processing", None, None)
        status = await ended(studio, begun.ref)
        assert (status.state, status.code, status.ref) == ("succeeded", None, begun.ref)
        # 1.5 s at 1,000 and a picture at 40,000.
        assert status.cost_micros == 41_500
        image = Image.open(BytesIO(await studio.fetch_output(status, LIMIT)))
        assert (image.format, image.size) == ("PNG", (pictures.WIDTH + 12, pictures.HEIGHT + 12))
        started, completed = (studio.verify_delivery(headers, body) for _, headers, body in delivered(outside, 2))
        assert started.status == begun
        assert completed.status == status
        assert started.attempt_id == completed.attempt_id == attempt.id
        assert {attempt_in(path) for path, _, _ in outside.deliveries} == {attempt.id}

    desk.run(test)
    (prediction,) = simulator.predictions()
    assert prediction["input"]["prompt"] == "on a beach"
    assert prediction["version"] == "avenue/simulator:1"


def test_each_photo_has_its_own_prediction_and_a_flagged_one_spoils_no_other(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    for result in ("succeeded", "flagged", "succeeded", "failed", "succeeded"):
        simulator.plan(result=result)

    async def test(studio: HttpStudio) -> list[Status]:
        return [await done(studio, outside.attempt()) for _ in range(5)]

    statuses = desk.run(test)
    assert [status.code for status in statuses] == [None, "refused", None, "provider_failed", None]
    assert len({status.ref for status in statuses}) == len(simulator.predictions()) == 5
    assert "E005" in (statuses[1].detail or "")
    # A refused photo has cost seconds, not a picture.
    assert [status.cost_micros for status in statuses] == [41_500, 1_500, 41_500, 1_500, 41_500]


@pytest.mark.parametrize(
    "fault",
    [
        {"mode": "hang"},
        {"mode": "cut"},
        {"mode": "error", "status": 500},
        {"mode": "error", "status": 503, "body": "<html>"},
        {"mode": "error", "status": 429, "headers": {"retry-after": "7"}},
        {"mode": "error", "status": 401, "body": {"detail": "token"}},
        {"mode": "error", "status": 404, "body": "<html>not here"},
        {"mode": "error", "status": 200, "body": {"status": "failed"}},
        {"mode": "error", "status": 200, "body": {"id": "another", "status": "failed"}},
    ],
    ids=str,
)
def test_what_is_no_word_of_the_provider_is_no_failure(
    desk: Desk, outside: Outside, simulator: StudioControl, fault: dict[str, Any]
) -> None:
    ref = desk.run(lambda studio: studio.submit(outside.attempt())).ref or ""
    simulator.fault("GET /v1/predictions/*", **{"times": 3, **fault})
    with pytest.raises(StudioUnavailable) as unavailable:
        desk.run(lambda studio: studio.get_status(ref), timeout=BRIEF if fault["mode"] == "hang" else LONG)
    assert unavailable.value.retry_after == (7 if fault.get("status") == 429 else None)
    simulator.clear_faults()
    assert desk.run(lambda studio: ended(studio, ref)).state == "succeeded"


def test_a_hiccup_is_passed_over(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(outside.attempt())
        simulator.fault("GET /v1/predictions/*", "error", status=502)
        simulator.fault("GET /v1/predictions/*", "cut")
        assert (await studio.get_status(begun.ref or "")).ref == begun.ref

    desk.run(test)


def test_a_state_nobody_knows_is_not_final(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(until_told=True)

    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(outside.attempt())
        simulator.finish(begun.ref or "", "reviewing")
        assert (await studio.get_status(begun.ref or "")).state == "processing"

    desk.run(test)


def test_a_prediction_the_provider_does_not_know_is_gone(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    async def test(studio: HttpStudio) -> Status:
        begun = await studio.submit(outside.attempt())
        simulator.forget(begun.ref or "")
        return await studio.get_status(begun.ref or "")

    status = desk.run(test)
    assert (status.state, status.code) == ("failed", "output_gone")


def test_the_provider_stops_at_the_deadline(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(until_told=True)

    async def test(studio: HttpStudio) -> Status:
        begun = await studio.submit(outside.attempt(hours=2))
        simulator.move_clock(2 * 3600 - 60)
        assert (await studio.get_status(begun.ref or "")).state == "processing"
        simulator.move_clock(120)
        return await ended(studio, begun.ref)

    status = desk.run(test)
    assert (status.state, status.code, status.cost_micros) == ("canceled", "canceled", 0)


def test_what_is_too_late_is_not_submitted(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    status = desk.run(lambda studio: studio.submit(outside.attempt(hours=-1)))
    assert (status.state, status.code, status.ref) == ("canceled", "canceled", None)
    assert simulator.predictions() == []


def test_a_success_after_the_deadline_is_told_as_it_is(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(work_seconds=7200, ignores_deadline=True)
    attempt = outside.attempt(hours=1)

    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(attempt)
        simulator.move_clock(3700)
        assert (await studio.get_status(begun.ref or "")).state == "processing"
        simulator.move_clock(3600)
        assert (await ended(studio, begun.ref)).state == "succeeded"
        _, headers, body = delivered(outside, 2)[-1]
        delivery = studio.verify_delivery(headers, body)
        assert (delivery.attempt_id, delivery.status.state) == (attempt.id, "succeeded")

    desk.run(test)


def test_a_lost_webhook_is_made_up_by_polling(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(webhook="lost")
    status = desk.run(lambda studio: done(studio, outside.attempt()))
    assert status.state == "succeeded"
    assert [each["state"] for each in simulator.deliveries()] == ["dropped", "dropped"]
    assert outside.deliveries == []


def test_only_the_last_webhook_is_retried_and_for_a_minute(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    outside.status = 503
    desk.run(lambda studio: done(studio, outside.attempt()))
    until(lambda: len(outside.deliveries) >= 4, "retries")
    simulator.move_clock(61)
    assert simulator.idle()
    started, completed = simulator.deliveries()
    assert (started["state"], started["attempts"]) == ("failed", 1)
    assert (completed["state"], completed["attempts"] >= 3) == ("failed", True)
    assert len({headers["webhook-id"] for _, headers, _ in outside.deliveries}) == 2


def test_an_hour_later_the_output_is_gone(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    async def test(studio: HttpStudio) -> None:
        status = await done(studio, outside.attempt())
        simulator.move_clock(3590)
        assert await studio.fetch_output(status, LIMIT)
        simulator.move_clock(20)
        with pytest.raises(OutputGone):
            await studio.fetch_output(status, LIMIT)
        later = await studio.get_status(status.ref or "")
        assert (later.state, later.code, later.output_url) == ("failed", "output_gone", None)
        assert later.cost_micros == status.cost_micros

    desk.run(test)


def test_a_webhook_overtakes_the_create_call_and_names_its_attempt(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    simulator.plan(early=True)
    attempt = outside.attempt()

    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(attempt)
        # It was here before the answer, which knows less than it.
        (path, headers, body) = outside.deliveries[0]
        delivery = studio.verify_delivery(headers, body)
        assert attempt_in(path) == delivery.attempt_id == attempt.id
        assert (begun.state, delivery.status.state, delivery.status.ref) == ("processing", "succeeded", begun.ref)

    desk.run(test)


def test_repeated_and_delayed_webhooks_say_the_same(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(webhook="twice", webhook_seconds=100)

    async def test(studio: HttpStudio) -> None:
        status = await done(studio, outside.attempt())
        assert outside.deliveries == []
        simulator.move_clock(101)
        told = [studio.verify_delivery(headers, body).status for _, headers, body in delivered(outside, 4)]
        assert [each for each in told if each.is_final] == [status, status]

    desk.run(test)


@pytest.mark.parametrize("mode", ["hang_after", "cut_after", "error_after"])
@pytest.mark.parametrize("shows_webhook", [True, False])
def test_a_create_call_without_an_answer_is_looked_for_not_repeated(
    desk: Desk, outside: Outside, simulator: StudioControl, mode: str, shows_webhook: bool
) -> None:
    simulator.config(shows_webhook=shows_webhook, page_size=2, knows_filter=shows_webhook)
    simulator.plan(until_told=True, times=6)
    attempt, begun = outside.attempt(), datetime.now(UTC)

    async def others(studio: HttpStudio, count: int) -> None:
        for _ in range(count):
            await studio.submit(outside.attempt())

    desk.run(lambda studio: others(studio, 1))
    simulator.fault("POST /v1/predictions", mode, status=502)
    with pytest.raises(StudioUnknown):
        desk.run(lambda studio: studio.submit(attempt), timeout=BRIEF if mode == "hang_after" else LONG)
    until(lambda: len(simulator.predictions()) == 2, "the prediction exists all the same")
    desk.run(lambda studio: others(studio, 4))
    found = desk.run(lambda studio: studio.find(attempt.id))
    assert found is not None
    assert found.ref == simulator.predictions()[1]["id"]
    assert desk.run(lambda studio: studio.find(attempt.id, begun)) == found


def test_the_webhook_of_such_a_call_is_adopted(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(until_told=True)
    simulator.fault("POST /v1/predictions", "cut_after")
    attempt = outside.attempt()

    async def test(studio: HttpStudio) -> None:
        with pytest.raises(StudioUnknown):
            await studio.submit(attempt)
        ((path, headers, body),) = delivered(outside, 1)
        delivery = studio.verify_delivery(headers, body)
        assert delivery.attempt_id == attempt_in(path) == attempt.id
        assert await studio.find(attempt.id) == delivery.status

    desk.run(test)


@pytest.mark.parametrize("mode", ["hang", "cut", "error"])
def test_one_that_never_arrived_may_be_submitted_again(
    desk: Desk, outside: Outside, simulator: StudioControl, mode: str
) -> None:
    attempt = outside.attempt()
    simulator.fault("POST /v1/predictions", mode)
    with pytest.raises(StudioUnknown):
        desk.run(lambda studio: studio.submit(attempt), timeout=BRIEF if mode == "hang" else LONG)
    assert desk.run(lambda studio: studio.find(attempt.id)) is None
    assert desk.run(lambda studio: done(studio, attempt)).state == "succeeded"
    assert len(simulator.predictions()) == 1


def test_nobody_can_say_when_the_list_does_not_tell(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.config(shows_webhook=False)

    async def test(studio: HttpStudio) -> None:
        before = datetime.now(UTC) - timedelta(hours=3)
        attempt = outside.attempt()
        await done(studio, attempt)
        simulator.move_clock(3700)
        # The provider has deleted by what it could be known.
        with pytest.raises(StudioUnavailable, match="do not tell"):
            await studio.find(attempt.id)
        # But it was made long after this one was submitted.
        assert await studio.find(outside.attempt().id, before) is None
        # Nor is what is older than the attempt asked, whether the list leaves it out or not.
        for knows_filter in (True, False):
            simulator.config(knows_filter=knows_filter)
            assert await studio.find(outside.attempt().id, datetime.now(UTC) + timedelta(hours=2)) is None
        for fault in ({"mode": "error", "status": 500}, {"mode": "error", "status": 404}, {"mode": "cut"}):
            simulator.fault("GET /v1/predictions", times=3, **fault)
            with pytest.raises(StudioUnavailable):
                await studio.find(attempt.id, before)
            simulator.clear_faults()

    desk.run(test)


@pytest.mark.parametrize(
    ("fault", "retry_after"),
    [
        ({"status": 429, "headers": {"retry-after": "30"}}, 30),
        ({"status": 402, "body": {"detail": "Insufficient credit"}}, None),
        ({"status": 404, "body": {"detail": "Not found."}}, None),
    ],
    ids=str,
)
def test_what_was_surely_not_created_says_so(
    desk: Desk, outside: Outside, simulator: StudioControl, fault: dict[str, Any], retry_after: int | None
) -> None:
    simulator.fault("POST /v1/predictions", "error", **fault)
    with pytest.raises(StudioUnavailable) as unavailable:
        desk.run(lambda studio: studio.submit(outside.attempt()))
    assert unavailable.value.retry_after == retry_after
    assert simulator.predictions() == []


def test_settings_that_are_wrong_fail_no_photo(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.config(version="avenue/simulator:2")
    for changes in ({}, {"token": "r8_wrong"}, {"api_base": "http://127.0.0.1:9"}):
        with pytest.raises(StudioUnavailable):
            desk.run(lambda studio: studio.submit(outside.attempt()), **changes)
    assert simulator.predictions() == []


def test_a_request_that_is_refused_for_its_input_is_final(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    bodies = ({"detail": "- input: prompt is too long"}, {"detail": "prompt was flagged"})
    for body, code in zip(bodies, ("provider_failed", "refused"), strict=True):
        simulator.fault("POST /v1/predictions", "error", status=422, body=body)
        status = desk.run(lambda studio: studio.submit(outside.attempt()))
        assert (status.state, status.code, status.ref, status.cost_micros) == ("failed", code, None, 0)


def test_a_photo_nobody_can_read_or_whose_url_expired_fails_for_good(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    async def test(studio: HttpStudio) -> None:
        no_picture = await done(studio, outside.attempt(photo=b"<!doctype html>"))
        simulator.plan(until_told=True)
        attempt = outside.attempt()
        begun = await studio.submit(attempt)
        outside.expire(attempt)
        simulator.finish(begun.ref or "")
        for status in (no_picture, await ended(studio, begun.ref)):
            assert (status.state, status.code) == ("failed", "unreadable_input"), status.detail

    desk.run(test)


def test_the_mark_behind_the_photos_url_is_asked_of_nobody(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    attempt = outside.attempt()
    assert desk.run(lambda studio: done(studio, attempt), input_name="photo").state == "succeeded"
    (prediction,) = simulator.predictions()
    # Our server knows no URL with the mark, and the photo arrived all the same.
    assert prediction["input"]["photo"] == f"{attempt.input_url}#attempt={attempt.id}"


def test_outputs_are_foreign_files(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    async def output(studio: HttpStudio, kind: str) -> bytes:
        simulator.plan(output=kind)
        status = await done(studio, outside.attempt())
        assert status.state == "succeeded"
        return await studio.fetch_output(status, LIMIT)

    async def test(studio: HttpStudio) -> None:
        picture = await output(studio, "picture")
        # By content; the declared type is never asked.
        assert await output(studio, "wrong_type") == picture
        async with Pool() as pool:
            for kind in ("broken", "page"):
                with pytest.raises(Refused):
                    await pool.decode(await output(studio, kind))
        with pytest.raises(OutputInvalid, match="empty"):
            await output(studio, "empty")
        begun = time.monotonic()
        with pytest.raises(OutputInvalid, match="more than"):
            await output(studio, "huge")
        assert time.monotonic() - begun < 10
        with pytest.raises(StudioUnavailable):
            await output(studio, "cut")
        simulator.plan(output="none")
        status = await done(studio, outside.attempt())
        assert (status.state, status.code) == ("failed", "provider_failed")

    desk.run(test)


def test_an_output_that_cannot_be_fetched_right_now_is_not_gone(
    desk: Desk, outside: Outside, simulator: StudioControl
) -> None:
    async def test(studio: HttpStudio) -> None:
        status = await done(studio, outside.attempt())
        data = await studio.fetch_output(status, LIMIT)
        assert await studio.fetch_output(status, len(data)) == data
        with pytest.raises(OutputInvalid):
            await studio.fetch_output(status, len(data) - 1)
        for fault in ({"status": 500}, {"status": 403}, {"status": 302, "headers": {"location": outside.url}}):
            simulator.fault("GET /files/*", "error", **fault)
            with pytest.raises(StudioUnavailable):
                await studio.fetch_output(status, LIMIT)

    desk.run(test)


def test_outputs_come_over_https_and_the_token_goes_nowhere_else(desk: Desk, outside: Outside) -> None:
    seen: dict[str, str | None] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.url.host] = request.headers.get("authorization")
        return httpx.Response(200, stream=httpx.ByteStream(b"x"))

    async def test(studio: HttpStudio) -> None:
        for url in (f"{outside.url}/x.png", "ftp://replicate.delivery/x", "file:///etc/passwd", "", "https://", "//x"):
            with pytest.raises((OutputInvalid, OutputGone)):
                await studio.fetch_output(Status("succeeded", "x", output_url=url), LIMIT)
        # Hosts that exist elsewhere only: answered here, in place of the network.
        await studio._client.aclose()
        studio._client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        for host in ("a.replicate.delivery", "replicate.delivery", "notreplicate.delivery", "example.com"):
            await studio.fetch_output(Status("succeeded", "x", output_url=f"https://{host}/x.png"), LIMIT)

    desk.run(test)
    assert {host for host, token in seen.items() if token} == {"a.replicate.delivery", "replicate.delivery"}
    assert len(seen) == 4


def test_cancel_may_be_repeated(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    simulator.plan(until_told=True)

    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(outside.attempt())
        ref = begun.ref or ""
        simulator.fault("POST /v1/predictions/*/cancel", "error", status=503)
        await studio.cancel(ref)
        await studio.cancel(ref)
        await studio.cancel("unknown")
        status = await studio.get_status(ref)
        assert (status.state, status.code) == ("canceled", "canceled")
        simulator.fault("POST /v1/predictions/*/cancel", "error", status=503, times=3)
        with pytest.raises(StudioUnavailable):
            await studio.cancel(ref)

    desk.run(test)


def received(desk: Desk, outside: Outside, simulator: StudioControl) -> tuple[str, dict[str, str], bytes]:
    """A real delivery, and the prediction it is about."""
    ref = desk.run(lambda studio: done(studio, outside.attempt())).ref
    _, headers, body = delivered(outside, 2)[-1]
    return ref or "", headers, body


def test_a_delivery_is_believed_by_its_signature_alone(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    _, headers, body = received(desk, outside, simulator)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    good = {name: headers[name] for name in names}
    stamp = int(good["webhook-timestamp"])
    bad: list[tuple[dict[str, str], bytes]] = [
        ({**good, "webhook-timestamp": str(stamp + 1)}, body),
        ({**good, "webhook-id": "msg_other"}, body),
        (good, body.replace(b"succeeded", b"failed   ")),
        (good, body + b" "),
        (good, b"\xff\xfe" + body),
        *(({key: value for key, value in good.items() if key != name}, body) for name in names),
        *(
            ({**good, "webhook-signature": mark}, body)
            for mark in ("", "v1", "v1,", "v1,é", "v2,eA==", "a,b,c", "v1,!!")
        ),
        *(({**good, "webhook-timestamp": stamp}, body) for stamp in ("nan", "inf", "-1", "x", "9" * 400)),
    ]

    async def test(studio: HttpStudio) -> None:
        assert studio.verify_delivery({name.title(): value for name, value in good.items()}, body)
        for wrong, raw in bad:
            with pytest.raises(InvalidDelivery):
                studio.verify_delivery(wrong, raw)

    desk.run(test)
    desk.secrets = ()
    with pytest.raises(InvalidDelivery, match="no webhook secret"):
        desk.run(lambda studio: asyncio.to_thread(studio.verify_delivery, good, body))


def test_forged_old_and_foreign_deliveries_are_refused(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    ref, _, _ = received(desk, outside, simulator)
    for options in ({"secrets": [OTHER_SECRET]}, {"age_seconds": 400}, {"age_seconds": -400}):
        outside.deliveries.clear()
        simulator.deliver(ref, **options)
        ((_, headers, body),) = outside.deliveries
        with pytest.raises(InvalidDelivery):
            desk.run(lambda studio: asyncio.to_thread(studio.verify_delivery, headers, body))  # noqa: B023
    outside.deliveries.clear()
    simulator.plan(webhook="forged")
    desk.run(lambda studio: done(studio, outside.attempt()))
    for _, headers, body in delivered(outside, 2):
        with pytest.raises(InvalidDelivery):
            desk.run(lambda studio: asyncio.to_thread(studio.verify_delivery, headers, body))  # noqa: B023


def test_a_secret_is_rotated_without_losing_a_delivery(desk: Desk, outside: Outside, simulator: StudioControl) -> None:
    ref, _, _ = received(desk, outside, simulator)
    desk.secrets = (OTHER_SECRET, SECRET)
    for signed_with in ([SECRET], [OTHER_SECRET], [SECRET, OTHER_SECRET]):
        outside.deliveries.clear()
        simulator.deliver(ref, secrets=signed_with)
        ((_, headers, body),) = outside.deliveries
        delivery = desk.run(lambda studio: asyncio.to_thread(studio.verify_delivery, headers, body))  # noqa: B023
        assert delivery.status.ref == ref


def test_a_signed_body_that_is_no_prediction_is_refused(desk: Desk) -> None:
    bodies = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"id": 1, "status": "x"}',
        b'{"id": "../x", "status": "failed"}',
        b"[" * 5000,
    ]
    bodies.append(json.dumps({"id": "x", "status": "succeeded", "metrics": {"predict_time": -1}}).encode())
    stamp = int(time.time())

    async def test(studio: HttpStudio) -> None:
        for body in bodies:
            headers = {
                "webhook-id": "msg_1",
                "webhook-timestamp": str(stamp),
                "webhook-signature": sign([SECRET], "msg_1", stamp, body),
            }
            with pytest.raises(InvalidDelivery):
                studio.verify_delivery(headers, body)

    desk.run(test)


def test_what_a_provider_says_can_be_stored(desk: Desk) -> None:
    said: list[tuple[dict[str, Any], str | None]] = [
        ({"status": "failed", "error": "no\0 memory" + "x" * 10_000}, "provider_failed"),
        ({"status": "succeeded", "output": "https://example.com/\0x.png"}, "provider_failed"),
        ({"status": "succeeded", "output": "https://example.com/" + "x" * 10_000}, "provider_failed"),
        ({"status": "succeeded", "output": ["https://example.com/x.png"]}, None),
    ]
    stamp = int(time.time())

    async def test(studio: HttpStudio) -> None:
        for given, code in said:
            body = json.dumps({"id": "x", **given}).encode()
            mark = sign([SECRET], "msg_1", stamp, body)
            headers = {"webhook-id": "msg_1", "webhook-timestamp": str(stamp), "webhook-signature": mark}
            status = studio.verify_delivery(headers, body).status
            assert status.code == code
            assert "\0" not in f"{status.detail}{status.output_url}"
            assert len(status.detail or "") <= 500

    desk.run(test)


def test_a_prediction_of_somebody_else_names_no_attempt(desk: Desk) -> None:
    bodies: list[dict[str, Any]] = [
        {"input": {"image": "https://example.com/x.png"}},
        {"input": {"image": "https://example.com/x.png#attempt=1"}, "webhook": "http://["},
        {"input": ["#attempt="], "webhook": "https://example.com/?attempt=" + "x" * 36},
    ]
    stamp = int(time.time())

    async def test(studio: HttpStudio) -> None:
        for given in bodies:
            body = json.dumps({"id": "x", "status": "failed", "error": {"any": 1}, **given}).encode()
            mark = sign([SECRET], "msg_1", stamp, body)
            headers = {"webhook-id": "msg_1", "webhook-timestamp": str(stamp), "webhook-signature": mark}
            delivery = studio.verify_delivery(headers, body)
            assert (delivery.attempt_id, delivery.status.code) == (None, "provider_failed")

    desk.run(test)


def test_the_simulator_goes_on_after_it_was_killed(
    desk: Desk, outside: Outside, simulator: StudioControl, process: StudioProcess
) -> None:
    simulator.plan(work_seconds=50)
    simulator.plan(webhook_seconds=50)

    async def test(studio: HttpStudio) -> None:
        begun = await studio.submit(outside.attempt())
        other = await done(studio, outside.attempt())
        process.stop(signal.SIGKILL)
        process.start()
        simulator.move_clock(60)
        assert (await ended(studio, begun.ref)).state == "succeeded"
        assert await studio.get_status(other.ref or "") == other
        told = [studio.verify_delivery(headers, body).status for _, headers, body in delivered(outside, 4)]
        assert sorted(each.ref or "" for each in told if each.is_final) == sorted([begun.ref or "", other.ref or ""])

    desk.run(test)


def test_photos_are_png_and_jpeg_alike(desk: Desk, outside: Outside) -> None:
    jpeg = pictures.saved(pictures.quarters(), "JPEG", exif=pictures.exif(6))

    async def test(studio: HttpStudio) -> list[str | None]:
        statuses = [await done(studio, outside.attempt(photo=photo)) for photo in (PHOTO, jpeg)]
        return [Image.open(BytesIO(await studio.fetch_output(status, LIMIT))).format for status in statuses]

    assert desk.run(test) == ["PNG", "JPEG"]

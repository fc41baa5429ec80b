"""Idempotency, faults, and what survives a killed process."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from tests.simulator.conftest import API_KEY, SECRET, Receiver, Simulator, free_port, running

NO_RETRY = {"max_network_retries": 0}


def transfer(simulator: Simulator, seller: str, key: str, amount: int = 5000, **options: Any) -> stripe.Transfer:
    """A transfer as the payout job sends it."""
    return simulator.client.v1.transfers.create(
        {"amount": amount, "currency": "usd", "destination": seller, "transfer_group": key},
        {"idempotency_key": key, **options},  # type: ignore[arg-type]
    )


def transfers(simulator: Simulator) -> int:
    """How many transfers were made."""
    return len(simulator.client.v1.transfers.list({"limit": 100}).data)


@pytest.fixture
def seller(simulator: Simulator) -> str:
    """A seller, and money to pay out."""
    simulator.control.add_balance(100_000)
    return simulator.seller()


def test_same_key_same_answer(simulator: Simulator, seller: str) -> None:
    first, again = transfer(simulator, seller, "k1"), transfer(simulator, seller, "k1")
    assert first.to_dict() == again.to_dict()
    assert transfers(simulator) == 1
    headers = again.last_response.headers  # type: ignore[union-attr]
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Original-Request"] == first.last_response.headers["Request-Id"]  # type: ignore[union-attr]


def test_same_key_other_parameters(simulator: Simulator, seller: str) -> None:
    transfer(simulator, seller, "k1")
    with pytest.raises(stripe.IdempotencyError, match="same parameters") as caught:
        transfer(simulator, seller, "k1", amount=5001)
    assert caught.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        simulator.client.v1.customers.create({}, {"idempotency_key": "k1"})
    assert transfers(simulator) == 1


def test_refusals_are_remembered_mistakes_are_not(simulator: Simulator, seller: str) -> None:
    for amount, key in ((999_999, "too much"), (0, "mistake")):
        with pytest.raises(stripe.InvalidRequestError):
            transfer(simulator, seller, key, amount=amount)
    simulator.control.add_balance(2_000_000)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        transfer(simulator, seller, "too much", amount=999_999)
    assert caught.value.code == "balance_insufficient", (
        "Stripe repeats the first answer although the money is there now"
    )
    assert transfer(simulator, seller, "mistake").amount == 5000
    # After a day the key is forgotten: the only time a repeat pays twice.
    simulator.control.config(idempotency_seconds=0)
    assert transfer(simulator, seller, "too much", amount=999_999).amount == 999_999


def test_decline_is_remembered(simulator: Simulator, receiver: Receiver) -> None:
    params: Any = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_chargeDeclined", "confirm": True}
    charges = set()
    for _ in range(2):
        with pytest.raises(stripe.CardError) as caught:
            simulator.client.v1.payment_intents.create(params, {"idempotency_key": "card"})
        charges.add(caught.value.error and caught.value.error.charge)
    assert len(charges) == 1
    assert len(simulator.client.v1.payment_intents.list().data) == 1


def test_concurrent_equal_calls_make_one_transfer(simulator: Simulator, seller: str) -> None:
    def call(_: int) -> stripe.Transfer:
        # Who comes while the first is at work is told to come again, on a slow machine more often than the default.
        return transfer(simulator, seller, "k1", max_network_retries=10)

    with ThreadPoolExecutor(12) as pool:
        assert len({made.id for made in pool.map(call, range(12))}) == 1
    assert transfers(simulator) == 1


def test_second_call_while_the_first_is_running(simulator: Simulator, seller: str) -> None:
    simulator.control.fault("POST /v1/transfers", "delay_before", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(transfer, simulator, seller, "k1")
        time.sleep(0.4)
        assert transfers(simulator) == 0, "delay_before: nothing recorded yet"
        with pytest.raises(stripe.StripeError) as caught:
            transfer(simulator, seller, "k1", **NO_RETRY)
        assert caught.value.error
        assert (caught.value.http_status, caught.value.error.code) == (409, "idempotency_key_in_use")
        # With its retries the SDK waits the first call out and gets its answer.
        patient = transfer(simulator, seller, "k1", max_network_retries=5)
        assert patient.id == first.result().id
    assert transfers(simulator) == 1


def test_delay_after_is_recorded(simulator: Simulator, seller: str) -> None:
    simulator.control.fault("POST /v1/transfers", "delay_after", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(transfer, simulator, seller, "k1")
        time.sleep(0.4)
        assert transfers(simulator) == 1
        assert transfer(simulator, seller, "k1", **NO_RETRY).id == first.result().id


def test_drop_after_cuts_the_connection_after_the_work(simulator: Simulator, seller: str) -> None:
    simulator.control.fault("POST /v1/transfers", "drop_after")
    with pytest.raises(stripe.APIConnectionError):
        transfer(simulator, seller, "k1", **NO_RETRY)
    assert transfers(simulator) == 1
    assert transfer(simulator, seller, "k1").amount == 5000
    assert transfers(simulator) == 1
    # httpx, as the workers use it, sees it as a connection error too.
    simulator.control.fault("GET /v1/balance", "drop_after")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{simulator.url}/v1/balance", auth=(API_KEY, ""))


def test_hang(simulator: Simulator, seller: str) -> None:
    simulator.control.fault("POST /v1/transfers", "hang", seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{simulator.url}/v1/transfers", auth=(API_KEY, ""), timeout=0.3, data={"amount": "1"})
    assert transfers(simulator) == 0


def test_a_client_that_left_does_not_stop_the_work(simulator: Simulator, seller: str) -> None:
    simulator.control.fault("POST /v1/transfers", "delay_before", seconds=0.6)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{simulator.url}/v1/transfers", auth=(API_KEY, ""), timeout=0.2,
            data={"amount": "5000", "currency": "usd", "destination": seller},
        )  # fmt: skip
    assert transfers(simulator) == 0
    time.sleep(0.8)
    assert transfers(simulator) == 1, "the provider may still do what its caller gave up on"


def test_error_fault(simulator: Simulator, seller: str) -> None:
    simulator.control.fault("POST /v1/transfers", "error", status=503, times=2)
    simulator.control.fault(
        "GET /v1/refunds/*",
        "error",
        status=429,
        body={"error": {"type": "invalid_request_error", "code": "rate_limit"}},
    )
    with pytest.raises(stripe.APIError) as caught:
        transfer(simulator, seller, "k1", **NO_RETRY)
    assert caught.value.http_status == 503
    assert [fault["times"] for fault in simulator.control.faults()] == [1, 1]
    assert transfer(simulator, seller, "k1", max_network_retries=2).amount == 5000, "the SDK tries again"
    with pytest.raises(stripe.RateLimitError):
        simulator.client.v1.refunds.retrieve("re_x", options=NO_RETRY)  # type: ignore[arg-type]
    simulator.control.fault("POST /v1/transfers", "error")
    simulator.control.clear_faults()
    assert simulator.control.faults() == []
    with pytest.raises(RuntimeError):
        simulator.control.fault("POST /v1/transfers", "explode")


def test_refused_commands(simulator: Simulator) -> None:
    paid = simulator.paid()
    for refused in (
        lambda: simulator.control.move(paid.id, "processing"),
        lambda: simulator.control.move("pi_none", "failed"),
        lambda: simulator.control.config(no_such_setting=1),
        lambda: simulator.control.config(copies=0),
        lambda: simulator.control.settle_charge("ch_none"),
    ):
        with pytest.raises(RuntimeError):
            refused()  # type: ignore[no-untyped-call]


def test_state_survives_kill(tmp_path: Path) -> None:
    receiver = Receiver()
    receiver.status = lambda event: 500
    with running(tmp_path, receiver.url, "--float-cents", "50000") as simulator:
        simulator.control.config(retry_seconds=0.3, fee_bps=100, api_key=API_KEY)
        seller, paid = simulator.seller(), simulator.paid()
        made = transfer(simulator, seller, "k1")
        balance = simulator.available()
        assert balance == 50_000 + 2000 - 20 - 30 - 5000
        simulator.stop(signal.SIGKILL)
        receiver.deliveries.clear()
        receiver.status = lambda event: 200
        simulator.start()
        assert simulator.available() == balance, "the float is given once"
        assert simulator.control.config()["fee_bps"] == 100
        assert transfer(simulator, seller, "k1").id == made.id
        assert simulator.client.v1.payment_intents.retrieve(paid.id).status == "succeeded"
        assert simulator.control.idle()
        assert {event.type for event in receiver.events()} >= {"payment_intent.succeeded", "transfer.created"}


def test_killed_under_load_keeps_what_it_answered(tmp_path: Path) -> None:
    with running(tmp_path, f"http://127.0.0.1:{free_port()}/") as simulator:
        simulator.control.hold()
        simulator.control.add_balance(1_000_000)
        seller, answered, stop = simulator.seller(), [], threading.Event()

        def pay_out() -> None:
            while not stop.is_set():
                key = f"payout-{time.monotonic_ns()}"
                try:
                    answered.append(transfer(simulator, seller, key, amount=100, **NO_RETRY).id)
                except stripe.APIConnectionError:
                    return

        with ThreadPoolExecutor(3) as pool:
            for _ in range(3):
                pool.submit(pay_out)
            time.sleep(0.7)
            simulator.stop(signal.SIGKILL)
            stop.set()
        simulator.start()
        known = {each.id for each in simulator.client.v1.transfers.list({"limit": 100}).auto_paging_iter()}
        assert answered
        assert set(answered) <= known
        assert simulator.available() == 1_000_000 - 100 * len(known)


def test_a_removed_state_file_is_a_new_provider(tmp_path: Path) -> None:
    with running(tmp_path, "http://127.0.0.1:9/") as simulator:
        simulator.paid()
        simulator.stop(signal.SIGKILL)
        simulator.state.unlink()  # SQLite's log file beside it stays
        simulator.start()
        assert simulator.client.v1.payment_intents.list().data == []
        assert simulator.available() == 0


def test_one_state_file_has_one_simulator(simulator: Simulator, receiver: Receiver) -> None:
    from stack.simulator.store import Store

    with pytest.raises(Exception, match="locked"):
        Store(simulator.state)
    assert SECRET in simulator.control.config()["webhook_secrets"]

"""Client of the simulator's commands, for tests, the demo and the bench."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import httpx

Json = dict[str, Any]


class SimulatorControl:
    """Commands to a running simulator. Each raises RuntimeError with the simulator's reason when it is refused."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(base_url=self.base_url, trust_env=False, timeout=60)

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def _call(self, method: str, path: str, body: Json | None = None, **query: Any) -> Json:
        asked = {name: value for name, value in query.items() if value is not None}
        answer = self._http.request(method, path, json=body, params=asked)
        result: Json = answer.json()
        if answer.is_error:
            raise RuntimeError(result["error"])
        return result

    def wait_ready(self, timeout_seconds: float = 10) -> None:
        """Return when the simulator answers. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self.config()
                return
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no simulator at {self.base_url}") from None
                time.sleep(0.05)

    def config(self, **changes: Any) -> Json:
        """Set the given settings (README.md); gives all of them."""
        return self._call("POST", "/_sim/config", changes) if changes else self._call("GET", "/_sim/config")

    def reset(self) -> None:
        """Forget everything, settings too."""
        self._call("POST", "/_sim/reset")

    def idle(self, timeout_seconds: float = 10) -> bool:
        """Wait until every delivery is answered with 2xx or given up; False when that takes longer."""
        return bool(self._call("GET", "/_sim/idle", timeout=timeout_seconds)["idle"])

    # Customers

    def confirm(self, client_secret: str, payment_method: str = "pm_card_visa", **params: Any) -> Json:
        """Pay as the customer's browser does; gives the PaymentIntent, also of a declined card."""
        intent_id = client_secret.partition("_secret_")[0]
        answer = self._http.post(
            f"/v1/payment_intents/{intent_id}/confirm",
            data={"client_secret": client_secret, "payment_method": payment_method, **params},
            headers={"Authorization": "Bearer pk_test_simulator"},
        )
        body: Json = answer.json()
        error = body.get("error", {})
        if answer.is_error and error.get("type") != "card_error":
            raise RuntimeError(error.get("message", answer.text))
        return dict(error["payment_intent"]) if error else body

    def pay_session(self, session_id: str, payment_method: str = "pm_card_visa") -> Json:
        """Pay on a Checkout Session's page as the buyer does; gives the session, open when the card was declined."""
        return self._call("POST", f"/_sim/sessions/{session_id}/pay", {"payment_method": payment_method})

    def onboard(self, account_link_url: str) -> str:
        """Follow an account link as the seller does; gives the URL the seller is sent back to."""
        answer = self._http.get(account_link_url, follow_redirects=False)
        if answer.status_code != 303:
            raise RuntimeError(answer.text)
        return answer.headers["Location"]

    # The provider's own moves

    def move(self, object_id: str, to: str, **details: Any) -> Json:
        """Bring a payment intent, refund or account to its next state (README.md); gives the object."""
        return self._call("POST", f"/_sim/objects/{object_id}", {"to": to, **details})

    def forget(self, object_id: str) -> None:
        """Let the provider answer 404 for an object from now on."""
        self._call("DELETE", f"/_sim/objects/{object_id}")

    def late_decline(self, intent_id: str, code: str = "card_declined") -> Json:
        """Decline a succeeded payment at settlement: same charge, now failed; the money is taken back."""
        return self.move(intent_id, "failed", code=code)

    def finish_payment(self, intent_id: str, to: Literal["succeeded", "failed"] = "succeeded") -> Json:
        """End a `processing` or `requires_action` payment."""
        return self.move(intent_id, to)

    def finish_refund(self, refund_id: str, to: Literal["succeeded", "failed", "canceled"] = "succeeded") -> Json:
        """End a pending refund, or let a succeeded one fail."""
        return self.move(refund_id, to)

    def complete_account(self, account_id: str) -> Json:
        """The seller finished onboarding: transfers and payouts work."""
        return self.move(account_id, "enabled")

    enable_account = complete_account

    def disable_account(self, account_id: str, reason: str = "requirements.past_due") -> Json:
        """The provider stopped transfers and payouts of an account."""
        return self.move(account_id, "disabled", reason=reason)

    def settle_charge(self, charge_id: str) -> Json:
        """Make the balance transaction that the setting `defer_fees` kept back."""
        return self._call("POST", f"/_sim/charges/{charge_id}/settle")

    def add_balance(self, amount_cents: int, currency: str = "usd") -> Json:
        """Move the platform's balance without a payment; gives {currency: [available, pending]}."""
        return dict(
            self._call("POST", "/_sim/balance", {"amount_cents": amount_cents, "currency": currency})["balance"]
        )

    # Webhooks

    def hold(self) -> None:
        """Collect events instead of delivering them."""
        self._call("POST", "/_sim/webhooks/hold")

    def release(self) -> int:
        """Deliver again, and everything held in the background; gives how many deliveries that is."""
        return int(self._call("POST", "/_sim/webhooks/release")["released"])

    def deliver(
        self,
        events: Sequence[str] | None = None,
        *,
        order: Literal["given", "random"] = "given",
        times: int = 1,
        secrets: Sequence[str] | None = None,
        age_seconds: int = 0,
    ) -> list[Json]:
        """Deliver events (default: all held) now, one after another; gives [{"event", "status", …}] in that order.

        `secrets` signs with others than the configured ones (a forgery), `age_seconds` dates the signature back.
        """
        body: Json = {"order": order, "times": times, "age_seconds": age_seconds}
        body |= {"events": list(events)} if events is not None else {}
        body |= {"secrets": list(secrets)} if secrets is not None else {}
        return list(self._call("POST", "/_sim/webhooks/deliver", body)["responses"])

    def deliveries(self, *, state: str | None = None, event: str | None = None, limit: int | None = None) -> list[Json]:
        """Deliveries with their responses, oldest first; states: queued, held, delivered, failed, dropped."""
        return list(self._call("GET", "/_sim/webhooks/deliveries", state=state, event=event, limit=limit)["deliveries"])

    # Faults

    def fault(self, match: str, mode: str, **details: Any) -> None:
        """Let the next requests matching e.g. "POST /v1/transfers" go wrong (README.md)."""
        self._call("POST", "/_sim/faults", {"match": match, "mode": mode, **details})

    def faults(self) -> list[Json]:
        """Faults still to come."""
        return list(self._call("GET", "/_sim/faults")["faults"])

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._call("DELETE", "/_sim/faults")

"""Client of the studio simulator's commands, for tests and the demo."""

from __future__ import annotations

import time
from typing import Any

import httpx

Json = dict[str, Any]


class StudioControl:
    """Commands to a running studio simulator. Each raises RuntimeError with its reason when it is refused."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(base_url=self.base_url, trust_env=False, timeout=60)

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def _call(self, method: str, path: str, body: Json | None = None, **query: Any) -> Json:
        answer = self._http.request(method, f"/_sim/{path}", json=body, params=query)
        result: Json = answer.json()
        if answer.is_error:
            raise RuntimeError(result["error"])
        return result

    def wait_ready(self, timeout_seconds: float = 30) -> None:
        """Return when the simulator answers. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self.config()
                return
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no studio simulator at {self.base_url}") from None
                time.sleep(0.05)

    def config(self, **changes: Any) -> Json:
        """Set the given settings (README.md); gives all of them."""
        return self._call("POST", "config", changes) if changes else self._call("GET", "config")

    def reset(self) -> None:
        """Forget everything: predictions, settings, the moved clock."""
        self._call("POST", "reset")

    def move_clock(self, seconds: float) -> None:
        """Let so much time pass for the provider: outputs vanish, deadlines come."""
        self._call("POST", "clock", {"seconds": seconds})

    def plan(self, **plan: Any) -> None:
        """How the next prediction goes, or the next `times` (README.md)."""
        self._call("POST", "plans", plan)

    def fault(self, match: str, mode: str, **details: Any) -> None:
        """What goes wrong with the next request like "METHOD /path", or the next `times` (README.md)."""
        self._call("POST", "faults", {"match": match, "mode": mode, **details})

    def clear_faults(self) -> None:
        """Drop plans and faults."""
        self._call("DELETE", "faults")

    def predictions(self) -> list[Json]:
        """All predictions, oldest first, as the API shows them."""
        return list(self._call("GET", "predictions")["predictions"])

    def finish(self, ref: str, to: str | None = None, error: str | None = None) -> Json:
        """End a prediction now: as it was planned, or `to` a state; gives it."""
        return self._call("POST", f"predictions/{ref}", {"to": to, "error": error})

    def forget(self, ref: str) -> None:
        """Let the API answer 404 for a prediction from now on."""
        self._call("DELETE", f"predictions/{ref}")

    def deliveries(self) -> list[Json]:
        """Webhook deliveries and their responses, oldest first; states queued, delivered, failed, dropped."""
        return list(self._call("GET", "deliveries")["deliveries"])

    def deliver(
        self, ref: str, *, times: int = 1, secrets: list[str] | None = None, age_seconds: int = 0
    ) -> list[Json]:
        """Deliver a prediction's last event now; `secrets` forges, `age_seconds` dates back. Gives the responses."""
        body = {"prediction": ref, "times": times, "secrets": secrets, "age_seconds": age_seconds}
        return list(self._call("POST", "deliver", body)["responses"])

    def idle(self, timeout_seconds: float = 10) -> bool:
        """Wait until every delivery is accepted or given up; False when that takes longer."""
        return bool(self._call("GET", "idle", timeout=timeout_seconds)["idle"])

"""Do the books add up, and does the provider hold what they say."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from workers import logs
from workers.jobs.queue import task
from workers.metrics import AUDIT_FINDINGS, PROVIDER_DIFFERENCE
from workers.providers import PaymentProvider, ProviderError
from workers.services import Services

log = logs.get(__name__)

CURRENCY = "USD"
SAMPLES = 5
CONFIRMATIONS = 3
PAUSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Position:
    """What the books say a provider holds for us, and what it says itself, in cents.

    busy: the two differ, but money is moving, so nothing can be said. unknown: the provider did not answer.
    """

    provider: str
    books_cents: int
    provider_cents: int | None
    verdict: Literal["equal", "different", "busy", "unknown"]


@dataclass(frozen=True, slots=True)
class Audit:
    """The outcome of an audit; it is clean when both lists raise no objection."""

    findings: list[dict[str, Any]]
    positions: list[Position] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """No violated invariant and no difference to a provider."""
        return not self.findings and all(position.verdict != "different" for position in self.positions)


async def audit(services: Services, pause: float = PAUSE_SECONDS) -> Audit:
    """Check every invariant in the database, then each provider's balance."""
    findings = await services.db.rows("audit_books")
    positions = [await _position(services, provider, pause) for provider in services.providers.values()]
    return Audit(findings, positions)


async def _position(services: Services, provider: PaymentProvider, pause: float) -> Position:
    """Books and provider cannot be read at the same instant, so only a difference that stands still counts."""
    seen: list[tuple[int, int]] = []
    for sample in range(SAMPLES):
        if sample:
            await asyncio.sleep(pause)
        books = int(await services.db.call("provider_position", provider.name))
        try:
            balance = await provider.balance_cents(CURRENCY)
        except ProviderError as error:
            log.error("provider balance not read", provider=provider.name, error=str(error))
            return Position(provider.name, books, None, "unknown")
        if books == balance:
            return Position(provider.name, books, balance, "equal")
        seen.append((books, balance))
        if len(seen) >= CONFIRMATIONS and len(set(seen[-CONFIRMATIONS:])) == 1:
            return Position(provider.name, books, balance, "different")
    return Position(provider.name, *seen[-1], "busy")


@task("nightly_audit", retry=False)
async def nightly_audit(services: Services) -> None:
    """Audit and raise the alarm: an error in the log for each finding, and the metrics."""
    outcome = await audit(services)
    AUDIT_FINDINGS.set(len(outcome.findings))
    for finding in outcome.findings:
        log.error("audit finding", **finding)
    for position in outcome.positions:
        if position.provider_cents is None:
            continue
        difference = position.provider_cents - position.books_cents
        PROVIDER_DIFFERENCE.labels(position.provider).set(difference if position.verdict == "different" else 0)
        if position.verdict == "different":
            log.error("provider holds another amount than the books say", **_as_dict(position))
    for row in await services.db.rows("money_waiting"):
        if row["needs_person"]:
            log.error("money needs a person", **row)
    log.info("audit done", clean=outcome.clean, findings=len(outcome.findings))


def _as_dict(position: Position) -> dict[str, Any]:
    return {
        "provider": position.provider,
        "books_cents": position.books_cents,
        "provider_cents": position.provider_cents,
    }

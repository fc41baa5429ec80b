"""The command line: run the workers, look at what they do, step in."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import psycopg
import typer
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.table import Table

from workers import logs
from workers.db import BusinessError, DatabaseUnavailable
from workers.services import Services, open_services
from workers.settings import Settings

T = TypeVar("T")

app = typer.Typer(help="Avenue's workers.", no_args_is_help=True, pretty_exceptions_enable=False)
events = typer.Typer(help="Provider events: the inbox.", no_args_is_help=True)
payouts = typer.Typer(help="Payouts to sellers.", no_args_is_help=True)
refunds = typer.Typer(help="Refunds to buyers.", no_args_is_help=True)
jobs = typer.Typer(help="The job queue.", no_args_is_help=True)
app.add_typer(events, name="events")
app.add_typer(payouts, name="payouts")
app.add_typer(refunds, name="refunds")
app.add_typer(jobs, name="jobs")

# Piped into a file or a pager, a table is as wide as it needs to be.
out = Console() if sys.stdout.isatty() else Console(width=250)
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
By = Annotated[str, typer.Option(help="Who does it; goes into the audit log.", prompt=True)]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")]


@app.command()
def serve() -> None:
    """Run the HTTP side: webhooks and functions."""
    from workers.http.app import serve as run  # the web stack is slow to import and only needed here

    with _clear_errors():
        run(_process_settings(serving=True))


@app.command()
def work() -> None:
    """Run jobs until SIGTERM; running ones are finished first."""
    from workers.jobs.work import work as run

    with _clear_errors():
        asyncio.run(run(_process_settings(serving=False)))


@app.command()
def check(as_json: Json = False) -> None:
    """Say which project the settings reach and what is missing there; exit status 1 when something is."""
    from workers.check import check as look

    findings = _with_services(look)
    rows = [{"what": f.what, "where": f.where, "verdict": f.problem or "ok"} for f in findings]
    _print("Reached", rows, as_json)
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


@app.command()
def audit(as_json: Json = False) -> None:
    """Check the books and the providers' balances; exit status 1 when something is wrong."""
    from workers.jobs.audit import Audit
    from workers.jobs.audit import audit as run

    async def look(services: Services) -> tuple[Audit, list[dict[str, Any]], list[dict[str, Any]]]:
        waiting = await services.db.rows("money_waiting")
        return await run(services), await services.db.rows("account_balances"), waiting

    outcome, balances, waiting = _with_services(look)
    stuck = [row for row in waiting if row["needs_person"]]
    positions = [
        {
            "provider": p.provider,
            "books_cents": p.books_cents,
            "provider_cents": p.provider_cents,
            "verdict": p.verdict,
        }
        for p in outcome.positions
    ]
    if as_json:
        _print_json(
            {
                "clean": outcome.clean,
                "findings": outcome.findings,
                "positions": positions,
                "balances": balances,
                "waiting": waiting,
            }
        )
    else:
        _print_table("Books", balances)
        _print_table("Providers", positions)
        if outcome.findings:
            _print_table("Findings", outcome.findings)
        if stuck:
            _print_table("Money that needs a person", stuck)
        out.print("[green]The books are right.[/]" if outcome.clean else "[bold red]The books need a person.[/]")
    if not outcome.clean:
        raise typer.Exit(1)


@app.command("remake-pictures")
def remake_pictures() -> None:
    """Make pictures in public buckets again, without what their files say; safe to interrupt and to repeat."""
    from workers.media.remake import remake_pictures as remake

    outcome = _with_services(remake)
    out.print(f"{outcome.pop('remade', 0)} made again, {outcome.pop('shown', 0)} places refer to a picture now.")
    for word, count in sorted(outcome.items()):
        out.print(f"[red]{count} {word}[/]: as they were uploaded, the log says which.")
    if outcome:
        raise typer.Exit(1)


@events.command("list")
def list_events(
    status: Annotated[str | None, typer.Option(help="pending, processed, ignored or dead.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Stored events, newest first."""
    rows = _with_services(lambda services: services.db.rows("list_webhook_events", status, limit))
    _print(f"Events{f' ({status})' if status else ''}", rows, as_json)


@events.command("show")
def show_event(event_id: int) -> None:
    """One event as the provider sent it, as JSON."""
    payload = _with_services(lambda services: services.db.call("webhook_event_payload", event_id))
    if payload is None:
        _fail(f"There is no event {event_id}.")
    out.print_json(data=payload)


@events.command("replay")
def replay_event(event_ids: Annotated[list[int], typer.Argument(help="Ids from `avenue events list`.")]) -> None:
    """Process events again, dead ones too; exit status 1 when one is not processed."""

    async def replay(services: Services) -> list[dict[str, Any]]:
        return [
            {"id": event_id, "status": await services.db.call("replay_webhook_event", event_id)}
            for event_id in event_ids
        ]

    outcomes = _with_services(replay)
    _print_table("Replayed", outcomes)
    if any(outcome["status"] not in ("processed", "ignored") for outcome in outcomes):
        raise typer.Exit(1)


@events.command("fetch")
def fetch_events(
    days: Annotated[
        int | None, typer.Option(min=1, max=30, help="Of the last so many days; default: since the last time.")
    ] = None,
) -> None:
    """Ask the provider for its events and take in those that never arrived."""
    from workers.jobs.events import fetch_events as run

    since = None if days is None else datetime.now(UTC) - timedelta(days=days)

    async def fetch(services: Services) -> list[dict[str, Any]]:
        return [{"provider": name, "new": await run(services, name, since)} for name in services.providers]

    _print_table("Events", _with_services(fetch))


@payouts.command("list")
def list_payouts(
    status: Annotated[
        str | None, typer.Option(help="requested, approved, processing, completed, failed, cancelled or returned.")
    ] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Payouts, newest first; `--status requested` are those waiting for approval."""
    rows = _with_services(lambda services: services.db.rows("list_payouts", status, limit))
    _print(f"Payouts{f' ({status})' if status else ''}", rows, as_json)


@payouts.command("approve")
def approve_payout(payout_id: str, by: By) -> None:
    """Approve a payout above the limit; a worker sends it."""
    status = _with_services(lambda services: services.db.call("approve_payout", payout_id, by))
    out.print(f"Payout {payout_id} is now [bold]{status}[/].")


@refunds.command("list")
def list_refunds(
    status: Annotated[str | None, typer.Option(help="requested, pending, succeeded, failed or cancelled.")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Refunds, newest first; `--status failed` are those to be made again."""
    rows = _with_services(lambda services: services.db.rows("list_refunds", status, limit))
    _print(f"Refunds{f' ({status})' if status else ''}", rows, as_json)


@refunds.command("retry")
def retry_refund(refund_id: str, by: By) -> None:
    """Make a failed refund again through the provider, as a new one; a worker sends it."""
    made = _with_services(lambda services: services.db.call("retry_refund", refund_id, by))
    out.print(f"Refund {refund_id} is made again as [bold]{made}[/].")


@refunds.command("paid-outside")
def pay_refund_outside(
    refund_id: str, reference: Annotated[str, typer.Option(help="Names the payment to the buyer.")], by: By
) -> None:
    """Book a failed refund as paid to the buyer in another way than through the provider."""
    made = _with_services(lambda services: services.db.call("pay_refund_outside", refund_id, reference, by))
    out.print(f"Refund {refund_id} was paid outside, booked as [bold]{made}[/].")


@jobs.command("install")
def install_jobs() -> None:
    """Install or upgrade the queue's tables, as the role in AVENUE_ADMIN_DATABASE_URL. Safe to repeat."""
    from workers.jobs.install import NotMigrated, install

    settings = _settings()
    if settings.admin_database_url is None:
        _fail("AVENUE_ADMIN_DATABASE_URL is not set: the queue is installed as the role postgres.")
    try:
        with _clear_errors():
            out.print(
                f"{_host(settings.admin_database_url)}: {install(settings.admin_database_url.get_secret_value())}"
            )
    except NotMigrated as error:
        _fail(str(error))


@jobs.command("run")
def run_job(name: Annotated[str, typer.Argument(help="A task without arguments, e.g. release_earnings.")]) -> None:
    """Run one periodic task now, here, without the queue."""
    from workers.jobs import schedule
    from workers.jobs.queue import TASKS

    periodic = schedule.crons(_settings())
    if name not in periodic:
        _fail(f"There is no task {name!r}. There are: {', '.join(sorted(periodic))}.")

    async def run(services: Services) -> None:
        from workers.jobs.queue import queue

        await queue.open_async(services.db.pool)
        await TASKS[name](services)

    _with_services(run)
    out.print(f"{name} has run.")


def _host(url: SecretStr) -> str:
    return urlsplit(url.get_secret_value()).hostname or "the default host"


def _process_settings(*, serving: bool) -> Settings:
    settings = _settings(for_people=False)
    if missing := settings.missing(serving=serving):
        _fail(f"Not set: {', '.join(missing)} (docs/deploy.md).", status=2)
    return settings


def _settings(for_people: bool = True) -> Settings:
    try:
        settings = Settings.load()
    except ValidationError as error:
        for problem in error.errors():
            name = str(problem["loc"][0]).upper().removeprefix("AVENUE_")
            err.print(f"[red]AVENUE_{name}[/]: {problem['msg']}")
        raise typer.Exit(2) from None
    if for_people:
        logs.configure("console", "ERROR")
    else:
        logs.configure(settings.log_format, settings.log_level)
    return settings


def _with_services(run: Callable[[Services], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_services(_settings(), "avenue-cli", wait=True) as services:
            return await run(services)

    with _clear_errors():
        return asyncio.run(opened())


@contextmanager
def _clear_errors() -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable as error:
        _fail(f"The database cannot be reached: {error}. Is AVENUE_DATABASE_URL right?")
    except BusinessError as error:
        _fail(f"{error.message} ({error.code})" + (f": {error.detail}" if error.detail else ""))
    except psycopg.OperationalError as error:
        _fail(f"The database cannot be reached: {error}")
    except (psycopg.errors.UndefinedFunction, psycopg.errors.InvalidSchemaName) as error:
        _fail(f"The database lacks migrations: {error.diag.message_primary}")
    except psycopg.Error as error:
        _fail(f"The database refused: {error.diag.message_primary or error}")


def _fail(message: str, status: int = 1) -> NoReturn:
    err.print(message, style="red", highlight=False, soft_wrap=True)
    raise typer.Exit(status)


def _print(title: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _print_json(rows)
    else:
        _print_table(title, rows)


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, default=str, indent=2)
    sys.stdout.write("\n")


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        out.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        money = column.endswith("_cents")
        table.add_column(column.removesuffix("_cents") if money else column, justify="right" if money else "left")
    for row in rows:
        table.add_row(*(_cell(column, value) for column, value in row.items()))
    out.print(table)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column.endswith("_cents"):
        return f"{'-' if value < 0 else ''}{abs(value) // 100:,}.{abs(value) % 100:02}"
    return f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "strftime") else str(value)


if __name__ == "__main__":
    app()

"""`python -m stack …`: what the Makefile's targets call."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stack import local
from stack.cluster import StackError
from stack.services import PARTS, Services

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console(highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    console.print(f"[dim]·[/] {text}", markup=True)


def _addresses(services: Services) -> None:
    rows = {
        "URL": services.url,
        "publishable": services.publishable_key,
        "secret key": services.secret_key,
        "Postgres": services.cluster.url(local.DATABASE),
        "simulator": services.simulator_url,
        "workers' API": f"{services.http_url}/docs",
    }
    console.print()
    for name, value in rows.items():
        console.print(f"  {name:<13}{value}", markup=False)
    console.print()


@app.command()
def up() -> None:
    """Start the local Supabase and the workers; a second time is harmless."""
    services = local.up(_say)
    _addresses(services)
    console.print(
        "  Next: [bold]make demo[/] shows a whole sale, [bold]make status[/] what runs, [bold]make down[/] stops."
    )


@app.command()
def down() -> None:
    """Stop everything this checkout started; data is kept."""
    local.down(_say)


@app.command()
def reset() -> None:
    """Throw the database away and start afresh."""
    _addresses(local.reset(_say))


@app.command()
def clean() -> None:
    """Stop everything and remove all state."""
    local.clean(_say)


@app.command()
def restart(part: Annotated[str, typer.Argument(help=f"One of {', '.join(PARTS)}.")]) -> None:
    """Restart one part, e.g. after changing the workers' code."""
    _known(part)
    local.services().restart(part)
    _say(f"{part} restarted")


@app.command()
def status() -> None:
    """Which parts run, where, with which keys. Exits with 1 when one is missing."""
    services = local.services()
    server = services.cluster
    table = Table(box=None, pad_edge=False)
    for column in ("part", "state", "port", "pid", "log"):
        table.add_column(column)
    running = local.database_answers(server)
    state = f"PostgreSQL {server.major}" if running else "[red]down[/]"
    table.add_row("postgres", state, str(server.port) if running else "", str(server.pid or ""), _short(server.log))
    complete = running
    for part in services.parts:
        record = services.record(part)
        alive = services.running(part)
        complete &= alive
        port, pid = (str(record.port or ""), str(record.pid)) if record and alive else ("", "")
        state = "running" if alive else "[red]died[/]" if record else "[red]down[/]"
        table.add_row(part, state, port, pid, _short(services.log(part)))
    console.print(table, no_wrap=True, crop=False, width=None if console.is_terminal else 200)
    for part in services.parts:
        if services.record(part) and not services.running(part):
            console.print(f"[red]{part} died[/]; its last words: {escape(services.reason(part))}")
    if complete:
        _addresses(services)
    raise typer.Exit(0 if complete else 1)


@app.command()
def logs(part: Annotated[str | None, typer.Argument(help="One part; all without it.")] = None) -> None:
    """Follow the logs."""
    services = local.services()
    if part not in (None, "postgres"):
        _known(part)
    files = [services.log(name) for name in services.parts if part in (None, name)]
    if part in (None, "postgres"):
        files.append(services.cluster.log)
    present = [str(file) for file in files if file.exists()]
    if not present:
        raise StackError("there are no logs yet; `make up` starts the stack")
    os.execvp("tail", ["tail", "-n", "20", "-F", *present])


@app.command()
def psql() -> None:
    """A psql prompt as role postgres."""
    server = local.cluster()
    if not local.database_answers(server):
        raise StackError(f"PostgreSQL does not run; `make up` starts it (log: {server.log})")
    url = server.url(local.DATABASE)
    found = shutil.which("psql", path=f"{server.bin}{os.pathsep}{os.environ.get('PATH', '')}")
    if not found:
        raise StackError(f"there is no psql on this machine; connect any client to {url}")
    os.execv(found, [found, url])


@app.command()
def env() -> None:
    """The settings as shell assignments: eval "$(make -s env)"."""
    for name, value in local.services().env.items():
        print(f"export {name}={shlex.quote(value)}")


def _short(path: Path) -> str:
    """A path as one types it here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _known(part: str | None) -> None:
    if part not in (known := local.services().parts):
        raise StackError(f"there is no part {part!r}; the parts are {', '.join(known)}")


def main() -> None:
    """Run a command; what the user can act on is one line, without a traceback."""
    try:
        app()
    except StackError as error:
        sys.exit(f"avenue: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

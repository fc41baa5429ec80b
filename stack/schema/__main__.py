"""`python -m stack.schema`: how a schema change travels from a page of sql/ to a migration, and what watches it."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.markup import escape

from stack.cluster import REPO, StackError
from stack.schema import check as checks
from stack.schema import docs as documents
from stack.schema import lint as linters
from stack.schema import matrix as access
from stack.schema import migration as migrations
from stack.schema import scratch

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)
AT_ONCE = 100  # findings a person can read


@app.command()
def migration(
    name: Annotated[str, typer.Argument(help="what it does, in snake_case: add_posts")],
    pages: Annotated[str, typer.Option(help="globs of new pages to take in, comma-separated: 'sql/00_*'")] = "*",
) -> None:
    """Start supabase/migrations/<timestamp>_<name>.sql from what sql/ has and the migrations lack."""
    try:
        draft = migrations.draft(name, pages)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not draft.path:
        console.print("Nothing to migrate: sql/ and supabase/migrations make the same database.")
        return
    console.print(f"Wrote {draft.path.relative_to(REPO)}")
    for page in draft.pages:
        console.print(f"  as written: {page}")
    console.print(f"To do: read it, and replace [bold]{checks.PLACEHOLDER}[/] by the reason.")
    for note in draft.notes:
        console.print(f"  - {escape(note)}")
    cost = linters.squawk([draft.path])
    if cost.ok is False:
        console.print(escape(cost.text))


@app.command()
def check() -> None:
    """Fail unless sql/ and supabase/migrations make the same database, by the rules, with history left alone."""
    findings = checks.everything()
    for finding in findings[:AT_ONCE]:
        console.print(f"[red]{finding.rule}[/]: {escape(finding.text)}")
    for rule, reason in sorted({(one.rule, one.reason) for one in findings if one.reason}):
        console.print(f"[dim]{rule}: {escape(reason)}[/]")
    if len(findings) > AT_ONCE:
        console.print(f"… and {len(findings) - AT_ONCE} more")
    _verdict("check", len(findings))


@app.command()
def matrix(
    url: Annotated[str | None, typer.Argument(help="a database's URL; default: one built from sql/")] = None,
) -> None:
    """Print the access matrix of a database, to compare a running one with docs/access-matrix.md."""
    if url:
        with psycopg.connect(url, autocommit=True) as connection:
            print(access.page(connection), end="")
    else:
        with scratch.built_from_pages() as database, database.connect() as connection:
            print(access.page(connection), end="")


@app.command()
def docs() -> None:
    """Rewrite docs/schema, docs/types, docs/errors.md and docs/access-matrix.md from the database that sql/ makes."""
    with scratch.built_from_pages() as database:
        changed = documents.write(documents.pages(database))
    console.print(
        "\n".join(f"wrote {path.relative_to(REPO)}" for path in changed) or "All generated pages are current."
    )


@app.command()
def lint() -> None:
    """Run every linter: one line each, and what they found."""
    failed = 0
    for verdict in linters.everything():
        word = {True: "[green]ok[/]", False: "[red]failed[/]", None: "[yellow]skipped[/]"}[verdict.ok]
        console.print(f"{verdict.name:14} {word}" + (f" ({verdict.text})" if verdict.ok is None else ""))
        if verdict.ok is False:
            failed += 1
            console.print(escape(verdict.text))
    _verdict("lint", failed)


def _verdict(name: str, count: int) -> None:
    console.print(f"{name}: [red]{count} failed[/]" if count else f"{name}: [green]ok[/]")
    raise typer.Exit(1 if count else 0)


if __name__ == "__main__":
    try:
        app()
    except StackError as problem:
        console.print(f"[red]{escape(str(problem))}[/]")
        raise SystemExit(1) from None

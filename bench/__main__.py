"""`python -m bench [name …]`: runs the measurements, prints a table and writes bench/results.json."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.core import Result

RESULTS = Path(__file__).with_name("results.json")


def keep(result: Result) -> None:
    """Renew one row of results.json as soon as it is measured: a run that is broken off has not been for nothing."""
    rows = {row["name"]: row for row in (json.loads(RESULTS.read_text()) if RESULTS.exists() else [])}
    rows[result.name] = {**asdict(result), "value": round(result.value, 1), "ratio": round(result.ratio, 3)}
    RESULTS.write_text(json.dumps(list(rows.values()), indent=2) + "\n")


def main(wanted: list[str]) -> int:
    from bench.stackup import Benchmarks

    console = Console()
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="avenue-bench-") as root, Benchmarks(Path(root)) as benchmarks:
        measurements: dict[str, Callable[[], Result]] = benchmarks.all()
        unknown = set(wanted) - set(measurements)
        if unknown:
            console.print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(measurements)}")
            return 2
        for name, measure in measurements.items():
            if wanted and name not in wanted:
                continue
            console.print(f"measuring {name} …")
            results.append(measure())
            keep(results[-1])

    table = Table(title="Ratios in one run; the goal is what counts")
    for column in ("name", "value", "unit", "ratio", "goal", "against"):
        table.add_column(column, justify="right" if column in ("value", "ratio") else "left")
    for r in results:
        mark = "[green]✓[/]" if r.reached else "[red]✗[/]"
        table.add_row(r.name, f"{r.value:,.0f}", r.unit, f"{r.ratio:.2f}", f"{r.goal} {mark}", r.against)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Command line: `python -m stack.simulator --port 12111 --state FILE --webhook-url URL --webhook-secret whsec_…`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from stack.simulator.engine import Config
from stack.simulator.server import CuttableProtocol, create_app
from stack.simulator.store import Store


def main(
    port: Annotated[int, typer.Option(help="Port to listen on.")],
    state: Annotated[Path, typer.Option(help="SQLite file that keeps everything; created when missing.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    webhook_url: Annotated[str | None, typer.Option(help="Where events are delivered.")] = None,
    webhook_secret: Annotated[list[str] | None, typer.Option(help="Signing secret; may be repeated.")] = None,
    api_key: Annotated[str | None, typer.Option(help="The only secret key accepted (else any sk_test_…).")] = None,
    float_cents: Annotated[int | None, typer.Option(help="USD balance of a new state file.")] = None,
) -> None:
    """Serve the provider simulator until terminated. What is given here wins over the state file's settings."""
    store = Store(state)
    given = {
        "webhook_url": webhook_url, "webhook_secrets": webhook_secret or None, "api_key": api_key,
        "float_cents": float_cents,
    }  # fmt: skip
    config = Config.model_validate(
        (store.meta("config") or {}) | {name: value for name, value in given.items() if value is not None}
    )
    uvicorn.run(
        create_app(store, config), host=host, port=port, http=CuttableProtocol, log_level="warning", access_log=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)

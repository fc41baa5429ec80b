"""A mail server that delivers nothing: every mail it takes becomes an .eml file. For the local stack and the tests.

Addresses beginning with `bounce` are refused for good (550), with `later` for now (451).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import time
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session


class Outbox:
    """aiosmtpd's handler: files named by the time of arrival, each in one step."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        directory.mkdir(parents=True, exist_ok=True)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take or refuse a recipient."""
        if address.startswith("bounce"):
            return "550 5.1.1 There is nobody of this name"
        if address.startswith("later"):
            return "451 4.2.0 Come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Write the mail to a file."""
        head = f"X-Envelope-From: {envelope.mail_from}\r\nX-Envelope-To: {', '.join(envelope.rcpt_tos)}\r\n"
        name = f"{time.time_ns()}-{next(self._numbers)}"
        partial = self._directory / f".{name}"
        partial.write_bytes(head.encode() + (envelope.original_content or b""))
        partial.replace(self._directory / f"{name}.eml")
        return f"250 OK, {name}.eml"


async def serve(port: int, directory: Path) -> None:
    """Listen on 127.0.0.1 until killed."""
    outbox = Outbox(directory)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(outbox, hostname="localhost", enable_SMTPUTF8=True, loop=loop), "127.0.0.1", port
    )
    print(f"mail goes to {directory} (process {os.getpid()})", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.directory))

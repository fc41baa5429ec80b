"""How a worker and its child process talk: a JSON head, behind its length in four bytes, then the bytes it announces.

No pickle: what comes back may have been written by whoever broke a decoder.
"""

import json
import struct
from typing import Any, BinaryIO

LENGTH = struct.Struct(">I")


def frame(head: dict[str, Any], *parts: bytes) -> bytes:
    """A message; `parts` follow the head one after the other, and it has to say how long each is."""
    text = json.dumps(head).encode()
    return b"".join((LENGTH.pack(len(text)), text, *parts))


def read_head(source: BinaryIO) -> dict[str, Any] | None:
    """The next message's head; None at the end."""
    prefix = source.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    head: dict[str, Any] = json.loads(source.read(*LENGTH.unpack(prefix)))
    return head

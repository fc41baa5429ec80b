"""The child process: reads pictures from standard input, writes what became of them to standard output.

Before the first one it gives up what a decoder has no use for. It opens no file and no connection, writes nothing,
takes no more memory than it may; its environment holds no secret (`pool`).
"""

import json
import os
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from workers.media.wire import frame, read_head

# What went wrong may hold a piece of the file, of any length.
DETAIL_CHARACTERS = 500


def main() -> None:
    """Answer until the input ends. The first argument holds the limits."""
    # What a library may print must not land among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Imported here: if the library cannot be loaded the worker is told why.
    try:
        from workers.media import decode
        from workers.media.picture import Limits, Refused, Size

        heif = decode.add_heif()
        limits = Limits(**json.loads(sys.argv[1]))
        _give_up_rights(limits.memory_bytes, answers.fileno())
    except Exception as error:
        _answer(answers, frame({"broken": repr(error)[:DETAIL_CHARACTERS]}))
        return
    _answer(answers, frame({"ready": True, "heif": heif}))
    while (head := read_head(sys.stdin.buffer)) is not None:
        _limit_time(limits.cpu_seconds)
        try:
            data = sys.stdin.buffer.read(head["length"])
            picture = decode.decode(data, [Size(**size) for size in head["sizes"]], limits, head["edits"])
        except Refused as error:
            _answer(answers, frame({"refused": error.word, "detail": error.detail[:DETAIL_CHARACTERS]}))
        except MemoryError:
            _answer(answers, frame({"refused": "too_large", "detail": "out of memory", "last": True}))
            return
        except Exception as error:
            # A mistake of ours, not of the file: no word for the owner, a failed job for us.
            _answer(answers, frame({"broken": repr(error)[:DETAIL_CHARACTERS]}))
        else:
            _answer(answers, _as_frame(picture))
            del picture


def _as_frame(picture: Any) -> bytes:
    head = asdict(picture)
    parts = [derivative.pop("data") for derivative in head["derivatives"]]
    for derivative, part in zip(head["derivatives"], parts, strict=True):
        derivative["length"] = len(part)
    return frame({"picture": head}, *parts)


def _answer(answers: BinaryIO, message: bytes) -> None:
    answers.write(message)
    answers.flush()


def _give_up_rights(memory_bytes: int, last_descriptor: int) -> None:
    # Hard limits, which nobody but root raises again.
    if idle := _address_space():
        resource.setrlimit(resource.RLIMIT_AS, (idle + memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    # A core dump would hold somebody's picture.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # From here on nothing can be opened: no file, no socket.
    resource.setrlimit(resource.RLIMIT_NOFILE, (last_descriptor + 1,) * 2)


def _address_space() -> int:
    """What this process has mapped; libraries alone are some hundred MiB. 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _limit_time(seconds: int) -> None:
    """From now on so many seconds of CPU; then the kernel ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


if __name__ == "__main__":
    main()

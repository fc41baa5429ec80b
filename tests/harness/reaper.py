"""Waits for the end of the process that started it, however it ends, and removes what its test server left behind.

python -m tests.harness.reaper <directory of the server>; the standard input is the other end of a pipe.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from stack.cluster import Cluster
from tests.harness.server import remove

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    if Path(sys.argv[1]).exists():
        remove(Cluster(Path(sys.argv[1])))

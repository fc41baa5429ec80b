"""Waiting for what must happen, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 60) -> T:
    """The first truthy answer of `condition`; fails, naming `what` and the last answer, when none comes in time."""
    deadline = time.monotonic() + seconds
    pause = 0.01
    answer: Any = None
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    raise AssertionError(f"not within {seconds} s: {what} (last answer: {answer!r})")

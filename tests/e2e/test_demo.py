"""`make demo` tells its story to the end: each step asserts what it says, the books are right afterwards."""

from __future__ import annotations

from stack import local
from stack.demo import Demo
from tests.harness.fixtures import running
from tests.harness.server import Database


def test_the_story_ends_with_right_books(database: Database) -> None:
    with running(database, **local.QUICK) as services:
        assert Demo(services).tell()

"""The requests printed in docs/community are sent, in their order, to a database of their page's own.

A block ```http as=ana is a request by ana; whoever speaks on a page is signed up before it begins, and {{ana}} is her
id (as=anon is nobody, as=admin an admin). The ```json block right after it says the status and the body: objects may
have more keys, arrays may not have more elements, "{{name}}" is remembered when new and must be equal when known, "*"
is anything. Without it any success will do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from stack.cluster import REPO
from stack.services import Services
from tests.harness import people
from tests.harness.fixtures import running, server_of
from tests.harness.server import Database

PAGES = sorted((REPO / "docs/community").glob("*.md"))
BLOCK = re.compile(r"^```http as=(\S+)\n(.*?)^```\n(?:\s*```json (\d+)\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
NAME = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Step:
    """A request of a page and what it should be answered with."""

    line: int
    speaker: str
    request: str
    status: int | None
    body: str | None


def steps(page: str) -> list[Step]:
    """The requests of a page's text."""
    return [
        Step(page.count("\n", 0, m.start()) + 1, m[1], m[2], int(m[3]) if m[3] else None, m[4])
        for m in BLOCK.finditer(page)
    ]


class Reader:
    """Somebody who follows a page to the letter."""

    def __init__(self, services: Services, database: Database) -> None:
        self.services = services
        self.database = database
        self.known: dict[str, Any] = {}
        self.speakers: dict[str, httpx.Client] = {"anon": people.Api(services).http}

    def speaker(self, name: str) -> httpx.Client:
        """Whoever speaks, signed up when new."""
        if name not in self.speakers:
            username = "the-admin" if name == "admin" else name
            person = people.sign_up(self.services, f"{name}@example.com", username=username, display_name=name.title())
            if name == "admin":
                self.database.run("select private.grant_role(%s, 'admin')", person.id)
            self.known[name] = person.id
            self.speakers[name] = person.api.http
        return self.speakers[name]

    def fill(self, text: str) -> str:
        """The text with what is known in place of {{name}}."""
        missing = set(NAME.findall(text)) - set(self.known)
        assert not missing, f"nothing above gives {missing}"
        return NAME.sub(lambda m: str(self.known[m[1]]), text)

    def follow(self, step: Step) -> None:
        """Send the request, compare the answer."""
        client = self.speaker(step.speaker)
        head, _, body = self.fill(step.request).partition("\n\n")
        first, *headers = head.strip().splitlines()
        method, target = first.split(" ", 1)
        answer = client.request(
            method,
            quote(target, safe="/?&=:,.*()!{}<>@$'\"%+;-_~"),
            headers={"content-type": "application/json", **dict(line.split(": ", 1) for line in headers)},
            content=body.strip().encode() or None,
        )
        said = f"{method} {target} by {step.speaker}: {answer.status_code} {answer.text}"
        if step.status is None:
            assert answer.is_success, said
            return
        assert answer.status_code == step.status, said
        expected = json.loads(step.body or "null")
        if expected is not None:
            self.compare(expected, answer.json(), said)

    def compare(self, expected: Any, actual: Any, said: str, at: str = "") -> None:
        """Fails where the answer is not as printed."""
        if isinstance(expected, dict):
            assert isinstance(actual, dict), f"{at} is no object: {said}"
            for key, value in expected.items():
                assert key in actual, f"{at}.{key} is missing: {said}"
                self.compare(value, actual[key], said, f"{at}.{key}")
        elif isinstance(expected, list):
            assert isinstance(actual, list), f"{at} is no array: {said}"
            assert len(expected) == len(actual), f"{at} has {len(actual)} elements, not {len(expected)}: {said}"
            for number, (left, right) in enumerate(zip(expected, actual, strict=True)):
                self.compare(left, right, said, f"{at}[{number}]")
        elif isinstance(expected, str) and (name := NAME.fullmatch(expected)):
            assert self.known.setdefault(name[1], actual) == actual, f"{at} is not {{{{{name[1]}}}}}: {said}"
        elif expected != "*":
            wanted = self.fill(expected) if isinstance(expected, str) else expected
            assert wanted == actual, f"{at} is {actual!r}, not {wanted!r}: {said}"


@pytest.fixture(scope="module", params=PAGES, ids=[page.stem for page in PAGES])
def reader(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[tuple[Path, Reader]]:
    """Somebody new on a new stack, and the page in hand."""
    server = server_of(pytestconfig)
    name = f"docs_{request.param.stem.replace('-', '_')}"
    database = server.ensure_database(name)
    with running(database) as services:
        yield request.param, Reader(services, database)
    server.drop_database(name)


def test_page(reader: tuple[Path, Reader]) -> None:
    """Every request of the page is answered as printed."""
    path, person = reader
    text = path.read_text()
    found = steps(text)
    assert len(found) == len(re.findall(r"^```http", text, re.MULTILINE)), "a block is written in another form"
    assert found, "the page has no request"
    for step in found:
        person.speaker(step.speaker)
    for step in found:
        try:
            person.follow(step)
        except AssertionError as error:
            raise AssertionError(f"{path.relative_to(REPO)}:{step.line}: {error}") from None

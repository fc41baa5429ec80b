"""The requests printed in docs/community, docs/market, docs/shop, docs/studio and docs/pictures.md are sent, in their
order, to a database of their page's own.

A block ```http as=ana is a request by ana; whoever speaks on a page is signed up before it begins, and {{ana}} is her
id (as=anon is nobody, as=admin an admin). The ```json block right after it says the status and the body: objects may
have more keys, arrays may not have more elements, "{{name}}" is remembered when new and must be equal when known, "*"
is anything. Without it any success will do. With `until` the request is repeated for as long as the answer is another
one, up to half a minute: what a worker does is waited for.

{{provider}} is the payment provider's address, {{site}} the application's. A block ```sql is run as postgres, a block
```sh holds `.venv/bin/avenue …` commands: what an operator types. A body that begins with @ is a file, as curl has it:
a photograph.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
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
from tests.harness.waiting import until
from tests.media import pictures

PAGES = [
    *sorted(page for room in ("community", "market", "shop", "studio") for page in (REPO / "docs" / room).glob("*.md")),
    REPO / "docs" / "pictures.md",
]
BLOCK = re.compile(
    r"^```(?:http as=(?P<speaker>\S+)(?P<until> until)?|(?P<operator>sql|sh))\n(?P<text>.*?)^```\n"
    r"(?:\s*```json (?P<status>\d+)\n(?P<body>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
NAME = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Step:
    """A request of a page and what it should be answered with; speaker sql or sh is an operator."""

    line: int
    speaker: str
    request: str
    status: int | None
    body: str | None
    until: bool = False


def steps(page: str) -> list[Step]:
    """The requests of a page's text."""
    return [
        Step(
            page.count("\n", 0, m.start()) + 1,
            m["speaker"] or m["operator"],
            m["text"],
            int(m["status"]) if m["status"] else None,
            m["body"],
            bool(m["until"]),
        )
        for m in BLOCK.finditer(page)
    ]


def photograph() -> bytes:
    """As a phone makes it: lying on its side, and with the place it was taken at."""
    photo = pictures.photo(1)
    return pictures.saved(pictures.laid(6, photo), "JPEG", exif=pictures.exif(6))


class Reader:
    """Somebody who follows a page to the letter."""

    def __init__(self, services: Services, database: Database) -> None:
        self.services = services
        self.database = database
        self.known: dict[str, Any] = {"provider": services.simulator_url, "site": "https://shop.example"}
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

    def fill(self, text: str, *, escape: bool = False) -> str:
        """The text with what is known in place of {{name}}; escaped, as in the query of a URL."""
        missing = set(NAME.findall(text)) - set(self.known)
        assert not missing, f"nothing above gives {missing}"
        return NAME.sub(lambda m: quote(str(self.known[m[1]]), safe="") if escape else str(self.known[m[1]]), text)

    def follow(self, step: Step) -> None:
        """Do as the step says; what is waited for is asked for again."""
        if step.speaker == "sql":
            self.database.run(self.fill(step.request))
        elif step.speaker == "sh":
            for line in self.fill(step.request).splitlines():
                self.operate(shlex.split(line, comments=True))
        elif step.until:
            until(lambda: self.succeeds(step), f"the answer printed at line {step.line}", seconds=30)
        else:
            self.send(step)

    def succeeds(self, step: Step) -> bool:
        """Whether the request is answered as printed by now."""
        known = dict(self.known)
        try:
            self.send(step)
        except AssertionError:
            self.known = known
            return False
        return True

    def operate(self, command: list[str]) -> None:
        """An operator's `avenue` command, with the workers' environment."""
        assert command[0] == ".venv/bin/avenue", f"an operator types `.venv/bin/avenue …`, not {command}"
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *command[1:]],
            cwd=REPO,
            env={**os.environ, **self.services.env},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr or done.stdout}"

    def send(self, step: Step) -> None:
        """Send the request, compare the answer."""
        client = self.speaker(step.speaker)
        head, _, body = step.request.partition("\n\n")
        first, *headers = head.strip().splitlines()
        headers, body = [self.fill(line) for line in headers], self.fill(body)
        method, target = first.split(" ", 1)
        path, mark, query = target.partition("?")
        target = self.fill(path) + mark + self.fill(query, escape=True)
        answer = client.request(
            method,
            quote(target, safe="/?&=:,.*()!{}<>@$'\"%+;-_~"),
            headers={"content-type": "application/json", **dict(line.split(": ", 1) for line in headers)},
            content=photograph() if body.startswith("@") else body.strip().encode() or None,
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


@pytest.fixture(scope="module", params=PAGES, ids=[f"{page.parent.name}-{page.stem}" for page in PAGES])
def reader(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[tuple[Path, Reader]]:
    """Somebody new on a new stack, and the page in hand."""
    server = server_of(pytestconfig)
    name = f"docs_{request.param.parent.name}_{request.param.stem.replace('-', '_')}"
    database = server.ensure_database(name)
    with running(database) as services:
        yield request.param, Reader(services, database)
    server.drop_database(name)


def test_page(reader: tuple[Path, Reader]) -> None:
    """Every request of the page is answered as printed."""
    path, person = reader
    text = path.read_text()
    found = steps(text)
    blocks = re.findall(r"^```(?:http|sql|sh)\b", text, re.MULTILINE)
    assert len(found) == len(blocks), "a block is written in another form"
    assert found, "the page has no request"
    for step in found:
        if step.speaker not in ("sql", "sh"):
            person.speaker(step.speaker)
    for step in found:
        try:
            person.follow(step)
        except AssertionError as error:
            raise AssertionError(f"{path.relative_to(REPO)}:{step.line}: {error}") from None

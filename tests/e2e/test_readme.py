"""The README's examples run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from stack.cluster import REPO
from stack.services import Services
from tests.harness.readme import examples
from tests.harness.typescript import compiled, project


def _run(command: list[str], code: str, services: Services) -> str:
    done = subprocess.run(
        command, input=code, cwd=REPO, env={**os.environ, **services.env}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples(services: Services) -> None:
    """A seller publishes with supabase-py, a buyer checks out with supabase-js; both again with types."""
    sells, sells_typed = examples("python")
    published = _run([sys.executable, "-"], f"{sells}\n{sells_typed}", services)
    assert re.search(r"dawn\S* is on sale; earned so far: 0 cents\ndusk\S* since 20\d\d$", published.strip())
    [buys] = examples("js")
    bought = _run(["node", "--input-type=module"], buys, services)
    assert "Dusk" in bought
    assert f"start the payment at {services.url}/functions/v1/payments/" in bought
    directory = project("readme")
    [lists] = examples("ts")
    (directory / "example.ts").write_text(lists)
    assert compiled(directory) == ""
    listed = _run(["node", "--experimental-websocket", str(directory / "example.js")], "", services)
    assert listed.splitlines() == ["Dusk costs 49", "Dawn costs 49"]


def test_commands_exist() -> None:
    """Each make target and page the README names is there."""
    readme = (REPO / "README.md").read_text()
    lines = re.findall(r"^([a-z ]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    targets = {target for line in lines for target in line.split()}
    named = {word for group in re.findall(r"`make ([a-z -]+)", readme) for word in group.split() if word.isalpha()}
    assert named <= targets, named - targets
    for page in re.findall(r"\]\((docs/[^)#]+)", readme):
        assert (REPO / page).exists(), page

"""The README's examples run as printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from stack.cluster import REPO
from stack.services import Services


def _example(language: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", (REPO / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1, f"the README has one {language} example"
    return str(blocks[0])


def _run(command: list[str], code: str, services: Services) -> str:
    done = subprocess.run(
        command, input=code, cwd=REPO, env={**os.environ, **services.env}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples(services: Services) -> None:
    """A seller publishes with supabase-py, a buyer checks out with supabase-js."""
    published = _run([sys.executable, "-"], _example("python"), services)
    assert re.search(r"dawn\S* is on sale; earned so far: 0 cents", published)
    bought = _run(["node", "--input-type=module"], _example("js"), services)
    assert "Dawn" in bought
    assert "start the payment at /functions/v1/payments/" in bought


def test_commands_exist() -> None:
    """Each make target and page the README names is there."""
    readme = (REPO / "README.md").read_text()
    lines = re.findall(r"^([a-z ]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
    targets = {target for line in lines for target in line.split()}
    named = {word for group in re.findall(r"`make ([a-z -]+)", readme) for word in group.split() if word.isalpha()}
    assert named <= targets, named - targets
    for page in re.findall(r"\]\((docs/[^)]+)\)", readme):
        assert (REPO / page).exists(), page

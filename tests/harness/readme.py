"""The examples that README prints, for the tests that run them and check their types."""

from __future__ import annotations

import re

from stack.cluster import REPO


def examples(language: str) -> list[str]:
    """README's blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (REPO / "README.md").read_text(), re.DOTALL | re.MULTILINE)

"""Typed clients may do what README and docs do: every JavaScript call that is printed, and every insert, update and RPC
that is sent and answered well, compiles against the types of docs/types (`make check` says that they are current).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pydantic
import pytest

from docs.types import database
from stack.cluster import REPO
from tests.docs.test_pages import steps
from tests.harness.readme import examples
from tests.harness.typescript import compiled, project

PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md")), *sorted((REPO / "docs").glob("*/*.md"))]
CALL = re.compile(r"^(POST|PATCH) /rest/v1/(rpc/)?(\w+)(?:\?(?:select=[^&]*&)?(\w+)=)?")
# What a page's text speaks of and does not define is anything: the columns and arguments are what is checked.
UNKNOWN = re.compile(r"error TS(?:2304: Cannot find name|18004: No value exists in scope for the .*?property) '(\w+)'")
HEAD = """\
import {{ createClient, type SupabaseClient }} from "@supabase/supabase-js";
import type {{ Database }} from "./docs/types/database";
declare const supabase: SupabaseClient<Database>;
{names}
export async function page() {{
{calls}
}}
"""


def calls(page: Path) -> list[str]:
    """The calls of a page, each in a block of its own."""
    text = page.read_text()
    found = []
    for block in re.findall(r"^```js\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        body = re.sub(r"^import .*\n", "", block, flags=re.MULTILINE)
        found.append(re.sub(r"\bcreateClient\(", "createClient<Database>(", body))
    for step in steps(text):
        head, _, body = step.request.partition("\n\n")
        call = CALL.match(head)
        if not call or (step.status or 200) >= 400 or not body.strip():
            continue
        method, is_rpc, name, column = call.groups()
        value = json.dumps(json.loads(re.sub(r'(?<!")\{\{\w+\}\}(?!")', "0", body)), ensure_ascii=False)
        if is_rpc:
            found.append(f'await supabase.rpc("{name}", {value});')
        elif method == "POST":
            found.append(f'await supabase.from("{name}").insert({value});')
        else:
            found.append(f'await supabase.from("{name}").update({value}).eq("{column}", "x" as never);')
    return found


@pytest.fixture(scope="module")
def directory() -> Path:
    """Where the calls are compiled."""
    return project("types")


def test_every_printed_call_compiles(directory: Path) -> None:
    printed = {page: calls(page) for page in PAGES}
    assert sum(map(len, printed.values())) > 50
    names: dict[str, set[str]] = {}
    for complete in (False, True):
        for page, found in printed.items():
            if found:
                blocks = "\n".join(f"{{\n{call}\n}}" for call in found)
                declared = "\n".join(f"declare const {name}: any;" for name in sorted(names.get(page.stem, ())))
                (directory / f"{page.stem}.ts").write_text(HEAD.format(names=declared, calls=blocks))
        complaints = compiled(directory)
        if not complete:
            for line in complaints.splitlines():
                if unknown := UNKNOWN.search(line):
                    names.setdefault(line.split(".ts(")[0], set()).add(unknown[1])
    assert complaints == ""


def test_what_the_schema_does_not_know_does_not_compile(directory: Path) -> None:
    for page in directory.glob("*.ts"):
        page.unlink()
    wrong = ['await supabase.from("groups").insert({ nme: "x" });', 'await supabase.rpc("unread_count");']
    (directory / "wrong.ts").write_text(HEAD.format(names="", calls="\n".join(wrong)))
    assert len(re.findall(r"^wrong\.ts.* error TS", compiled(directory), re.MULTILINE)) == 2


def mypy(path: Path, block: str) -> str:
    """The complaints of mypy about a use of the Python types by somebody signed in; empty when it has none."""
    path.write_text(f"from supabase import Client\navenue: Client\n{block}")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_python_types_are_complete() -> None:
    """pydantic leaves a class incomplete when a name of its columns' types is defined nowhere."""
    models = [one for one in vars(database).values() if isinstance(one, type) and issubclass(one, pydantic.BaseModel)]
    assert len(models) > 50
    assert [one.__name__ for one in models if one is not pydantic.BaseModel and not one.__pydantic_complete__] == []


def test_python_types_are_checked(tmp_path: Path) -> None:
    """The use that README prints passes mypy, the module with it; what the schema does not know does not."""
    block = examples("python")[1]
    assert mypy(tmp_path / "use.py", block) == ""
    wrong = block.replace('"title"', '"titel"').replace('"digital"', '"digitl"').replace("artwork.slug", "artwork.slg")
    assert len(re.findall(r"^.*: error: ", mypy(tmp_path / "wrong.py", wrong), re.MULTILINE)) == 4

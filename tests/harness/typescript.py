"""Directories in which TypeScript is compiled as in a frontend that has docs/types and the installed client library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from stack.cluster import REPO
from tests.harness.server import STATE

# What a frontend has from @types/node and @types/ws.
GLOBALS = """\
declare module "ws";
declare const process: { env: Record<string, string> };
"""


def project(name: str) -> Path:
    """A fresh directory, below this repository, so that its node_modules are found."""
    directory = STATE / name
    shutil.rmtree(directory, ignore_errors=True)
    types = directory / "docs/types"
    types.mkdir(parents=True)
    shutil.copy(REPO / "docs/types/database.ts", types)
    (types / "globals.d.ts").write_text(GLOBALS)
    return directory


def compiled(directory: Path) -> str:
    """Make JavaScript of a directory's files; the compiler's complaints, empty when it has none."""
    command = ["node", str(REPO / "node_modules/typescript/bin/tsc"), "--skipLibCheck"]
    # Parameters of what a page does not define have no type.
    command += ["--strict", "--noImplicitAny", "false"]
    command += ["--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*.ts"))
    done = subprocess.run([*command, *files], cwd=directory, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr

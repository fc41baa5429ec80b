"""What code and docs refer to is there: functions, pages, sections, files, sharp cases and invariants. docs/money.md
knows every journal and invariant, docs/glossary.md says each term once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack.cluster import REPO
from tests.harness.server import Database

ROOMS = "sql|supabase|workers|stack|tests|bench|docs"
# Written by `make docs` from texts that are looked at where they stand.
GENERATED = ("docs/schema/", "docs/types/", "docs/access-matrix.md", "docs/errors.md")
# Examples of projects with other pages than ours.
INVENTED = ("tests/schema/", "tests/docs/test_references.py")
TEXTS = [
    path
    for path in sorted(
        [REPO / "README.md", REPO / "Makefile"]
        + [
            path
            for room in ROOMS.split("|")
            for kind in ("sql", "md", "py")
            for path in (REPO / room).rglob(f"*.{kind}")
        ]
    )
    if not str(path.relative_to(REPO)).startswith((*GENERATED, *INVENTED, "supabase/migrations/"))
]
MONEY = REPO / "docs" / "money.md"


@dataclass(frozen=True)
class Known:
    """What there is to refer to."""

    functions: set[str]
    methods: set[str]
    tests: set[str]


@pytest.fixture(scope="module")
def known(database: Database) -> Known:
    """The names of the database's functions, PostgreSQL's own included, and of Python's."""
    functions = {row["proname"] for row in database.run("select distinct proname from pg_proc")}
    python = "\n".join(path.read_text() for path in TEXTS if path.suffix == ".py")
    defined = set(re.findall(r"^ *(?:async )?def (\w+)", python, re.M))
    return Known(functions, defined, {name for name in defined if name.startswith("test_")})


def section(title: str, page: Path = MONEY) -> str:
    """The text under a heading."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S)
    return found[1] if found else ""


def rows(title: str, page: Path = MONEY) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title, page).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def anchors(page: Path) -> set[str]:
    """What a link may name behind #, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(text: str, kind: str) -> str:
    """What people read: a page without its blocks of code, the comments of SQL, all of anything else; unwrapped."""
    if kind == ".md":
        text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    elif kind == ".sql":
        text = "\n".join(re.findall(r"^\s*--.*$|^comment on .*?;$", text, re.M | re.S))
    return re.sub(r"'?\s*\n\s*(--|#|')?\s*", " ", text)


def broken(text: str, path: Path, known: Known) -> Iterator[str]:
    """References in a text, standing at this path, that lead nowhere."""
    words = prose(text, path.suffix)
    cases = {int(row[0]) for row in rows("Sharp cases")}
    for name, numbers, last in (("sharp case", r"\d+", max(cases)), ("invariant", r"\d", 6)):
        for listed in re.findall(rf"{name}s? ((?:{numbers}(?:, | and | to )?)+)", words, re.I):
            yield from (f"{name} {n}" for n in re.findall(r"\d+", listed) if not 1 <= int(n) <= last)
    for page, title in re.findall(r"(docs/\w+\.md), ([A-Z]\w+)", words):
        if not (REPO / page).exists() or not section(title, REPO / page):
            yield f"{page}, {title}"
    for name in re.findall(rf"(?<![\w./-])((?:{ROOMS})/[\w./*-]*[\w*/])", words) if path.suffix != ".py" else ():
        if not any(REPO.glob(name.rstrip("/"))):
            yield name
    for name in re.findall(r"(?<![\w/])(\d\d_[a-z]\w+(?:/\d\d_\w+)?)", words) if path.suffix == ".sql" else ():
        if not any((REPO / "sql").glob(f"{name}*" if "/" in name else f"**/{name}*")):
            yield name
    room, called = path.relative_to(REPO).parts[0], []
    if path.suffix == ".md":
        called = [n for n in re.findall(r"`(?:[a-z]+\.)?([a-z]\w*)\(", words) if n not in known.methods]
        yield from (f"link to {link}" for link in _dead_links(words, path))
    elif room == "sql":
        called = re.findall(r"(?<![\w.])(?:[a-z]+\.)?([a-z]\w*)\(\)", words)
    elif room in ("workers", "stack"):
        called = re.findall(r"(?:private|public|ledger)\.([a-z]\w*)\(\)", words)
    yield from (f"{name}()" for name in called if name not in known.functions)


def _dead_links(words: str, path: Path) -> Iterator[str]:
    for link in re.findall(r"\]\(([^)\s]+)\)", words):
        if not re.match(r"\w+:", link):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not target.exists() or (anchor and anchor not in anchors(target)):
                yield link


def test_every_reference_resolves(known: Known) -> None:
    assert len(TEXTS) > 200
    dead = [f"{path.relative_to(REPO)}: {it}" for path in TEXTS for it in broken(path.read_text(), path, known)]
    assert dead == []


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("sql/60_money/x.sql", "-- As it was, see sharp\n-- case 99.", "sharp case 99"),
        ("workers/x.py", '"""Sharp cases 3 and 42."""', "sharp case 42"),
        ("sql/60_money/x.sql", "comment on table public.x is\n'Never, see '\n'invariants 1 to 7.';", "invariant 7"),
        ("sql/60_money/x.sql", "-- The legs (docs/money.md, Arms).", "docs/money.md, Arms"),
        ("sql/60_money/x.sql", "-- Everything is in docs/silver.md.", "docs/silver.md"),
        ("sql/60_money/x.sql", "-- Told by 75_notification_storms.", "75_notification_storms"),
        ("sql/60_money/x.sql", "-- Kept, see keep_secret().", "keep_secret()"),
        ("workers/x.py", "# private.pay_twice() does.", "pay_twice()"),
        ("docs/x.md", "Call `public.checkin(items)`.", "checkin()"),
        ("docs/x.md", "Pages are `sql/99_*`.", "sql/99_*"),
        ("docs/x.md", "[Money](silver.md)", "link to silver.md"),
        ("docs/x.md", "[Legs](money.md#arms)", "link to money.md#arms"),
    ],
)
def test_a_broken_reference_is_found(known: Known, path: str, text: str, found: str) -> None:
    assert list(broken(text, REPO / path, known)) == [found]


def test_every_page_is_two_steps_from_readme() -> None:
    reached = {REPO / "README.md"}
    for _ in range(2):
        for page in [page for page in reached if page.suffix == ".md"]:
            links = [(page.parent / link).resolve() for link in re.findall(r"\]\(([^)\s#:]+)", page.read_text())]
            reached |= {link / "README.md" if link.is_dir() else link for link in links if link.exists()}
    assert {str(page.relative_to(REPO)) for page in set((REPO / "docs").rglob("*.md")) - reached} == set()


def test_sharp_cases_and_their_tests_name_each_other(known: Known) -> None:
    cases = {int(number): tests for number, _, tests in rows("Sharp cases")}
    assert list(cases) == list(range(1, len(cases) + 1))
    for number, tests in cases.items():
        named = re.findall(r"`(test_\w+?)(…?)`", tests)
        assert named or tests == "no flow yet", number
        for name, more in named:
            assert any(test.startswith(name) if more else test == name for test in known.tests), name
    numbered = {int(found[1]) for test in known.tests if (found := re.match(r"test_(\d\d)_", test))}
    assert numbered == {number for number, tests in cases.items() if f"`test_{number:02}_…`" in tests}


def test_legs_of_every_journal_kind_are_listed(database: Database) -> None:
    kinds = {row["kind"] for row in database.run("select unnest(enum_range(null::ledger.journal_kind))::text as kind")}
    listed = {kind.strip("`"): posted for kind, posted, _ in rows("Legs")}
    assert listed.keys() == kinds
    for kind, posted in listed.items():
        function = re.findall(r"`(\w+\.\w+)\(\)`", posted)[0]
        source = database.value(f"select prosrc from pg_proc where oid = '{function}'::regproc")
        assert re.search(r"ledger\.post(_many)?\(", source), function
        assert f"'{kind}'" in source, function


def test_every_invariant_of_the_audit_is_numbered(database: Database) -> None:
    source = database.value("select prosrc from pg_proc where oid = 'ledger.audit'::regproc")
    listed: list[str] = []
    for line in section("Invariants").splitlines():
        if number := re.match(r"(\d)\. ", line):
            current = number[1]
        elif name := re.match(r"   - \*(.+)\*:", line):
            listed.append(f"{current} {name[1]}")
    # Some are looked at from several sides.
    assert listed == list(dict.fromkeys(re.findall(r"select\s+'(\d [^']+)'", source)))


def test_every_term_is_said_once_and_is_where_its_row_says() -> None:
    page = REPO / "docs" / "glossary.md"
    terms = [row for title in re.findall(r"^## (.+)$", page.read_text(), re.M) for row in rows(title, page)]
    assert len(terms) > 30
    assert [term for term, times in Counter(term.lower() for term, *_ in terms).items() if times > 1] == []
    for term, _, where in terms:
        files = re.findall(r"\]\(\.\./([^)#]+)\)", where)
        assert files, term
        for file in files:
            assert term.lower() in (REPO / file).read_text().lower(), (term, file)


def test_every_error_code_is_registered_once() -> None:
    """Two pages with different words for one code would answer with those of whichever was loaded last."""
    registered: Counter[str] = Counter()
    for path in sorted((REPO / "sql").rglob("*.sql")):
        for inserted in re.findall(r"insert into private\.error_codes.*?;\n", path.read_text(), re.S):
            registered.update(re.findall(r"^\('(\w+)', '(?:PT|AV)", inserted, re.M))
    assert len(registered) > 50
    assert [code for code, times in registered.items() if times > 1] == []

"""JSON as PostgreSQL can hold it: an authentic event must not be lost because of one character in somebody's name."""

import re

MAX_DEPTH = 64
# jsonb holds numbers of any precision up to 131,072 digits; no amount and no time needs more than this.
MAX_NUMBER_LENGTH = 40

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]|-?\d[\d.eE+-]*')
_ESCAPE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.")
_REPLACED = re.compile(r"\\u(?:0000|[dD][89a-fA-F][0-9a-fA-F]{2})")
_EXPONENT = re.compile(r"[eE][+-]?\d{4,}$")


def storable(text: str) -> str:
    """The same JSON with U+FFFD for NULs and halves of surrogate pairs, and null for numbers and depths beyond reason.

    Works on the text, in one pass: what is too deep for PostgreSQL is too deep for a parser, too.
    """
    parts: list[str] = []
    depth = end = 0
    for token in _TOKEN.finditer(text):
        found = token.group()
        inside = depth <= MAX_DEPTH
        if inside:
            parts.append(text[end : token.start()])
        end = token.end()
        if found in "[{":
            depth += 1
            if inside:
                parts.append(found if depth <= MAX_DEPTH else "null")
        elif found in "]}":
            depth -= 1
            if depth < MAX_DEPTH:
                parts.append(found)
        elif inside:
            parts.append(_ESCAPE.sub(_replace, found) if found[0] == '"' else _number(found))
    parts.append(text[end:])
    return "".join(parts)


def _replace(escape: re.Match[str]) -> str:
    return "\\ufffd" if _REPLACED.fullmatch(escape.group()) else escape.group()


def _number(digits: str) -> str:
    return "null" if len(digits) > MAX_NUMBER_LENGTH or _EXPONENT.search(digits) else digits

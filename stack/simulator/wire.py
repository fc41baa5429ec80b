"""Stripe's wire format: bracketed forms in, errors and expanded JSON out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from stack.simulator.data import PROBLEMS, Json
from stack.simulator.store import Store, public

_EMPTY_CLEARS = {"map", "text"}


class StripeError(Exception):
    """An error of PROBLEMS, with the texts its message needs and what goes beside it in the answer."""

    def __init__(self, name: str, *, param: str | None = None, extra: Json | None = None, **texts: Any) -> None:
        problem = PROBLEMS[name]
        self.status, self.kept = problem.status, problem.kept
        param = param or problem.param
        error: Json = {"message": problem.message.format(param=param, **texts), "type": problem.type}
        if problem.code:
            error |= {"code": problem.code, "doc_url": doc_url(problem.code)}
        if param:
            error["param"] = param
        self.body: Json = {"error": error | (extra or {})}
        super().__init__(error["message"])


def doc_url(code: str) -> str:
    """Where Stripe explains an error code."""
    return "https://stripe.com/docs/error-codes/" + code.replace("_", "-")


def decode(raw: bytes) -> Json:
    """`a[b]=1&c[]=2&c[]=3` → {"a": {"b": "1"}, "c": ["2", "3"]}. Values stay text."""
    root: Json = {}
    for name, value in parse_qsl(raw.decode(errors="replace"), keep_blank_values=True):
        keys = [re.split(r"\[", name, maxsplit=1)[0], *re.findall(r"\[([^\]]*)\]", name)]
        node = root
        for key in keys[:-1]:
            child = node.setdefault(key, {})
            node = child if isinstance(child, dict) else {}
        node[keys[-1] or str(len(node))] = value
    return {key: value if key == "metadata" else _lists(value) for key, value in root.items()}


def _lists(value: Any) -> Any:
    # SDKs write arrays as a[0], a[1] or a[].
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_lists(value[key]) for key in sorted(value, key=int)]
    return {key: _lists(item) for key, item in value.items()}


def check(spec: str, given: Json) -> Json:
    """Parameters as `spec` allows them ("amount:int! currency! metadata:map"), converted; or the error Stripe gives."""
    rules = dict(_rule(word) for word in spec.split())
    for name in given:
        if name not in rules:
            raise StripeError("parameter_unknown", param=name)
    for name, (_, required) in rules.items():
        if required and name not in given:
            raise StripeError("parameter_missing", param=name)
    return {name: _convert(name, rules[name][0], value) for name, value in given.items()}


def _rule(word: str) -> tuple[str, tuple[str, bool]]:
    name, _, kind = word.rstrip("!").partition(":")
    return name, (kind or "str", word.endswith("!"))


def _convert(name: str, kind: str, value: Any) -> Any:
    if value == "":
        if kind in _EMPTY_CLEARS:
            return None
        raise StripeError("parameter_invalid_empty", param=name)
    if kind == "any":
        return value
    if (kind in ("map", "list")) != isinstance(value, dict | list):
        raise StripeError("invalid_object", param=name)
    if kind == "int":
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise StripeError("parameter_invalid_integer", param=name, value=value)
        return int(value)
    if kind == "bool":
        if value not in ("true", "false"):
            raise StripeError("invalid_boolean", param=name, value=value)
        return value == "true"
    if name == "metadata":
        for text in value.values():
            if len(text) > 500:
                raise StripeError("long_metadata", length=len(text), value=text)
    return value


def merge_metadata(old: Json, given: Json | None) -> Json:
    """Metadata after an update: an empty value removes its key, None (`metadata=`) removes all."""
    return {} if given is None else {key: value for key, value in {**old, **given}.items() if value != ""}


def expand(store: Store, body: Json, paths: Iterable[str]) -> Json:
    """Replace ids along dotted paths by the objects they name; `data.` first for lists."""
    for path in paths:
        _expand(store, body, path.split("."), path)
    return body


def _expand(store: Store, node: Json, keys: list[str], path: str) -> None:
    key, *rest = keys
    if key == "refunds" and node.get("object") == "charge" and key not in node:
        refunds, more = store.page("refund", {"charge": node["id"]}, limit=10)
        node[key] = listing(f"/v1/charges/{node['id']}/refunds", refunds, more)
    if key not in node or key == "id" or len(path.split(".")) > 5:
        raise StripeError("cannot_expand", path=path)
    if isinstance(node[key], str):
        found = store.find(node[key])
        if found is None:
            raise StripeError("cannot_expand", path=path)
        node[key] = public(found)
    for child in node[key] if isinstance(node[key], list) else [node[key]]:
        if rest and isinstance(child, dict):
            _expand(store, child, rest, path)


def listing(url: str, objects: list[Json], has_more: bool) -> Json:
    """A list answer."""
    return {"object": "list", "data": [public(item) for item in objects], "has_more": has_more, "url": url}


def money(cents: int) -> str:
    """Cents as error texts show them."""
    return f"${cents / 100:,.2f}"

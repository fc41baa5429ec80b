"""A client finds a code and a sentence for every refusal, PostgreSQL's own included."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.harness.people import Api, SignUp

Json = dict[str, Any]


def explain(anon: Api, refused: httpx.Response) -> Json:
    """What docs/errors.md tells an application to do: load the catalogue, look up hint, constraint or SQLSTATE."""
    entries = {entry["name"]: entry for entry in anon.rpc("error_catalog").raise_for_status().json()}
    error = refused.json()
    if error["code"].startswith("PT"):
        return dict(entries[error["hint"]])
    constraint = re.search(r'constraint "(\w+)"', error["message"])
    return dict(entries[constraint[1] if constraint else error["code"]])


@pytest.mark.parametrize(
    ("relation", "row", "code"),
    [
        (
            "artworks",
            {"title": "x", "category": "digital", "image_url": "https://example.com/x", "price_cents": 49},
            "invalid_price",
        ),
        (
            "artworks",
            {"title": "x" * 256, "category": "digital", "image_url": "https://example.com/x", "price_cents": 50},
            "invalid_title",
        ),
        (
            "artworks",
            {"title": "x", "category": "digital", "image_url": "ftp://example.com/x", "price_cents": 50},
            "invalid_url",
        ),
        ("products", {"title": "x", "price_cents": 500, "license_type": "custom"}, "license_text_required"),
        ("products", {"title": "x", "price_cents": 500, "license_text": "x" * 20001}, "invalid_license"),
        ("products", {"title": "x", "category_id": "00000000-0000-4000-8000-000000000000"}, "choice_not_available"),
        ("products", {"title": "x", "is_approved": True}, "not_allowed"),
        ("products", {"title": "x", "price_cents": 10**20}, "value_out_of_range"),
        ("posts", {"content": "x" * 10001}, "invalid_content"),
        ("posts", {"content": "a\0b"}, "invalid_value"),
        ("rpc/create_poll", {"content": "?", "options": ["a", "b"], "ends_at": "at dawn"}, "invalid_value"),
        ("rpc/create_poll", {"content": "?", "options": ["a", "b"], "ends_at": "2030-02-30"}, "value_out_of_range"),
    ],
)
def test_a_refusal_has_a_code_and_a_sentence(anon: Api, sign_up: SignUp, relation: str, row: Json, code: str) -> None:
    refused = sign_up().api.http.post(f"/rest/v1/{relation}", json=row)
    assert refused.is_client_error, refused.text
    entry = explain(anon, refused)
    assert entry["code"] == code
    assert re.fullmatch(r"[A-Z].*[.]", entry["message"])


def test_a_change_without_a_filter_is_explained(anon: Api, sign_up: SignUp) -> None:
    refused = sign_up().api.http.delete("/rest/v1/cart_items")
    assert explain(anon, refused)["code"] == "filter_missing"


def test_the_catalogue_holds_our_own_codes_too(anon: Api, sign_up: SignUp) -> None:
    refused = sign_up().api.rpc("checkout", items=[])
    assert explain(anon, refused)["code"] == "empty_checkout"

"""The status page for people."""

from __future__ import annotations

import html

from stack.simulator.data import Json
from stack.simulator.engine import Config
from stack.simulator.store import Store

# Newest objects of these kinds, with these fields.
_SHOWN = {
    "payment_intent": ("id", "amount", "currency", "status", "description", "metadata"),
    "checkout.session": ("id", "amount_total", "currency", "status", "payment_status", "payment_intent", "metadata"),
    "refund": ("id", "amount", "currency", "status", "payment_intent", "metadata"),
    "transfer": ("id", "amount", "currency", "destination", "transfer_group"),
    "account": ("id", "email", "payouts_enabled", "capabilities"),
}
_METHODS = ("pm_card_visa", "pm_card_chargeDeclined", "pm_usBankAccount_processing")
_HEAD = """<!doctype html><meta charset="utf-8"><title>Provider simulator</title>
<style>body{font:14px system-ui;margin:2em;max-width:75em}table{border-collapse:collapse}
th,td{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #ddd;overflow-wrap:anywhere}</style>
<h1>Provider simulator</h1><p>Speaks Stripe's API under <code>/v1</code>; no real money. Amounts are cents.</p>
"""


def session(item: Json, error: str = "") -> str:
    """The page of a Checkout Session, on which a buyer pays or turns back."""
    options = "".join(f"<option>{name}</option>" for name in _METHODS)
    back = html.escape(item["cancel_url"] or item["success_url"])
    return (
        '<!doctype html><meta charset="utf-8"><title>Pay</title>'
        f"<h1>{item['amount_total'] / 100:,.2f} {html.escape(item['currency'].upper())}</h1><p>{html.escape(error)}</p>"
        f'<form method="post"><select name="payment_method">{options}</select> <button>Pay</button></form>'
        f'<p><a href="{back}">Back</a></p>'
    )


def status(store: Store, config: Config, faults: list[Json]) -> str:
    """Balance, newest objects, deliveries, faults and settings, as HTML without external assets."""
    parts: dict[str, list[Json]] = {
        "balance": [
            {"currency": currency, "available": available, "pending": pending}
            for currency, (available, pending) in store.balance().items()
        ]
    }
    for kind, fields in _SHOWN.items():
        parts[kind] = [{name: item[name] for name in fields} for item in store.page(kind, limit=20)[0]]
    parts["deliveries"] = [
        {name: row[name] for name in ("id", "type", "event", "state", "attempts")}
        | {"last response": (row["responses"] or [""])[-1]}
        for row in reversed(store.deliveries(limit=40))
    ]
    parts["faults"] = faults
    parts["objects"] = [{"object": name, "count": count} for name, count in store.counts().items()]
    parts["settings"] = [{"setting": name, "value": value} for name, value in config.model_dump().items()]
    return _HEAD + "".join(f"<h2>{name}</h2>{_table(rows)}" for name, rows in parts.items())


def _table(rows: list[Json]) -> str:
    if not rows:
        return "<p>none</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    lines = ("".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

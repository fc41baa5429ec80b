"""What people do on the marketplace, as short calls: publish, buy, pay, let time pass, and look at the provider."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterable

import httpx

from stack.services import Services
from stack.simulator.control import SimulatorControl
from tests.harness.people import Json, Member, Person
from tests.harness.server import Database
from tests.harness.waiting import until

FILE = b"not really a wave file, but these very bytes"


# -- sellers ----------------------------------------------------------------------------------------------------------


def publish_product(
    seller: Person, price_cents: int = 2000, files: Iterable[str] = ("beat.wav",), **fields: Json
) -> str:
    """A product on sale with its files uploaded, made with supabase-py as a seller's application does; its id."""
    product = (
        seller.client.table("products")
        .insert({"title": "Beat", "price_cents": price_cents, **fields})
        .execute()
        .data[0]["id"]
    )
    for name in files:
        path = f"{seller.id}/{product}/{name}"
        seller.client.storage.from_("product-files").upload(path, FILE, {"content-type": "audio/wav"})
        seller.client.table("product_files").insert({"product_id": product, "path": path, "name": name}).execute()
    seller.client.table("products").update({"status": "active"}).eq("id", product).execute()
    return str(product)


def publish_artwork(seller: Person, price_cents: int = 500000, **fields: Json) -> str:
    """A one-of-a-kind artwork on sale; its id."""
    image = "https://images.example/dawn.jpg"
    row = {
        "title": "Dawn",
        "image_url": image,
        "category": "painting",
        "price_cents": price_cents,
        "status": "published",
        **fields,
    }
    return str(seller.client.table("artworks").insert(row).execute().data[0]["id"])


def publish_service(seller: Person, *prices: int, **fields: Json) -> tuple[str, list[str]]:
    """A service on sale with a package for each price (cents); its id and theirs."""
    table = seller.client.table
    row = {"title": "Mixing", "service_type": "mixing", **fields}
    service = str(table("services").insert(row).execute().data[0]["id"])
    packages = [
        {
            "item_id": service,
            "title": f"Package {no}",
            "price_cents": price,
            "details": {"delivery_days": 7, "revisions": 2, "features": ["WAV"]},
        }
        for no, price in enumerate(prices, 1)
    ]
    made = [str(row["id"]) for row in table("catalog_options").insert(packages).execute().data]
    table("services").update({"status": "active"}).eq("id", service).execute()
    return service, made


def open_hours(seller: Person, zone: str = "America/New_York", **rules: Json) -> None:
    """The seller can be booked from 9 to 17 of their clock, every day."""
    table = seller.client.table
    table("availability").insert({"time_zone": zone, "notice_minutes": 0, **rules}).execute()
    hours = [{"weekday": day, "from_time": "09:00", "until_time": "17:00"} for day in range(1, 8)]
    table("availability_hours").insert(hours).execute()


# -- buyers -----------------------------------------------------------------------------------------------------------


def order(buyer: Member, *items: str | dict[str, Json], provider: str = "stripe", **more: Json) -> dict[str, Json]:
    """Check out items (the cart when none are given); checkout's answer."""
    wanted = [item if isinstance(item, dict) else {"item_id": item} for item in items]
    answer = buyer.api.rpc("checkout", items=wanted or None, provider=provider, **more)
    assert answer.status_code == 200, f"checkout: {answer.status_code} {answer.text}"
    return answer.json()  # type: ignore[no-any-return]


def start(buyer: Member, ordered: dict[str, Json]) -> dict[str, Json]:
    """Open the attempt at the provider; what the function answers."""
    answer = buyer.api.http.post(ordered["start_url"])
    assert answer.status_code == 200, f"start: {answer.status_code} {answer.text}"
    return answer.json()  # type: ignore[no-any-return]


def buy(simulator: Simulator, buyer: Member, *items: str | dict[str, Json]) -> dict[str, Json]:
    """Check out, pay by card in the browser, and wait until the provider's event has settled it; the order."""
    ordered = order(buyer, *items)
    simulator.confirm(start(buyer, ordered)["client_secret"])
    return wait_for_order(buyer, ordered["order_id"])


def wait_for_order(buyer: Member, order_id: str, *statuses: str) -> dict[str, Json]:
    """The order once it left `pending`, or reached one of the given statuses."""

    def settled() -> dict[str, Json] | None:
        row = buyer.api.one("orders", id=f"eq.{order_id}")
        return row if (row["status"] in statuses if statuses else row["status"] != "pending") else None

    return until(settled, f"order {order_id} to become {' or '.join(statuses) or 'settled'}")  # type: ignore[return-value]


# -- the provider -----------------------------------------------------------------------------------------------------


class Simulator(SimulatorControl):
    """The payment provider: its commands, and what it answers to our secret key."""

    def __init__(self, services: Services) -> None:
        super().__init__(services.simulator_url)
        self._api = httpx.Client(
            base_url=f"{services.simulator_url}/v1",
            headers={"authorization": f"Bearer {services.env['AVENUE_STRIPE_SECRET_KEY']}"},
            trust_env=False,
            timeout=30,
        )

    def get(self, path: str, **query: Json) -> dict[str, Json]:
        """Read an object or a list."""
        answer = self._api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def post(self, path: str, **data: Json) -> dict[str, Json]:
        """Create or change an object, as an operator in the dashboard would."""
        answer = self._api.post(path, data=data)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    @property
    def balance_cents(self) -> int:
        """What it holds for us, available and pending."""
        balance = self.get("balance")
        parts = [*balance["available"], *balance["pending"]]
        return sum(part["amount"] for part in parts if part["currency"] == "usd")

    def all(self, path: str, **query: str) -> list[dict[str, Json]]:
        """A whole list (up to 100), oldest first."""
        return self.get(path, limit=100, **query)["data"][::-1]  # type: ignore[no-any-return]


# -- time and the books -----------------------------------------------------------------------------------------------


def pass_time(database: Database, interval: str = "8 days") -> None:
    """Let the holding period of all earnings pass, by moving its end."""
    database.run("update public.transactions set release_at = release_at - %s::interval", interval)


def run_job(database: Database, task: str, **arguments: Json) -> None:
    """Queue a job for the running worker and wait until it has succeeded."""
    job = database.value(
        "select unnest(jobs.procrastinate_defer_jobs_v1(array["
        "row('default', %s, 0, null, null, %s, null)::jobs.procrastinate_job_to_defer_v1]))",
        task,
        json.dumps(arguments),
    )

    def outcome() -> str:
        # Successful jobs are deleted at once.
        return database.value("select status::text from jobs.procrastinate_jobs where id = %s", job) or "succeeded"

    assert until(lambda: (found := outcome()) in ("succeeded", "failed") and found, f"job {task}") == "succeeded"


def drain(database: Database, simulator: Simulator, seconds: float = 60) -> None:
    """Wait until every event is delivered and applied, no job is left to do now, and none of that caused more."""

    def done() -> bool:
        return simulator.idle(seconds) and database.value(
            "select not exists (select from private.webhook_events where status = 'pending') and not exists ("
            "select from jobs.procrastinate_jobs where status = 'doing' "
            "or status = 'todo' and coalesce(scheduled_at, now()) <= now())"
        )

    until(lambda: done() and done(), "events and jobs to be done", seconds)


def assert_books(database: Database, simulator: Simulator) -> None:
    """The books keep every invariant, and the provider holds what they say, to the cent."""
    assert database.audit() == []
    books, provider = database.value("select private.provider_position('stripe')"), simulator.balance_cents
    assert books == provider, "private.provider_position('stripe') and the provider's balance differ"


def stripe_signature(body: bytes, secret: str, timestamp: int | None = None) -> str:
    """The Stripe-Signature header for a body, computed as Stripe documents it and not by the SDK we verify with."""
    stamp = int(time.time()) if timestamp is None else timestamp
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"

"""`make seed`: a few members, items, posts and a sale, through the same doors an application uses.

A second run is harmless: whoever is there signs in, what is there stays. Everybody's password is PASSWORD, their
addresses are <name>@example.com; `admin` is an admin.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
from rich.console import Console
from supabase import Client, create_client
from supabase_auth.errors import AuthApiError

from stack import local
from stack.cluster import StackError
from stack.sample_pictures import room
from stack.services import Services
from stack.simulator.control import SimulatorControl

PASSWORD = "avenue local"
MEMBERS = {
    "admin": "Ada, who keeps order",
    "nora": "Nora Beats",
    "tomas": "Tomáš Malíř",
    "lena": "Lena",
    "joao": "João",
}
PICTURE = "https://example.com/{}.jpg"
PRODUCTS = [
    {"title": "Café Sessions", "price_cents": 1900, "description": "Forty loops from a small café.", "tags": ["loops"]},
    {"title": "Free Kick", "price_cents": 0, "description": "One kick drum, for everybody.", "tags": ["drums"]},
    {
        "title": "Name Your Bass",
        "price_cents": 1000,
        "allow_name_your_price": True,
        "minimum_price_cents": 300,
        "description": "Pay what it is worth to you.",
        "tags": ["bass"],
    },
]
ARTWORKS = [
    {"title": "Рассвет", "category": "painting", "price_cents": 48000},
    {"title": "Dawn over the harbor", "category": "digital", "price_cents": 4900},
]
POSTS = {
    "nora": ["New beat is out #Drums", "Which loop do you want next?"],
    "tomas": ["Working on a series of harbors #painting"],
    "lena": ["Looking for a singer #music"],
}

# As the studio's specification has it: 100.00 of credits, and a finished job of five photos.
PACK = "a7e0e000-0000-4000-8000-000000005000"
PROMPT, GROUP = "Modern living room with natural lighting", "Sample Project"

Row = dict[str, Any]


def _member(services: Services, name: str, display_name: str) -> tuple[Client, str]:
    client = create_client(services.url, services.anon_key)
    account = {"email": f"{name}@example.com", "password": PASSWORD}
    try:
        answer = client.auth.sign_in_with_password(account)
    except AuthApiError:
        answer = client.auth.sign_up({**account, "options": {"data": {"username": name, "display_name": display_name}}})
    if answer.user is None or answer.session is None:
        raise StackError(f"seed: {name} cannot sign in")
    return client, answer.user.id


def _once(client: Client, relation: str, row: Row, **known: str) -> Row:
    """The row that matches `known`, inserted when there is none."""
    query = client.table(relation).select("*")
    for column, value in known.items():
        query = query.eq(column, value)
    found: list[Row] = query.limit(1).execute().data
    if not found:
        found = client.table(relation).insert(row).execute().data
    return found[0]


def _publish(client: Client, seller: str, product: Row) -> Row:
    """A product with a file in the private bucket, on sale."""
    row = _once(client, "products", product, seller_id=seller, title=product["title"])
    if row["status"] == "draft":
        path = f"{seller}/{row['id']}/{row['slug']}.wav"
        client.storage.from_("product-files").upload(path, b"RIFF sample", {"content-type": "audio/wav"})
        client.table("product_files").insert(
            {"product_id": row["id"], "path": path, "name": f"{row['slug']}.wav"}
        ).execute()
        client.table("products").update({"status": "active"}).eq("id", row["id"]).execute()
    return row


def seed(services: Services) -> list[str]:
    """Fill a running stack; the members' names."""
    people = {name: _member(services, name, display_name) for name, display_name in MEMBERS.items()}
    with psycopg.connect(services.cluster.url(services.database), autocommit=True) as database:
        database.execute("select private.grant_role(%s, 'admin')", (people["admin"][1],))
    nora, nora_id = people["nora"]
    tomas, tomas_id = people["tomas"]
    products = [_publish(nora, nora_id, product) for product in PRODUCTS]
    for artwork in ARTWORKS:
        row = {**artwork, "image_url": PICTURE.format(artwork["category"]), "status": "published"}
        _once(tomas, "artworks", row, seller_id=tomas_id, title=str(artwork["title"]))
    posts = {
        (name, content): _once(people[name][0], "posts", {"content": content}, user_id=people[name][1], content=content)
        for name, contents in POSTS.items()
        for content in contents
    }
    lena, lena_id = people["lena"]
    joao, joao_id = people["joao"]
    for fan, fan_id in ((lena, lena_id), (joao, joao_id)):
        _once(fan, "follows", {"following_id": nora_id}, follower_id=fan_id, following_id=nora_id)
        first = posts["nora", POSTS["nora"][0]]
        _once(fan, "post_likes", {"post_id": first["id"]}, user_id=fan_id, post_id=first["id"])
    if not lena.table("purchases").select("item_id").eq("item_id", products[1]["id"]).execute().data:
        lena.rpc("checkout", {"items": [{"item_id": products[1]["id"]}]}).execute()
    _photo_job(services, lena, lena_id)
    return list(people)


def _until(what: str, condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise StackError(f"seed: waited {seconds:.0f} s for {what} (logs: make logs)")
        time.sleep(0.1)
    return value


def _photo_job(services: Services, client: Client, member: str) -> None:
    """Credits from two packs, and a job of five photos that is done."""
    if client.table("photo_jobs").select("id").eq("user_id", member).execute().data:
        return
    if not client.table("credit_lots").select("id").execute().data:
        order: Row = client.rpc("checkout", {"items": [{"item_id": PACK, "quantity": 2}]}).execute().data
        session = client.auth.get_session()
        assert session is not None
        started = httpx.post(
            order["start_url"], headers={"Authorization": f"Bearer {session.access_token}"}, timeout=30
        )
        SimulatorControl(services.simulator_url).confirm(started.raise_for_status().json()["client_secret"])
    _until("the credits", lambda: client.table("credit_lots").select("id").execute().data)
    photos = []
    for number in range(5):
        path = f"{member}/sample-{number + 1}.jpg"
        upload = {"content-type": "image/jpeg", "upsert": "true"}
        client.storage.from_("uploads").upload(path, room(number), upload)
        photos.append(client.rpc("create_media", {"path": path, "purpose": "photo_input"}).execute().data["id"])
    _until("the photos", lambda: _all(client, "media", "ready", photos))
    job = client.rpc(
        "create_photo_job",
        {"prompt": PROMPT, "media_ids": photos, "group_name": GROUP, "client_key": "the seed's sample job"},
    ).execute()
    _until("the photo job", lambda: _all(client, "photo_jobs", "completed", [job.data["id"]]))


def _all(client: Client, relation: str, status: str, ids: list[str]) -> bool:
    found = client.table(relation).select("id").in_("id", ids).eq("status", status).execute().data
    return len(found) == len(ids)


def main() -> int:
    """Starts the stack when needed, fills it, says who is there."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        services = local.up(lambda text: None)
        names = seed(services)
    except StackError as error:
        sys.exit(f"avenue: {error}")
    console.print(f"Signed up: {', '.join(names)} (each <name>@example.com, password “{PASSWORD}”).")
    console.print(f"URL {services.url}, anon key {services.anon_key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

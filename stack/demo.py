"""`make demo`: from nothing to a whole sale, narrated: sign-up, publish, buy, settle, refund, hold, release, pay out;
then a service, a webinar and a photo job.

Everything goes through the doors a real product has: supabase-py for people, the simulator's card form and signed
webhooks for the provider, the `avenue` command for operators. The database is only touched where no door exists: to
appoint the first admin and to let seven days pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import psycopg
from postgrest.exceptions import APIError
from rich.console import Console
from rich.table import Table
from supabase import Client, create_client

from stack import local
from stack.cluster import REPO, StackError
from stack.sample_pictures import room
from stack.services import Services
from stack.simulator.control import SimulatorControl

console = Console(highlight=False, soft_wrap=True)
PRODUCT_CENTS, ARTWORK_CENTS, REFUND_CENTS = 2000, 500_000, 500
PACK = "a7e0e000-0000-4000-8000-000000002000"
Row = dict[str, Any]


@dataclass
class Person:
    """Somebody signed in, with what an application of theirs would hold."""

    name: str
    id: str
    client: Client
    token: str
    url: str

    def function(self, method: str, path: str, body: Row | None = None) -> httpx.Response:
        """Call one of the workers' functions with this person's token; path may be a whole address, as start_url is."""
        return httpx.request(
            method,
            httpx.URL(self.url).join(path),
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
        )


def dollars(cents: int) -> str:
    """$1,234.50"""
    return f"{'-' if cents < 0 else ''}${abs(cents) / 100:,.2f}"


def step(text: str) -> None:
    """A headline of the story."""
    console.print(f"\n[bold cyan]▸ {text}[/]")


def say(text: str) -> None:
    """A sentence of it."""
    console.print(f"  {text}")


def until(what: str, condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The condition's first true value; fails naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise StackError(f"demo: waited {seconds:.0f} s for {what} (logs: make logs)")
        time.sleep(0.05)
    return value


class Demo:
    """One run on a running stack; a second run on the same stack works too."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.run = f"{int(time.time()):x}"
        self.simulator = SimulatorControl(services.simulator_url)
        self.database = psycopg.connect(services.cluster.url(services.database), autocommit=True)
        self.env = {**os.environ, **services.env}

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What an operator would type into psql."""
        return self.database.execute(query, values).fetchall()

    def avenue(self, *arguments: str) -> str:
        """The operator's command."""
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments], cwd=REPO, env=self.env, capture_output=True, text=True
        )
        if done.returncode:
            raise StackError(f"avenue {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def sign_up(self, name: str) -> Person:
        """Through Auth, as an application does."""
        client = create_client(self.services.url, self.services.anon_key)
        answer = client.auth.sign_up(
            {
                "email": f"{name}-{self.run}@example.com",
                "password": f"correct horse {self.run}",
                "options": {"data": {"username": f"{name}-{self.run}", "display_name": name.title()}},
            }
        )
        if not answer.session or not answer.user:
            raise StackError("demo: sign-up gave no session")
        return Person(name, answer.user.id, client, answer.session.access_token, self.services.url)

    # -- the story ----------------------------------------------------------------------------------------------------

    def people(self) -> None:
        """Two sellers, two buyers, an admin."""
        step("Two sellers, two buyers and an admin sign up through Auth")
        names = ("sonja", "marek", "bea", "boris", "ada")
        with ThreadPoolExecutor() as pool:
            self.producer, self.artist, self.bea, self.boris, self.admin = pool.map(self.sign_up, names)
        self.sql("select private.grant_role(%s, 'super_admin')", self.admin.id)
        self.admin.client.rpc(
            "set_subscription", {"user_id": self.producer.id, "plan_key": "creator_standard"}
        ).execute()
        say("sonja sells products on the standard plan (30% commission), marek art on the basic one (40%);")
        say("sign-up gave each a profile, settings, a plan and a wallet in one transaction.")

    def publish(self) -> None:
        """Files to Storage, rows through the Data API."""
        step("They publish")
        files = self.producer.client
        row = files.table("products").insert({"title": "Dusty drums", "price_cents": PRODUCT_CENTS}).execute().data[0]
        self.product = row["id"]
        path = f"{self.producer.id}/{self.product}/dusty-drums.wav"
        files.storage.from_("product-files").upload(path, b"RIFF demo " * 1000, {"content-type": "audio/wav"})
        files.table("product_files").insert(
            {"product_id": self.product, "path": path, "name": "dusty-drums.wav"}
        ).execute()
        files.table("products").update({"status": "active"}).eq("id", self.product).execute()
        say(f"sonja: “Dusty drums”, {dollars(PRODUCT_CENTS)}, its file in a private bucket")

        art = self.artist.client
        image = f"{self.artist.id}/sunset-{self.run}.png"
        art.storage.from_("media").upload(image, b"\x89PNG\r\n\x1a\n demo", {"content-type": "image/png"})
        self.artwork = (
            art.table("artworks")
            .insert(
                {
                    "title": "Digital sunset",
                    "image_url": art.storage.from_("media").get_public_url(image).rstrip("?"),
                    "price_cents": ARTWORK_CENTS,
                    "category": "digital",
                    "status": "published",
                }
            )
            .execute()
            .data[0]["id"]
        )
        say(f"marek: “Digital sunset”, {dollars(ARTWORK_CENTS)}, one of a kind")

    def race(self) -> None:
        """Both want the artwork at the same instant."""
        step("Both buyers put drums and sunset into their carts and check out at the same instant")
        for buyer in (self.bea, self.boris):
            buyer.client.table("cart_items").insert([{"item_id": self.product}, {"item_id": self.artwork}]).execute()

        def checkout(buyer: Person) -> tuple[Person, Row | APIError]:
            try:
                return buyer, buyer.client.rpc("checkout", {"provider": "stripe"}).execute().data
            except APIError as error:
                return buyer, error

        with ThreadPoolExecutor() as pool:
            outcomes = list(pool.map(checkout, (self.bea, self.boris)))
        won = [(buyer, answer) for buyer, answer in outcomes if isinstance(answer, dict)]
        assert len(won) == 1, "exactly one checkout must win"
        (self.buyer, self.order) = won[0]
        for buyer, answer in outcomes:
            if isinstance(answer, APIError):
                say(f"{buyer.name}: {answer.message} [dim](hint {answer.hint})[/]")
                self.loser = buyer
            else:
                total = dollars(answer["total_cents"])
                say(f"{buyer.name}: order {answer['order_number']} over {total}, sunset reserved")

    def pay(self) -> None:
        """By card; the event is forged, then delivered twice."""
        step(f"{self.buyer.name} pays by card; the provider's signed webhook settles it")
        self.simulator.hold()
        started = self.buyer.function("POST", self.order["start_url"]).raise_for_status().json()
        self.simulator.confirm(started["client_secret"])
        forged = self.simulator.deliver(secrets=["whsec_not_the_right_one"])
        say(f"forged copies are refused with {forged[0]['status']}; the order is still {self._order()['status']}")
        assert all(answer["status"] == 400 for answer in forged), "a forged delivery must be refused"
        assert self._order()["status"] == "pending", "and move nothing"
        real = self.simulator.deliver([answer["event"] for answer in forged], times=2)
        assert all(answer["status"] == 200 for answer in real), "real ones must be taken"
        say(f"the {len(forged)} real events are delivered twice: {len(real)} answers of 200")
        self.simulator.release()
        until("the order to settle", lambda: self._order()["status"] == "completed")
        lines = self.sql(
            "select amount_total_cents, amount_fees_cents, amount_commission_cents, amount_seller_cents,"
            " seller_id::text from public.transactions where payment_id = %s order by amount_total_cents",
            self.order["payment_id"],
        )
        assert len(lines) == 2, "one sale per line, however often the event came"
        for total, fee, commission, seller, seller_id in lines:
            name = self.producer.name if seller_id == self.producer.id else self.artist.name
            say(f"{dollars(total)} = fee {dollars(fee)} + commission {dollars(commission)} + {name} {dollars(seller)}")
        for person in (self.buyer, self.loser):
            answer = person.function("GET", f"/functions/v1/downloads/{self.product}")
            detail = f", {len(httpx.get(answer.json()['files'][0]['url']).content)} bytes" if answer.is_success else ""
            say(f"{person.name} downloads the drums: {answer.status_code}{detail}")

    def _order(self) -> Row:
        return self.buyer.client.table("orders").select("*").eq("id", self.order["order_id"]).execute().data[0]

    def refund(self) -> None:
        """A part of the product's price goes back."""
        step(f"sonja gives {dollars(REFUND_CENTS)} of the drums back")
        line = (
            self.producer.client.table("order_items")
            .select("id")
            .eq("order_id", self.order["order_id"])
            .execute()
            .data[0]
        )
        self.producer.client.rpc(
            "refund_order_item",
            {"order_item_id": line["id"], "amount_cents": REFUND_CENTS, "reason": "one loop was missing"},
        ).execute()
        until("the refund to be booked", lambda: self._order()["status"] == "partially_refunded")
        say("made at the provider, booked when its event said succeeded: platform and seller give back their parts.")

    def week(self) -> None:
        """Held earnings become available."""
        step("Seven days pass; held earnings are released")
        until(
            "the provider's real fee",
            lambda: self.sql(
                "select 1 from public.payments where id = %s and provider_fee_cents is not null",
                self.order["payment_id"],
            ),
        )
        self.sql(
            "update public.transactions set release_at = release_at - interval '7 days'"
            " where payment_id = %s returning 1",
            self.order["payment_id"],
        )
        reviews = (
            self.admin.client.table("sale_reviews").select("transaction_id").is_("released_at", "null").execute().data
        )
        assert reviews, "a large sale of a new seller must be held"
        for review in reviews:
            held = {"transaction_id": review["transaction_id"], "note": "the demo looked at buyer and seller"}
            self.admin.client.rpc("release_sale_review", held).execute()
        say("the sunset is a large sale of a new seller: held until ada has looked at it")
        self.avenue("jobs", "run", "release_earnings")
        until("the release", lambda: self._wallet(self.artist)["balance_available_cents"] > 0)
        for seller in (self.producer, self.artist):
            say(f"{seller.name}: {dollars(self._wallet(seller)['balance_available_cents'])} available")

    def _wallet(self, person: Person) -> Row:
        return person.client.table("wallets").select("*").execute().data[0]

    def payout(self) -> None:
        """Onboarding, request, approval, and a worker killed while the transfer is on its way."""
        step("marek sets up payouts and asks for everything")
        link = self.artist.function(
            "POST",
            "/functions/v1/payouts/onboard",
            {"return_url": "https://shop.example/done", "refresh_url": "https://shop.example/again"},
        )
        self.simulator.onboard(link.raise_for_status().json()["url"])
        until("the account to be enabled", lambda: self._wallet(self.artist)["payouts_enabled"])
        amount = self._wallet(self.artist)["balance_available_cents"]
        payout = self.artist.client.rpc("request_payout", {"amount_cents": amount}).execute().data
        say(f"{dollars(amount)} is above the limit, so it waits for an operator: status {payout['status']}")
        # The provider makes the transfer but its answer and its event are late: the worker is killed while it waits.
        self.simulator.hold()
        self.simulator.fault("POST /v1/transfers", "delay_after", seconds=20, times=1)
        self.avenue("payouts", "approve", payout["id"], "--by", "the demo")
        until("the transfer to reach the provider", lambda: not self.simulator.faults())
        self.services.kill("jobs")
        state = self.artist.client.table("payouts").select("status").execute().data[0]["status"]
        say(f"the worker is killed (-9) in the middle of the transfer; the payout says {state}")
        assert state == "processing", "the intent was committed before the provider was called"
        self.services.start(["jobs"])
        paid = until(
            "the payout to complete",
            lambda: self.sql(
                "select provider_ref from public.payouts where id = %s and status = 'completed'", payout["id"]
            ),
        )
        self.simulator.release()
        transfers = httpx.get(
            f"{self.services.simulator_url}/v1/transfers",
            params={"transfer_group": payout["id"]},
            headers={"Authorization": f"Bearer {self.env['AVENUE_STRIPE_SECRET_KEY']}"},
        ).json()["data"]
        say(f"a new worker asks the provider before it acts: completed by {paid[0][0]},")
        say(f"transfers at the provider: {len(transfers)}")
        assert len(transfers) == 1, "exactly one transfer"

    def market(self) -> None:
        """A service from the search to the review, and a webinar whose last seat somebody waits for."""
        step("sonja mixes songs: boris finds her, uses a coupon, sends his stems, asks for a revision, approves")
        sonja, boris = self.producer.client, self.boris.client
        title = f"Mixing of one song {self.run}"
        service = (
            sonja.table("services")
            .insert({"title": title, "service_type": "mixing", "buyer_requirements": "Your stems, please."})
            .execute()
            .data[0]["id"]
        )
        package = {
            "item_id": service,
            "title": "Basic",
            "price_cents": 10_000,
            "details": {"delivery_days": 5, "revisions": 1, "features": ["Stereo WAV"]},
        }
        option = sonja.table("catalog_options").insert(package).execute().data[0]["id"]
        sonja.table("services").update({"status": "active"}).eq("id", service).execute()
        code = f"first-{self.run}"
        sonja.table("coupons").insert({"code": code, "percent_bps": 2500, "usage_limit": 1}).execute()
        found = boris.rpc("search_catalog", {"query": f"mixng song {self.run}", "kinds": ["service"]}).execute().data
        assert [item["id"] for item in found] == [service], "a typo does not hide it"
        wanted = {"items": [{"item_id": service, "option_id": option}], "coupon_codes": [code]}
        order = boris.rpc("checkout", wanted).execute().data
        started = self.boris.function("POST", order["start_url"]).raise_for_status().json()
        self.simulator.confirm(started["client_secret"])
        work = until(
            "the service order", lambda: boris.table("service_orders").select("id,order_item_id").execute().data
        )
        mine = {"service_order_id": work[0]["id"]}
        say(f"{dollars(10_000)}, with 25% off {dollars(order['total_cents'])}; nothing of it is sonja's to take yet")
        boris.rpc("send_requirements", {**mine, "requirements": "Warm, please."}).execute()
        sonja.rpc("deliver_service_order", {**mine, "notes": "First version."}).execute()
        boris.rpc("request_revision", {**mine, "note": "The voice could be louder."}).execute()
        sonja.rpc("deliver_service_order", {**mine, "notes": "Louder."}).execute()
        done = boris.rpc("approve_service_order", mine).execute().data
        assert done["status"] == "completed", "approved is completed"
        boris.rpc("review_item", {"item_id": service, "rating": 5, "review_text": "Warm and loud."}).execute()
        rating = {"order_item_id": work[0]["order_item_id"], "rating": 5}
        unseen = boris.table("catalog_items").select("rating_average").eq("id", service).execute().data[0]
        assert unseen["rating_average"] is None, "nobody sees one side's review before the other's"
        sonja.rpc("review_buyer", rating).execute()
        shown = boris.table("catalog_items").select("rating_average,reviews_count").eq("id", service).execute().data[0]
        say(f"completed; once both have reviewed each other the service shows {shown['rating_average']} stars")

        step("sonja hosts a free webinar with two seats; three want to come")
        webinar = (
            sonja.table("webinars")
            .insert(
                {
                    "title": "First chords",
                    "starts_local": "2031-05-01T18:00",
                    "time_zone": "Europe/Berlin",
                    "max_attendees": 2,
                }
            )
            .execute()
            .data[0]
        )
        seat = {"webinar_id": webinar["id"]}
        for guest in (self.bea, self.boris):
            guest.client.rpc("register_for_webinar", seat).execute()
        try:
            self.artist.client.rpc("register_for_webinar", seat).execute()
            raise StackError("demo: two seats for three")
        except APIError as error:
            say(f"marek: {error.message} [dim](hint {error.hint})[/]")
        self.artist.client.rpc("join_waiting_list", seat).execute()
        self.bea.client.rpc("cancel_registration", seat).execute()
        state = self.artist.client.table("webinar_registrations").select("status").execute().data[0]["status"]
        say(f"he waits; bea gives her seat back, and marek's registration says {state}")
        assert state == "confirmed", "a freed seat belongs to whoever waits"

    def studio(self) -> None:
        """A pack, five photos of which one is lost, the file of the other four."""
        step("bea buys credits and has five photos of her flat made brighter")
        bea = self.bea
        order = bea.client.rpc("checkout", {"items": [{"item_id": PACK}]}).execute().data
        started = bea.function("POST", order["start_url"]).raise_for_status().json()
        self.simulator.confirm(started["client_secret"])
        self._credits_until(2400)
        say(f"a pack of {dollars(order['total_cents'])}: 2,000 credits and 400 on top")
        # The rest of the fifth photo.
        bea.client.rpc("claim_trial").execute()
        photos = []
        for number in range(5):
            path = f"{bea.id}/room-{number + 1}.jpg"
            bea.client.storage.from_("uploads").upload(path, room(number), {"content-type": "image/jpeg"})
            made = bea.client.rpc("create_media", {"path": path, "purpose": "photo_input"}).execute().data
            photos.append(made["id"])
        until("the photos to be looked at", lambda: self._ready(bea, photos), 60)
        say("five photos uploaded, decoded in a child process, turned upright, without the place they were taken at")
        # What can go wrong: between the job and its sending an operator deletes a file.
        self.services.kill("jobs")
        job = (
            bea.client.rpc(
                "create_photo_job",
                {"prompt": "brighter, warmer", "media_ids": photos, "group_name": "Flat 3", "client_key": self.run},
            )
            .execute()
            .data
        )
        say(f"the job costs {dollars(job['cost_cents'])}, held at once; then the second photo is lost in Storage")
        lost = self.sql("select derivatives -> 'full' ->> 'path' from public.media where id = %s", photos[1])[0][0]
        httpx.request(
            "DELETE",
            f"{self.services.url}/storage/v1/object/studio",
            json={"prefixes": [lost]},
            headers={"apikey": self.services.secret_key},
        ).raise_for_status()
        self.services.start(["jobs"])
        jobs = bea.client.table("photo_jobs").select("*,photo_job_items(position,status,failure)").eq("id", job["id"])
        done: Row = until(
            "the job to end", lambda: next((row for row in jobs.execute().data if row["finished_at"]), None), 120
        )
        for photo in sorted(done["photo_job_items"], key=lambda row: row["position"]):
            say(f"photo {photo['position']}: {photo['status']}{': ' + photo['failure'] if photo['failure'] else ''}")
        counts = (done["status"], done["succeeded_count"], done["failed_count"], done["captured_cents"])
        assert counts == ("completed", 4, 1, 2000), "four are spent, one is given back"
        self._credits_until(2900 - 2000)
        say(f"four captured, one returned: {dollars(done['captured_cents'])} spent, 9.00 of credits left")
        path = f"/functions/v1/photo-jobs/{job['id']}/archive"
        answer = until("the ZIP file", lambda: (got := bea.function("GET", path)).is_success and got.json(), 60)
        with zipfile.ZipFile(BytesIO(httpx.get(answer["url"]).content)) as file:
            assert file.testzip() is None, "a ZIP file that opens"
            say(f"{answer['name']}, {answer['size_bytes']:,} bytes: {', '.join(file.namelist())}")
            assert len(file.namelist()) == 4, "of the delivered photos"

    def _credits_until(self, cents: int) -> None:
        until(
            f"{cents} credits",
            lambda: self.bea.client.rpc("credit_balance").execute().data["available_cents"] == cents,
        )

    def _ready(self, person: Person, ids: list[str]) -> bool:
        found = person.client.table("media").select("id").in_("id", ids).eq("status", "ready").execute().data
        return len(found) == len(ids)

    def books(self) -> bool:
        """The books, the wallets, the verdict."""
        step("What happened to the money")
        table = Table("account", "balance", title="Books (a positive balance is what the platform owes)")
        table.columns[1].justify = "right"
        total = 0
        for account, _, balance in self.sql("select * from private.account_balances()"):
            total += balance
            if balance:
                table.add_row(account, dollars(balance))
        table.add_section()
        table.add_row("sum", dollars(total))
        console.print(table)

        table = Table("wallet", "pending", "available", "debt", "earned", "withdrawn", title="Wallets of this run")
        for person in (self.producer, self.artist, self.bea, self.boris):
            wallet = self._wallet(person)
            columns = ("balance_pending", "balance_available", "debt", "total_earned", "total_withdrawn")
            table.add_row(person.name, *(dollars(wallet[f"{column}_cents"]) for column in columns))
        for column in table.columns[1:]:
            column.justify = "right"
        console.print(table)

        findings = self.sql("select * from private.audit_books()")
        for finding in findings:
            console.print(f"  [red]{': '.join(map(str, finding))}[/]")
        ours = self.sql("select private.provider_position('stripe')")[0][0]
        answer = httpx.get(
            f"{self.services.simulator_url}/v1/balance",
            headers={"Authorization": f"Bearer {self.env['AVENUE_STRIPE_SECRET_KEY']}"},
        ).json()
        theirs = sum(part["amount"] for kind in ("available", "pending") for part in answer[kind])
        say(f"the provider holds {dollars(theirs)}, our books say {dollars(ours)}")
        right = not findings and total == 0 and ours == theirs
        console.print("  [bold green]Audit: the books are right.[/]" if right else "  [bold red]Audit: NOT right.[/]")
        return right

    def tell(self) -> bool:
        """All of it, in order; whether the books are right at the end."""
        chapters = (
            self.people,
            self.publish,
            self.race,
            self.pay,
            self.refund,
            self.week,
            self.payout,
            self.market,
            self.studio,
        )
        for chapter in chapters:
            chapter()
        return self.books()


def main() -> int:
    """Starts the stack, tells the story, leaves the stack up."""
    begun = time.monotonic()
    step("The local Supabase starts")
    try:
        services = local.up(say)
        right = Demo(services).tell()
    except StackError as error:
        console.print(f"[bold red]{error}[/]")
        return 1
    console.print(f"\n[dim]{time.monotonic() - begun:.0f} s.[/] The stack stays up:")
    for name, value in (
        ("URL", services.url),
        ("publishable", services.publishable_key),
        ("secret key", services.secret_key),
        ("simulator", services.simulator_url),
        ("workers' API", f"{services.http_url}/docs"),
    ):
        console.print(f"  {name:<13}{value}", soft_wrap=True)
    console.print("  Next: the examples in README.md, [bold]make status[/], [bold]make psql[/], [bold]make down[/].")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

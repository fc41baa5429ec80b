"""The server and services the measurements run on: the stack's own, fsync on, in a directory that is thrown away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bench import (
    archive,
    community,
    likes,
    listing,
    market_coupons,
    market_orders,
    market_search,
    market_webinars,
    money,
    pictures,
    population,
    pre_request,
    studio,
    webhook,
)
from bench.core import Result
from stack import local
from stack.cluster import Cluster
from stack.schema import scratch
from stack.services import Services

DATABASE = "bench"
# The community at full size and at a tenth; AVENUE_BENCH_SCALE=0.1 makes both ten times smaller, to try things out.
FULL, TENTH = "community", "community_tenth"
# A quarter of a small server's memory, as one would give it to a database of this size.
MEMORY = {"shared_buffers": "1GB", "effective_cache_size": "3GB", "max_wal_size": "4GB"}


def with_schema(cluster: Cluster, name: str) -> None:
    """A new database with the schema: of the migrations, or of sql/ itself with AVENUE_SCHEMA=pages."""
    cluster.create_database(name)
    if os.environ.get("AVENUE_SCHEMA") == "pages":
        scratch.from_pages(scratch.Database(cluster, name))
    else:
        local.prepare(cluster, name)


class Benchmarks:
    """Opens what a measurement needs when it is first asked for; `with` cleans up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = Cluster(root / "postgres")
        self._services: Services | None = None
        self._money: object = None
        self._studio: studio.Studio | None = None
        self._coupons: market_coupons.Coupons | None = None
        self._orders: market_orders.Orders | None = None
        self._webinars: market_webinars.Webinars | None = None
        self._archive: archive.Archive | None = None
        self._community: Cluster | None = None
        self._towns: dict[str, community.Town] = {}
        self._likes: likes.Likes | None = None
        self._search: market_search.Search | None = None

    def __enter__(self) -> Benchmarks:
        self.cluster.init()
        with_schema(self.cluster, DATABASE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._services:
            self._services.stop()
        for town in self._towns.values():
            town.stop()
        if self._community:
            self._community.destroy()
        self.cluster.destroy()

    @property
    def admin_url(self) -> str:
        """As the superuser: the measurements also make tables of their own."""
        return self.cluster.url(DATABASE, "supabase_admin")

    @property
    def services(self) -> Services:
        """Auth, Data API and workers' HTTP process on the same database."""
        if self._services is None:
            self._services = Services(self.cluster, DATABASE, self.root / "services")
            self._services.install_jobs()
            self._services.start(["auth", "rest", "http", "gateway"])
        return self._services

    @property
    def community(self) -> Cluster:
        """A server of its own for the large tables."""
        if self._community is None:
            self._community = Cluster(self.root / "community", options=MEMORY)
            self._community.init()
        return self._community

    def town(self, name: str) -> community.Town:
        """FULL or TENTH, filled when first asked for."""
        if name not in self._towns:
            scale = float(os.environ.get("AVENUE_BENCH_SCALE", "1")) * (0.1 if name == TENTH else 1.0)
            with_schema(self.community, name)
            population.load(self.community.url(name, "supabase_admin"), scale)
            self._towns[name] = community.Town(self.community, name, scale, self.root / f"services-{name}")
        return self._towns[name]

    @property
    def likes(self) -> likes.Likes:
        """The two databases of the hot post."""
        if self._likes is None:
            with_schema(self.cluster, "likes")
            self._likes = likes.Likes(self.cluster, "likes")
        return self._likes

    @property
    def search(self) -> market_search.Search:
        """A million items and a tenth of them, on the server of the large tables."""
        if self._search is None:
            names = "search", "search_tenth"
            for name in names:
                with_schema(self.community, name)
            full, tenth = (self.community.url(name, "supabase_admin") for name in names)
            items = int(market_search.ITEMS * float(os.environ.get("AVENUE_BENCH_SCALE", "1")))
            self._search = market_search.Search(full, tenth, items)
        return self._search

    def all(self) -> dict[str, Callable[[], Result]]:
        """The measurements by name, in the order they are run."""

        def rls(page: community.Page) -> Callable[[], Result]:
            return lambda: community.rls(self.town(FULL), page)

        def growth(page: community.Page) -> Callable[[], Result]:
            return lambda: community.growth(self.town(FULL), self.town(TENTH), page)

        def books() -> money.Money:
            if self._money is None:
                self._money = money.Money(self.admin_url)
            assert isinstance(self._money, money.Money)
            return self._money

        def files() -> archive.Archive:
            if self._archive is None:
                self._archive = archive.Archive(self.services)
            return self._archive

        def photos() -> studio.Studio:
            if self._studio is None:
                with_schema(self.cluster, "studio")
                # Making a job queues one for the workers.
                Services(self.cluster, "studio", self.root / "studio").install_jobs()
                self._studio = studio.Studio(self.cluster.url("studio", "supabase_admin"))
            return self._studio

        def coupons() -> market_coupons.Coupons:
            if self._coupons is None:
                with_schema(self.cluster, "coupons")
                Services(self.cluster, "coupons", self.root / "coupons").install_jobs()
                self._coupons = market_coupons.Coupons(self.cluster.url("coupons", "supabase_admin"))
            return self._coupons

        def service_orders() -> market_orders.Orders:
            if self._orders is None:
                with_schema(self.cluster, "orders")
                self._orders = market_orders.Orders(self.cluster.url("orders", "supabase_admin"))
            return self._orders

        def webinars() -> market_webinars.Webinars:
            if self._webinars is None:
                with_schema(self.cluster, "webinars")
                # Announcing one queues its reminders.
                Services(self.cluster, "webinars", self.root / "webinars").install_jobs()
                self._webinars = market_webinars.Webinars(self.cluster.url("webinars", "supabase_admin"))
            return self._webinars

        return {
            "ledger_post": lambda: books().ledger_post(),
            "settle": lambda: books().settle(self.services),
            "settle_one": lambda: books().settle_one(self.services),
            "settle_memory": lambda: books().settle_memory(),
            "edition_race": lambda: books().edition_race(),
            "checkout": lambda: books().checkout(),
            "coupon_race": lambda: coupons().coupon_race(),
            "job_create": lambda: photos().job_create(),
            "job_create_one": lambda: photos().job_create_one(),
            "photo_settle": lambda: photos().photo_settle(),
            "order_acts": lambda: service_orders().order_acts(),
            "seat_race": lambda: webinars().seat_race(),
            "webhook": lambda: webhook.measure(self.services),
            "pre_request": lambda: pre_request.measure(self.services),
            "media": lambda: pictures.measure(self.services, self.admin_url),
            "media_memory": pictures.memory,
            "media_memory_others": pictures.memory_of_others,
            "zip": lambda: files().speed(),
            "zip_memory": lambda: files().memory(),
            "rls_listing": lambda: listing.measure(self.services, self.admin_url),
            "search": lambda: self.search.search(),
            "search_growth": lambda: self.search.growth(),
            "search_peer": lambda: self.search.peer(),
            "hot_likes_16": lambda: self.likes.measure(16, ">= 4"),
            "hot_likes_1": lambda: self.likes.measure(1, ">= 0.9"),
            **{f"{page.name}_rls": rls(page) for page in community.PAGES},
            **{f"{page.name}_growth": growth(page) for page in community.PAGES},
        }

"""The server and services the measurements run on: the stack's own, fsync on, in a directory that is thrown away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from bench.core import Result
from stack import local
from stack.cluster import Cluster
from stack.services import Services

DATABASE = "bench"


class Benchmarks:
    """Opens what a measurement needs when it is first asked for; `with` cleans up."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = Cluster(root / "postgres")
        self._services: Services | None = None
        self._money: object = None

    def __enter__(self) -> Benchmarks:
        self.cluster.init()
        self.cluster.create_database(DATABASE)
        local.prepare(self.cluster, DATABASE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._services:
            self._services.stop()
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

    def all(self) -> dict[str, Callable[[], Result]]:
        """The measurements by name, in the order they are run."""
        from bench import listing, money, webhook

        def books() -> money.Money:
            if self._money is None:
                self._money = money.Money(self.admin_url)
            assert isinstance(self._money, money.Money)
            return self._money

        return {
            "ledger_post": lambda: books().ledger_post(),
            "settle": lambda: books().settle(),
            "webhook": lambda: webhook.measure(self.services),
            "rls_listing": lambda: listing.measure(self.services, self.admin_url),
        }

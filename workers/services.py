"""Everything a handler or a job may need, opened once per process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from workers.db import Database
from workers.mail import Mailer
from workers.providers import PaymentProvider
from workers.providers.stripe import StripeProvider
from workers.settings import Settings
from workers.storage import Storage


@dataclass(frozen=True, slots=True)
class Services:
    """The process's connections to the outside. mailer: None without a mail server."""

    settings: Settings
    db: Database
    storage: Storage
    providers: dict[str, PaymentProvider]
    mailer: Mailer | None = None

    @property
    def stripe(self) -> PaymentProvider:
        """The Stripe provider."""
        return self.providers["stripe"]


def _stripe_provider(settings: Settings) -> StripeProvider:
    return StripeProvider(
        settings.stripe_secret_key.get_secret_value(),
        [secret.get_secret_value() for secret in settings.stripe_webhook_secrets],
        settings.stripe_api_base,
    )


@asynccontextmanager
async def open_services(
    settings: Settings, name: str, *, connections: int = 0, wait: bool = False
) -> AsyncIterator[Services]:
    """Open all connections, close them afterwards. `connections`: how many this process needs at least.

    With `wait`, raise DatabaseUnavailable if there is no database.
    """
    async with AsyncExitStack() as stack:
        db = Database(
            settings.database_url.get_secret_value(),
            size=max(settings.database_pool_size, connections),
            timeout=settings.database_timeout_seconds,
            name=name,
        )
        stack.push_async_callback(db.close)
        await db.open(wait=wait)
        key = settings.secret_key.get_secret_value() if settings.secret_key else ""
        storage = Storage(settings.supabase_url, key, settings.client_url)
        stack.push_async_callback(storage.close)
        stripe = _stripe_provider(settings)
        stack.push_async_callback(stripe.close)
        yield Services(settings, db, storage, {stripe.name: stripe}, Mailer.from_settings(settings))

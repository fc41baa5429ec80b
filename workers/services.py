"""Everything a handler or a job may need, opened once per process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from workers.db import Database
from workers.mail import Mailer
from workers.media.pool import Pool
from workers.providers import PaymentProvider
from workers.providers.stripe import StripeProvider
from workers.settings import Settings
from workers.settling import Settlement
from workers.storage import Storage
from workers.studio import open_studio
from workers.studio.protocol import StudioProvider


@dataclass(frozen=True, slots=True)
class Services:
    """The process's connections to the outside. pictures: has no processes until there is one to decode. studio: edits
    photos. mailer: None without a mail server.
    """

    settings: Settings
    db: Database
    storage: Storage
    providers: dict[str, PaymentProvider]
    settlement: Settlement
    pictures: Pool
    studio: StudioProvider
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
    """Open all connections, close them afterwards.

    `connections`: how many this process needs at least, because it runs jobs; then it has one more for settling. With
    `wait`, raise DatabaseUnavailable if there is no database.
    """
    async with AsyncExitStack() as stack:

        async def database(size: int) -> Database:
            opened = Database(
                settings.database_url.get_secret_value(),
                size=size,
                timeout=settings.database_timeout_seconds,
                name=name,
            )
            stack.push_async_callback(opened.close)
            await opened.open(wait=wait)
            return opened

        db = await database(max(settings.database_pool_size, connections))
        settlement = Settlement(await database(1) if connections else db)
        key = settings.secret_key.get_secret_value() if settings.secret_key else ""
        storage = Storage(settings.supabase_url, key, settings.client_url)
        stack.push_async_callback(storage.close)
        stripe = _stripe_provider(settings)
        stack.push_async_callback(stripe.close)
        pictures = await stack.enter_async_context(Pool(settings.picture_processes))
        studio = open_studio(settings, pictures)
        stack.push_async_callback(studio.close)
        mailer = Mailer.from_settings(settings)
        yield Services(settings, db, storage, {stripe.name: stripe}, settlement, pictures, studio, mailer)

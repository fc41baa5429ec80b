"""Photo studios: one protocol, one small module each."""

from workers.media.pool import Pool
from workers.settings import Settings
from workers.studio.builtin import BuiltinStudio
from workers.studio.http import Cost, HttpStudio
from workers.studio.protocol import StudioProvider


def open_studio(settings: Settings, pool: Pool) -> StudioProvider:
    """The provider that the settings choose; the built-in one works in the pool's children."""
    if settings.studio_provider == "builtin":
        return BuiltinStudio(pool)
    base, token, version = settings.studio_api_base, settings.studio_api_token, settings.studio_version
    assert base is not None
    assert token is not None
    assert version is not None
    return HttpStudio(
        base,
        token.get_secret_value(),
        version,
        webhook_secrets=[secret.get_secret_value() for secret in settings.studio_webhook_secrets],
        workers_url=settings.workers_url,
        input_name=settings.studio_input_name,
        cost=Cost(settings.studio_micros_per_output, settings.studio_micros_per_second),
    )

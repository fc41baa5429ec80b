"""The one settings object. Every field is read from the environment with the prefix AVENUE_."""

import base64
from email.utils import parseaddr
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """What a worker process needs to know. Secrets never appear in a repr or a log line."""

    model_config = SettingsConfigDict(env_prefix="AVENUE_", extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr = Field(description="PostgreSQL URL of the role avenue_worker, direct or session pooled.")
    admin_database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL URL of the role postgres; only `avenue jobs install` uses it."
    )
    database_pool_size: int = Field(default=10, ge=2, description="Most connections one process opens.")
    database_timeout_seconds: float = Field(default=5, gt=0, description="How long a caller waits for a connection.")

    supabase_url: str = Field(default="http://127.0.0.1:54321", description="Where Auth and Storage are reached.")
    public_url: str | None = Field(
        default=None, description="Supabase as clients reach it, if not by supabase_url: download links begin with it."
    )
    secret_key: SecretStr | None = Field(
        default=None,
        # The second is the name of earlier releases; a legacy service_role key works under either.
        validation_alias=AliasChoices("AVENUE_SECRET_KEY", "AVENUE_SERVICE_ROLE_KEY"),
        description="The project's secret key (sb_secret_…): signs storage URLs and erases files.",
    )

    jwt_secret: SecretStr | None = Field(default=None, description="Legacy HS256 secret of the project's tokens.")
    jwks_url: str | None = Field(default=None, description="Public keys of the project's ES256/RS256 tokens.")
    jwt_audience: str = "authenticated"

    workers_url: str | None = Field(
        default=None,
        description="Where browsers, mail readers and Stripe reach `avenue serve`; published for clients at its start.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma separated origins whose pages may call the functions, or *. Default: that of site_url.",
    )

    stripe_secret_key: SecretStr = SecretStr("")
    stripe_publishable_key: str | None = Field(default=None, description="Handed to clients that start a payment.")
    stripe_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Comma separated, so that a secret can be rotated without losing deliveries."
    )
    stripe_api_base: str | None = Field(default=None, description="Another API host: the simulator.")

    smtp_url: SecretStr | None = Field(
        default=None,
        description="Mail server: smtp://, starttls:// or smtps://user:password@host:port. Without it no mail.",
    )
    mail_from: str | None = Field(
        default=None, description="Sender of all mail, for example Avenue <hello@example.com>."
    )
    site_url: str | None = Field(
        default=None, description="The application's own address: links in mails begin with it. Default: public_url."
    )
    redirect_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma separated origins, besides site_url's, to which sellers return from the payment provider.",
    )
    mail_sweep_seconds: int = Field(default=15, ge=1, description="How often due mails are looked for.")
    mail_lease_seconds: int = Field(
        default=300, ge=1, description="A mail claimed by a worker that died is sent again after so long."
    )
    mail_retry_seconds: int = Field(
        default=60, ge=1, description="Pause before the second attempt of a mail; doubled each time, up to an hour."
    )

    studio_provider: Literal["builtin", "http"] = Field(
        default="builtin", description="Who edits photos: this machine, or a prediction API like Replicate's."
    )
    studio_api_base: str | None = Field(default=None, description="The API's host, such as https://api.replicate.com.")
    studio_api_token: SecretStr | None = None
    studio_webhook_secrets: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description="Comma separated signing secrets (whsec_…), so that one can be rotated."
    )
    studio_version: str | None = Field(default=None, description="The model that does the work, as the API names it.")
    studio_input_name: str = Field(default="image", min_length=1, description="What the model calls the photo.")
    studio_micros_per_output: int = Field(
        default=0, ge=0, description="What a picture costs us, in millionths of a dollar."
    )
    studio_micros_per_second: int = Field(
        default=0, ge=0, description="What a second of computing costs us, in millionths of a dollar."
    )

    http_host: str = "127.0.0.1"
    http_port: int = 8000
    metrics_port: int | None = Field(
        default=None, description="Port on which `avenue work` answers /healthz, /readyz and /metrics. Default: none."
    )

    job_concurrency: int = Field(default=4, ge=1, description="Jobs one worker process runs at the same time.")
    picture_processes: int = Field(
        default=1, ge=1, description="Pictures one worker process decodes at the same time, each in up to 600 MiB."
    )
    stalled_seconds: float = Field(
        default=30, gt=0, description="A worker silent for so long is dead; its jobs are started again."
    )
    payout_resume_seconds: int = Field(
        default=120, ge=1, description="A payout in processing for so long is looked at again."
    )

    log_format: str = Field(default="json", pattern="^(json|console)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator(
        "stripe_webhook_secrets", "studio_webhook_secrets", "cors_origins", "redirect_origins", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        # A secret pasted with a trailing newline is the classic reason for "no signatures found".
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("supabase_url", "public_url", "workers_url", "site_url", "stripe_api_base", "studio_api_base")
    @classmethod
    def _without_trailing_slash(cls, value: str | None) -> str | None:
        return value.strip().rstrip("/") or None if value is not None else None

    @field_validator("stripe_secret_key", "secret_key", "jwt_secret", "studio_api_token")
    @classmethod
    def _without_whitespace(cls, value: SecretStr | None) -> SecretStr | None:
        return SecretStr(value.get_secret_value().strip()) if value is not None else None

    @field_validator(
        *("jwks_url", "jwt_secret", "public_url", "stripe_api_base", "admin_database_url"),
        *("smtp_url", "mail_from", "site_url", "secret_key", "workers_url"),
        *("studio_api_base", "studio_api_token", "studio_version"),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = urlsplit(value.get_secret_value())
            if url.scheme not in ("smtp", "starttls", "smtps") or not url.hostname:
                raise ValueError("must be smtp://, starttls:// or smtps://host:port")
            if url.scheme == "smtp" and url.password:
                raise ValueError("a password needs starttls:// or smtps://")
        return value

    @model_validator(mode="after")
    def _mail_needs_both(self) -> Self:
        if (self.smtp_url is None) != (self.mail_from is None):
            raise ValueError("AVENUE_SMTP_URL and AVENUE_MAIL_FROM go together")
        if self.mail_from is not None and "@" not in parseaddr(self.mail_from)[1]:
            raise ValueError("AVENUE_MAIL_FROM must be an address, or Name <address>")
        return self

    @model_validator(mode="after")
    def _studio_is_whole(self) -> Self:
        needed = {
            "AVENUE_STUDIO_API_BASE": self.studio_api_base,
            "AVENUE_STUDIO_API_TOKEN": self.studio_api_token,
            "AVENUE_STUDIO_VERSION": self.studio_version,
            # The provider calls back; without a secret nobody could tell its calls from others.
            "AVENUE_STUDIO_WEBHOOK_SECRETS": self.studio_webhook_secrets,
            "AVENUE_WORKERS_URL": self.workers_url,
        }
        if self.studio_provider == "http" and (missing := [name for name, value in needed.items() if not value]):
            raise ValueError(f"AVENUE_STUDIO_PROVIDER=http needs {', '.join(missing)}")
        return self

    @field_validator("studio_webhook_secrets")
    @classmethod
    def _signing_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            key = secret.get_secret_value().removeprefix("whsec_").rstrip("=")
            try:
                known = base64.b64decode(key + "=" * (-len(key) % 4), validate=True)
            except ValueError:
                known = b""
            if not known:
                raise ValueError("each must be whsec_ and Base64")
        return value

    @field_validator("workers_url", "studio_api_base")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        url = urlsplit(value or "https://x")
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
            raise ValueError("must be http:// or https://host, perhaps with a path")
        return value

    @field_validator("cors_origins", "redirect_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and origin != _origin(origin):
                raise ValueError(f"{origin} is no origin: scheme://host[:port], nothing after it")
        return value

    def missing(self, *, serving: bool) -> list[str]:
        """The variables a worker process cannot do without and has not got; `serving`: the HTTP side."""
        needed: dict[str, object] = {
            "AVENUE_SUPABASE_URL": "supabase_url" in self.model_fields_set and self.supabase_url,
            "AVENUE_SECRET_KEY": self.secret_key,
            "AVENUE_WORKERS_URL": self.workers_url,
            "AVENUE_STRIPE_SECRET_KEY": self.stripe_secret_key.get_secret_value(),
        }
        if serving:
            needed["AVENUE_JWKS_URL (or AVENUE_JWT_SECRET)"] = self.jwks_url or self.jwt_secret
            needed["AVENUE_STRIPE_WEBHOOK_SECRETS"] = self.stripe_webhook_secrets
        return [name for name, value in needed.items() if not value]

    @property
    def origins(self) -> tuple[str, ...]:
        """Origins whose pages may call the functions; empty when only servers and a gateway of one's own do."""
        return self.cors_origins or ((_origin(self.site_url),) if self.site_url else ())

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises pydantic.ValidationError naming each field that is missing or wrong."""
        return cls()  # type: ignore[call-arg]  # the environment supplies what the signature requires

    def is_ours(self, url: str) -> bool:
        """Whether a page belongs to the application: people are sent there from elsewhere."""
        ours = (self.site_url or self.client_url, *self.redirect_origins)
        return bool(found := _origin(url)) and found in {_origin(each) for each in ours}

    @property
    def client_url(self) -> str:
        """Supabase's base URL for links handed to clients, without trailing slash."""
        return self.public_url or self.supabase_url


def _origin(url: str) -> str:
    """Scheme, host and port as a browser names them; empty without them, or with a name in front of the host."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"

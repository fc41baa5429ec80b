"""The one settings object. Every field is read from the environment with the prefix AVENUE_."""

from email.utils import parseaddr
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
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
    service_role_key: SecretStr = Field(default=SecretStr(""), description="Signs storage URLs and erases files.")

    jwt_secret: SecretStr | None = Field(default=None, description="Legacy HS256 secret of the project's tokens.")
    jwks_url: str | None = Field(default=None, description="Public keys of the project's ES256/RS256 tokens.")
    jwt_audience: str = "authenticated"

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
    mail_sweep_seconds: int = Field(default=15, ge=1, description="How often due mails are looked for.")
    mail_lease_seconds: int = Field(
        default=300, ge=1, description="A mail claimed by a worker that died is sent again after so long."
    )
    mail_retry_seconds: int = Field(
        default=60, ge=1, description="Pause before the second attempt of a mail; doubled each time, up to an hour."
    )

    http_host: str = "127.0.0.1"
    http_port: int = 8000
    metrics_port: int | None = Field(default=None, description="Port on which `avenue work` exposes its metrics.")

    job_concurrency: int = Field(default=4, ge=1, description="Jobs one worker process runs at the same time.")
    stalled_seconds: float = Field(
        default=30, gt=0, description="A worker silent for so long is dead; its jobs are started again."
    )
    payout_resume_seconds: int = Field(
        default=120, ge=1, description="A payout in processing for so long is looked at again."
    )

    log_format: str = Field(default="json", pattern="^(json|console)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator("stripe_webhook_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: object) -> object:
        # A secret pasted with a trailing newline is the classic reason for "no signatures found".
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("supabase_url", "public_url", "site_url", "stripe_api_base")
    @classmethod
    def _without_trailing_slash(cls, value: str | None) -> str | None:
        return value.strip().rstrip("/") or None if value is not None else None

    @field_validator("stripe_secret_key", "service_role_key", "jwt_secret")
    @classmethod
    def _without_whitespace(cls, value: SecretStr | None) -> SecretStr | None:
        return SecretStr(value.get_secret_value().strip()) if value is not None else None

    @field_validator(
        *("jwks_url", "jwt_secret", "public_url", "stripe_api_base", "admin_database_url"),
        *("smtp_url", "mail_from", "site_url"),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

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

    @classmethod
    def load(cls) -> Self:
        """Read the environment. Raises pydantic.ValidationError naming each field that is missing or wrong."""
        return cls()  # type: ignore[call-arg]  # the environment supplies what the signature requires

    @property
    def client_url(self) -> str:
        """Base URL for links handed to clients, without trailing slash."""
        return self.public_url or self.supabase_url

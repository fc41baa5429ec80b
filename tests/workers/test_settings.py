"""Settings come from the environment, and secrets stay secret."""

import pytest
from pydantic import ValidationError

from workers.settings import Settings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AVENUE_DATABASE_URL", "postgresql://avenue_worker@db/postgres")
    return monkeypatch


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("whsec_a", ["whsec_a"]),
        ("whsec_a,whsec_b", ["whsec_a", "whsec_b"]),
        (" whsec_a\n, whsec_b \r\n", ["whsec_a", "whsec_b"]),
        ("whsec_a,,", ["whsec_a"]),
        ("", []),
    ],
)
def test_webhook_secrets_are_split_and_stripped(
    environment: pytest.MonkeyPatch, value: str, expected: list[str]
) -> None:
    environment.setenv("AVENUE_STRIPE_WEBHOOK_SECRETS", value)
    assert [secret.get_secret_value() for secret in Settings.load().stripe_webhook_secrets] == expected


def test_secrets_do_not_show(environment: pytest.MonkeyPatch) -> None:
    names = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "JWT_SECRET", "SERVICE_ROLE_KEY", "ADMIN_DATABASE_URL")
    for name in names:
        environment.setenv(f"AVENUE_{name}", "hush-hush")
    environment.setenv("AVENUE_DATABASE_URL", "postgresql://u:hush-hush@db/x")
    settings = Settings.load()
    assert "hush-hush" not in repr(settings)
    assert "hush-hush" not in str(settings.model_dump())


def test_pasted_whitespace_is_dropped(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AVENUE_STRIPE_SECRET_KEY", " sk_test_1\n")
    environment.setenv("AVENUE_SUPABASE_URL", "https://project.supabase.co/ ")
    settings = Settings.load()
    assert settings.stripe_secret_key.get_secret_value() == "sk_test_1"
    assert settings.supabase_url == "https://project.supabase.co"


def test_links_use_the_public_url_when_there_is_one(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AVENUE_SUPABASE_URL", "http://kong:8000")
    environment.setenv("AVENUE_PUBLIC_URL", "")
    assert Settings.load().client_url == "http://kong:8000"
    environment.setenv("AVENUE_PUBLIC_URL", "https://api.example/")
    assert Settings.load().client_url == "https://api.example"


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AVENUE_DATABASE_URL", raising=False)
    with pytest.raises(ValidationError, match="database_url"):
        Settings.load()

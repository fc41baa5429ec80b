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
    names = ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS", "JWT_SECRET", "SECRET_KEY", "ADMIN_DATABASE_URL")
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


@pytest.mark.parametrize("origins", ["shop.example", "https://a@shop.example", "ftp://shop.example", "https://"])
def test_what_is_no_origin_is_named(environment: pytest.MonkeyPatch, origins: str) -> None:
    environment.setenv("AVENUE_REDIRECT_ORIGINS", f"https://ok.example,{origins}")
    with pytest.raises(ValidationError, match="is no origin"):
        Settings.load()


def test_people_are_sent_to_our_own_pages(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("AVENUE_SITE_URL", "https://shop.example/")
    environment.setenv("AVENUE_REDIRECT_ORIGINS", "http://localhost:3000, https://other.example")
    settings = Settings.load()
    ours = [
        "https://shop.example",
        "https://SHOP.example:443/a?b#c",
        "http://localhost:3000/x",
        "https://other.example/",
    ]
    assert [settings.is_ours(url) for url in ours] == [True] * 4
    others = ["http://shop.example", "https://shop.example.evil.example", "http://localhost:3001", "javascript:x", ""]
    assert [settings.is_ours(url) for url in others] == [False] * 5


SERVING = {
    "AVENUE_SUPABASE_URL": "https://project.supabase.co",
    "AVENUE_SECRET_KEY": "sb_secret_x",
    "AVENUE_JWKS_URL": "https://project.supabase.co/auth/v1/.well-known/jwks.json",
    "AVENUE_WORKERS_URL": "https://workers.example/",
    "AVENUE_STRIPE_SECRET_KEY": "sk_test_1",
    "AVENUE_STRIPE_WEBHOOK_SECRETS": "whsec_1",
}


def test_nothing_is_missing_with_what_the_deploy_page_names(environment: pytest.MonkeyPatch) -> None:
    for name, value in SERVING.items():
        environment.setenv(name, value)
    assert Settings.load().missing(serving=True) == []
    environment.delenv("AVENUE_SECRET_KEY")
    environment.setenv("AVENUE_SERVICE_ROLE_KEY", "the.legacy.key")
    environment.delenv("AVENUE_JWKS_URL")
    environment.setenv("AVENUE_JWT_SECRET", "x" * 32)
    settings = Settings.load()
    assert settings.missing(serving=True) == []
    assert settings.secret_key
    assert settings.secret_key.get_secret_value() == "the.legacy.key"
    assert settings.workers_url == "https://workers.example"


@pytest.mark.parametrize("value", [None, "", " "])
@pytest.mark.parametrize("name", SERVING)
def test_what_a_process_needs_and_has_not_got_is_named(
    environment: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    for other, given in SERVING.items():
        environment.setenv(other, given)
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    settings = Settings.load()
    assert [missing.split()[0] for missing in settings.missing(serving=True)] == [name]
    only_serving = name in ("AVENUE_JWKS_URL", "AVENUE_STRIPE_WEBHOOK_SECRETS")
    assert settings.missing(serving=False) == ([] if only_serving else [name])


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ({}, ()),
        ({"SITE_URL": "https://Shop.example/home/"}, ("https://shop.example",)),
        (
            {"SITE_URL": "https://a.example", "CORS_ORIGINS": "https://b.example, http://localhost:3000"},
            ("https://b.example", "http://localhost:3000"),
        ),
        ({"CORS_ORIGINS": "*"}, ("*",)),
    ],
)
def test_origins_are_the_sites_unless_said_otherwise(
    environment: pytest.MonkeyPatch, given: dict[str, str], origins: tuple[str, ...]
) -> None:
    for name, value in given.items():
        environment.setenv(f"AVENUE_{name}", value)
    assert Settings.load().origins == origins


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "https://shop.example/"),
        ("CORS_ORIGINS", "shop.example"),
        ("WORKERS_URL", "workers.example"),
        ("WORKERS_URL", "https://workers.example?x=1"),
    ],
)
def test_an_address_that_is_none_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(f"AVENUE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings.load()

"""Which studio a process opens, and which settings it refuses."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError

from workers.media.pool import Pool
from workers.services import open_services
from workers.settings import Settings
from workers.studio import open_studio
from workers.studio.builtin import BuiltinStudio
from workers.studio.http import HttpStudio

HTTP: dict[str, Any] = {
    "studio_provider": "http",
    "studio_api_base": "https://api.example.com/",
    "studio_api_token": " r8_secret\n",
    "studio_version": "owner/model",
    "studio_webhook_secrets": "whsec_c2VjcmV0LW9uZQ==, whsec_c2VjcmV0LXR3by4",
    "workers_url": "https://workers.example.com",
}


def settings(**given: Any) -> Settings:
    return Settings(database_url="postgresql://nobody@127.0.0.1:9/none", **given)


def test_photos_are_edited_on_this_machine_unless_told_otherwise() -> None:
    async def test() -> None:
        async with open_services(settings(), "test") as services:
            assert isinstance(services.studio, BuiltinStudio)
            assert services.studio.name == "builtin"

    asyncio.run(test())


def test_a_prediction_api_is_opened_with_its_settings() -> None:
    chosen = settings(**HTTP)
    assert chosen.studio_api_base == "https://api.example.com"
    assert chosen.studio_api_token
    assert chosen.studio_api_token.get_secret_value() == "r8_secret"
    assert "r8_secret" not in repr(chosen)
    assert "c2VjcmV0" not in repr(chosen)

    async def test() -> None:
        async with Pool() as pool:
            studio = open_studio(chosen, pool)
            assert isinstance(studio, HttpStudio)
            await studio.close()

    asyncio.run(test())


@pytest.mark.parametrize("name", [name for name in HTTP if name != "studio_provider"])
@pytest.mark.parametrize("value", ["", " "])
def test_a_prediction_api_needs_all_of_its_settings(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=f"AVENUE_STUDIO_PROVIDER=http needs AVENUE_{name.upper()}"):
        settings(**{**HTTP, name: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"studio_provider": "other"},
        {"studio_webhook_secrets": "whsec_"},
        {"studio_webhook_secrets": "whsec_no base 64"},
        {"studio_webhook_secrets": "whsec_a"},
        {"studio_api_base": "ftp://api.example.com"},
        {"studio_api_base": "https://api.example.com?x"},
        {"studio_micros_per_output": -1},
        {"studio_micros_per_second": -1},
        {"studio_input_name": ""},
    ],
    ids=str,
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**{**HTTP, **wrong})

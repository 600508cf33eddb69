"""Which hosts a provider may be asked at, by the settings."""

import pytest

from server.auth.gateways.fetching import origin_of
from server.auth.gateways.oauth2 import addresses_of
from server.auth.gateways.provider_settings import ProviderSettings, provider_settings
from server.core.config import SettingsError, load_settings

PROVIDERS = ("google", "apple", "discord", "github", "facebook")


def configured(name: str, **more: str) -> ProviderSettings:
    environ = {f"OAUTH_{name.upper()}_CLIENT_ID": "id", f"OAUTH_{name.upper()}_CLIENT_SECRET": "s3"}
    (found,) = provider_settings(load_settings({**environ, **more}))
    return found


def test_without_a_client_id_there_is_no_provider() -> None:
    assert provider_settings(load_settings({})) == []


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_is_data(name: str) -> None:
    found = configured(name)
    assert found.is_usual and origin_of(found.issuer) in found.origins
    assert all(origin.startswith("https://") for origin in found.origins)
    assert "s3" not in repr(found)


@pytest.mark.parametrize("name", ["discord", "github", "facebook"])
def test_the_usual_addresses_are_within_the_origins(name: str) -> None:
    for issuer in ({}, {f"OAUTH_{name.upper()}_ISSUER": "https://id.example.org/"}):
        found = configured(name, **issuer)
        at = addresses_of(found)
        for address in (at.authorization, at.token, at.profile):
            assert origin_of(address) in found.origins


def test_another_issuer_gets_none_of_the_usual_origins() -> None:
    found = configured("google", OAUTH_GOOGLE_ISSUER="https://id.example.org")
    assert found.origins == {"https://id.example.org:443"} and not found.is_usual


@pytest.mark.parametrize(
    "issuer",
    [
        "http://accounts.example.com",
        "http://10.0.0.1",
        "http://127.0.0.1.example.com",
        "https://user:word@accounts.example.com",
        "https://accounts.example.com?x=1",
        "https://accounts.example.com#x",
        "https://",
        "ftp://accounts.example.com",
        "accounts.example.com",
    ],
)
def test_an_issuer_that_anybody_could_be_is_refused(issuer: str) -> None:
    with pytest.raises(SettingsError, match="OAUTH_GOOGLE_ISSUER"):
        configured("google", OAUTH_GOOGLE_ISSUER=issuer)


@pytest.mark.parametrize(
    "issuer", ["http://127.0.0.1:9400", "http://localhost:1", "http://[::1]:2"]
)
def test_this_machine_may_be_asked_without_tls(issuer: str) -> None:
    assert configured("google", OAUTH_GOOGLE_ISSUER=issuer).issuer == issuer


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://a.example/x?y", "https://a.example:443"),
        ("https://a.example:8443/", "https://a.example:8443"),
        ("HTTPS://A.Example/", "https://a.example:443"),
        ("https://a.example@evil.example/", ""),
        ("https://user:word@a.example/", ""),
        ("file:///etc/passwd", ""),
        ("//a.example", ""),
        ("https://a.example:99999/", ""),
        ("", ""),
    ],
)
def test_origins_are_read_as_they_are_asked(url: str, origin: str) -> None:
    assert origin_of(url) == origin

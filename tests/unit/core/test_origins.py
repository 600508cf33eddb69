"""For which site passkeys are: forms, defaults by PUBLIC_URL, and what does not fit together."""

import pytest

from server.core.config import SettingsError, load_settings
from server.core.origins import belongs_to, checked_domain, checked_origin

GOOD_ORIGINS = [
    "https://example.com",
    "https://a.b.example.com:8443",
    "http://localhost",
    "http://localhost:8080",
    "http://app.localhost:3000",
    "https://localhost",
]
BAD_ORIGINS = [
    "example.com",
    "https://example.com/",
    "https://example.com:443",
    "https://example.com/login",
    "https://Example.com",
    "https://user@example.com",
    "https://example.com?a=b",
    "https://example.com#a",
    "https://",
    "https://example.com:99999",
    "https://example.com:x",
    "http://example.com",
    "http://localhost:80",
    "http://localhost.example.com",
    "http://127.0.0.1:8080",
    "ftp://example.com",
    "null",
    "*",
    "https://*.example.com",
]
BAD_DOMAINS = [
    "com",
    "intranet",
    "Example.com",
    "example.com.",
    ".example.com",
    "-a.example.com",
    "exa_mple.com",
    "example.com:8080",
    "https://example.com",
    "127.0.0.1",
    "::1",
    "a." * 127 + "com",
    "a" * 64 + ".com",
    "münchen.de",
    "*.example.com",
]


@pytest.mark.parametrize("text", GOOD_ORIGINS)
def test_an_origin_is_taken_as_browsers_write_it(text: str) -> None:
    assert checked_origin(text) == text


@pytest.mark.parametrize("text", BAD_ORIGINS)
def test_nothing_else_is_an_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        checked_origin(text)
    with pytest.raises(SettingsError, match="WEBAUTHN_ORIGINS"):
        load_settings({"WEBAUTHN_ORIGINS": text})


@pytest.mark.parametrize(
    "text", ["example.com", "a.b.example.com", "localhost", "xn--mnchen-3ya.de"]
)
def test_a_domain_has_a_dot_or_is_localhost(text: str) -> None:
    assert checked_domain(text) == text


@pytest.mark.parametrize("text", BAD_DOMAINS)
def test_nothing_else_is_a_domain(text: str) -> None:
    with pytest.raises(SettingsError, match="WEBAUTHN_RP_ID"):
        load_settings({"WEBAUTHN_RP_ID": text})


@pytest.mark.parametrize(
    ("origin", "domain", "belongs"),
    [
        ("https://example.com", "example.com", True),
        ("https://app.example.com:8443", "example.com", True),
        ("https://example.com", "app.example.com", False),
        ("https://notexample.com", "example.com", False),
        ("https://example.com.evil.org", "example.com", False),
    ],
)
def test_an_origin_belongs_to_its_domain_and_to_those_above(
    origin: str, domain: str, belongs: bool
) -> None:
    assert belongs_to(origin, domain) is belongs


@pytest.mark.parametrize(
    ("public_url", "site"),
    [
        ("https://example.com", ("example.com", ("https://example.com",))),
        ("https://example.com:443/app/", ("example.com", ("https://example.com",))),
        ("https://Example.com:8443", ("example.com", ("https://example.com:8443",))),
        (
            "http://localhost:8080",
            ("localhost", ("http://localhost:8080", "http://localhost:9000")),
        ),
        ("http://127.0.0.1:8080", ("localhost", ("http://localhost:9000",))),
        ("http://[::1]:8080", ("localhost", ("http://localhost:9000",))),
        ("http://greenroom:8080", ("localhost", ("http://localhost:9000",))),
    ],
)
def test_what_is_not_set_follows_from_the_public_address(
    public_url: str, site: tuple[str, tuple[str, ...]]
) -> None:
    settings = load_settings({"PUBLIC_URL": public_url, "HTTP_PORT": "9000"})
    assert (settings.webauthn_rp_id, settings.webauthn_origins) == site


def test_several_origins_share_a_domain() -> None:
    settings = load_settings(
        {
            "WEBAUTHN_RP_ID": "example.com",
            "WEBAUTHN_ORIGINS": "https://example.com, https://app.example.com",
        }
    )
    assert settings.webauthn_origins == ("https://example.com", "https://app.example.com")


@pytest.mark.parametrize(
    "environ",
    [
        {"WEBAUTHN_RP_ID": "example.com"},
        {"WEBAUTHN_ORIGINS": "https://example.com"},
        {"WEBAUTHN_RP_ID": "example.com", "WEBAUTHN_ORIGINS": "https://example.org"},
        {"WEBAUTHN_RP_ID": "app.example.com", "WEBAUTHN_ORIGINS": "https://example.com"},
        {"WEBAUTHN_RP_ID": "app.example.com", "PUBLIC_URL": "https://example.com"},
        {"PUBLIC_URL": "http://localhost:99999"},
    ],
)
def test_what_does_not_fit_together_stops_the_server(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"WEBAUTHN_RP_ID, WEBAUTHN_ORIGINS|PUBLIC_URL"):
        load_settings(environ)

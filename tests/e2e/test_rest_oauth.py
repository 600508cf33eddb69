"""Signing in with a provider over REST through Envoy, with a real OpenID provider beside it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from tests.support.fake_oauth import CLIENT_ID, CLIENT_SECRET
from tests.support.oidc_process import oidc_provider
from tests.support.site import running

CALLBACK = "https://app.example.com/callback"
ADA = {"sub": "ada-1", "email": "ada@example.com", "email_verified": True, "name": "Ada"}
BOB = {"sub": "bob-1", "email": "bob@example.com", "email_verified": True, "name": "Bob"}


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("oauth")
    with oidc_provider(folder, ADA, BOB) as issuer:
        settings = {
            "oauth_redirect_uris": CALLBACK,
            "oauth_google_client_id": CLIENT_ID,
            "oauth_google_client_secret": CLIENT_SECRET,
            "oauth_google_issuer": issuer,
        }
        with (
            running(folder, drain_seconds=5, **settings) as site,
            httpx.Client(base_url=site.url, timeout=20) as client,
        ):
            yield client


def trip(rest: httpx.Client, sub: str, purpose: str = "SIGN_IN") -> dict[str, str]:
    """Begins, and consents as a browser does; everything that the client holds then."""
    begun: dict[str, Any] = rest.post(
        "/v1/auth/oauth:start",
        json={
            "provider": "google",
            "redirectUri": CALLBACK,
            "purpose": f"AUTHORIZATION_PURPOSE_{purpose}",
        },
    ).json()
    reply = httpx.post(begun["authorizationUrl"], data={"sub": sub}, follow_redirects=False)
    query = dict(parse_qsl(urlsplit(reply.headers["location"]).query))
    return {"bindingSecret": begun["bindingSecret"], **query}


def test_sign_up_by_post_and_sign_in_by_the_callback(rest: httpx.Client) -> None:
    new = rest.post("/v1/auth/oauth:complete", json=trip(rest, "ada-1"))
    assert new.status_code == 200 and new.json()["signedUp"] is True
    user = new.json()["signedIn"]["user"]
    assert user["email"] == "ada@example.com"

    # The provider's whole query, as Google sends it, with the page's own secret.
    query = {
        **trip(rest, "ada-1"),
        "scope": "openid email",
        "authuser": "0",
        "prompt": "consent",
        "hd": "example.com",
    }
    again = rest.get(f"/v1/auth/oauth/callback?{urlencode(query)}")
    assert again.status_code == 200, again.text
    assert again.json()["signedIn"]["user"]["id"] == user["id"]
    replayed = rest.get(f"/v1/auth/oauth/callback?{urlencode(query)}")
    assert replayed.status_code == 400
    reasons = [detail.get("reason") for detail in replayed.json()["details"]]
    assert "AUTH_ERROR_REASON_OAUTH_STATE_INVALID" in reasons

    declined = trip(rest, "ada-1")
    del declined["code"]
    refusal = {**declined, "error": "access_denied", "error_description": "The user said no"}
    assert rest.get(f"/v1/auth/oauth/callback?{urlencode(refusal)}").status_code == 400


def test_identities_are_linked_listed_and_unlinked(rest: httpx.Client) -> None:
    signed_in = rest.post("/v1/auth/oauth:complete", json=trip(rest, "bob-1")).json()["signedIn"]
    headers = {"authorization": f"Bearer {signed_in['tokens']['accessToken']}"}
    linked = rest.post(
        "/v1/auth/identities", json=trip(rest, "carol@example.com", "LINK"), headers=headers
    )
    assert linked.status_code == 200, linked.text
    assert linked.json()["identity"]["providerAccountId"] == "carol@example.com"
    listed = rest.get("/v1/auth/identities", headers=headers).json()["identities"]
    assert [one["providerAccountId"] for one in listed] == ["carol@example.com", "bob-1"]
    assert "Token" not in str(listed)
    path = f"/v1/auth/identities/{listed[0]['id']}"
    assert rest.delete(path, headers=headers).status_code == 200
    assert rest.delete(path, headers=headers).status_code == 404
    assert rest.get("/v1/auth/identities").status_code == 401

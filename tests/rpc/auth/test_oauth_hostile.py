"""Providers, tokens and browsers that lie."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from grpc import StatusCode

from tests.rpc.auth.oauth_scenes import (
    CALLBACK,
    PROOF_INVALID,
    UNAVAILABLE,
    complete,
    identity_rows,
    serve_with,
    settings_for,
    sign_in_with,
    start,
    travel,
)
from tests.rpc.auth.scenes import audit_rows, turn
from tests.support.fake_google import FakeGoogle, Key
from tests.support.fake_http import Response, json_of
from tests.support.fake_oauth import CLIENT_ID
from tests.support.statuses import field_names, refused

FIRST, SECOND = Key("first"), Key("second")
OTHER_CLIENT = "somebody-elses-client"


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    with FakeGoogle(FIRST) as fake:
        fake.add("ada", "ada@example.com")
        yield fake


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def keyed_by_the_public_key(claims: dict[str, Any]) -> str:
    """RFC 8725, section 2.1: the public key as the secret of an HMAC."""
    pem = FIRST.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = f"{part({'alg': 'HS256', 'kid': FIRST.kid})}.{part(claims)}"
    mac = hmac.digest(pem, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def signed_by(key: Key, **header: Any) -> Callable[[dict[str, Any]], str]:
    return lambda claims: jwt.encode(claims, key.private, "RS256", headers=header)


def edited(claims: dict[str, Any]) -> str:
    head, _, signature = signed_by(FIRST, kid="first")(claims).split(".")
    return f"{head}.{part({**claims, 'sub': 'somebody-else'})}.{signature}"


CLAIMS = {
    "a wrong nonce": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "a nonce that is no text": {"nonce": 7},
    "a wrong audience": {"aud": OTHER_CLIENT},
    "one audience more": {"aud": [CLIENT_ID, OTHER_CLIENT], "azp": CLIENT_ID},
    "two audiences without a party": {"aud": [CLIENT_ID, CLIENT_ID]},
    "no audience": {"aud": []},
    "another party": {"azp": OTHER_CLIENT},
    "a wrong issuer": {"iss": "https://accounts.example.com"},
    "an issuer with a slash": {"iss": "{url}/"},
    "no expiry": {"exp": None},
    "an end that is over": {"exp": 1_700_000_000},
    "an end that is a text": {"exp": "9999999999"},
    "an end that is no number": {"exp": float("nan")},
    "an old one": {"iat": 1_700_000_000},
    "one from the future": {"iat": 9_999_999_999},
    "one that is not yet good": {"nbf": 9_999_999_999},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is a number": {"sub": 1},
    "a subject without an end": {"sub": "s" * 256},
}
FORGERIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "no signature": unsigned,
    "the public key as a secret": keyed_by_the_public_key,
    "another key under the same id": signed_by(SECOND, kid="first"),
    "another content under the signature": edited,
    "a header that must be understood": signed_by(FIRST, kid="first", crit=["exp"]),
    "an id that is no text": lambda claims: "." + part(claims) + ".",
    "no token at all": lambda claims: "not.a.token",
    "nothing": lambda claims: "",
    "no end": lambda claims: "a" * 20_000,
}


@pytest.mark.parametrize("name", CLAIMS)
async def test_claims_that_are_not_what_was_asked_for_are_refused(
    serve: Callable[..., Any], google: FakeGoogle, name: str
) -> None:
    server = await serve_with(serve, "google", google)
    google.claims = {
        claim: value.replace("{url}", google.url) if isinstance(value, str) else value
        for claim, value in CLAIMS[name].items()
    }
    error = await refused(
        sign_in_with(server, "google", "ada"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID
    )
    assert field_names(error) == ["code"]
    begun = await start(server, "google")
    native = {"state": begun.state, "binding_secret": begun.binding_secret, "code": None}
    token = google.id_token("ada", begun.nonce)
    trip = await travel(server, "google", "ada")
    await refused(
        complete(server, trip, **native, id_token=token), StatusCode.INVALID_ARGUMENT, PROOF_INVALID
    )
    assert await identity_rows(server) == []
    assert ("session.log_in", "OAUTH_PROOF_INVALID") in await audit_rows(server)


@pytest.mark.parametrize("name", FORGERIES)
async def test_forged_tokens_are_refused(
    serve: Callable[..., Any], google: FakeGoogle, name: str
) -> None:
    server = await serve_with(serve, "google", google)
    google.forge = FORGERIES[name]
    await refused(sign_in_with(server, "google", "ada"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID)
    assert await identity_rows(server) == []


async def test_a_short_key_is_no_key(serve: Callable[..., Any]) -> None:
    weak = Key("weak", bits=1024)
    with FakeGoogle(weak) as google:
        google.add("ada", "ada@example.com")
        server = await serve_with(serve, "google", google)
        await refused(
            sign_in_with(server, "google", "ada"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID
        )


async def test_an_unknown_key_makes_the_keys_be_fetched_once(
    serve: Callable[..., Any], google: FakeGoogle
) -> None:
    server = await serve_with(serve, "google", google)
    await sign_in_with(server, "google", "ada")
    assert google.paths.count("/keys") == 1
    google.key = SECOND
    turn(server, 60)
    for _ in range(3):
        await refused(
            sign_in_with(server, "google", "ada"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID
        )
    # Within five seconds nobody makes us ask again.
    assert google.paths.count("/keys") == 2
    google.published = [FIRST, SECOND]
    turn(server, 6)
    assert not (await sign_in_with(server, "google", "ada")).signed_up
    await sign_in_with(server, "google", "ada")
    assert google.paths.count("/keys") == 3


async def test_a_token_of_a_key_without_an_id(
    serve: Callable[..., Any], google: FakeGoogle
) -> None:
    server = await serve_with(serve, "google", google)
    google.forge = signed_by(FIRST)
    assert (await sign_in_with(server, "google", "ada")).signed_up
    google.published = [FIRST, SECOND]
    turn(server, 3601)
    await refused(sign_in_with(server, "google", "ada"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID)


def huge() -> Response:
    return 200, {"content-type": "application/json"}, b'{"a":"' + b"x" * 2_000_000 + b'"}'


def packed() -> Response:
    return 200, {"content-encoding": "gzip"}, b"\x1f\x8b" + b"x" * 100


FAULTS: dict[str, Callable[[], Response]] = {
    "an error of its own": lambda: (500, {}, b"boom"),
    "too many of us": lambda: json_of({"message": "You are being rate limited."}, 429),
    "somewhere else": lambda: (302, {"location": "http://127.0.0.1:1/"}, b""),
    "a huge body": huge,
    "a packed body": packed,
    "no JSON": lambda: (200, {}, b"<html>"),
    "another form": lambda: json_of(["a list"]),
    "our client is not known": lambda: json_of({"error": "invalid_client"}, 401),
    "no token": lambda: json_of({"token_type": "Bearer"}),
    "a token of another kind": lambda: json_of({"access_token": "x", "token_type": "mac"}),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_provider_that_does_not_work_is_unavailable(
    serve: Callable[..., Any], google: FakeGoogle, name: str
) -> None:
    server = await serve_with(serve, "google", google)
    google.faults["/token"] = FAULTS[name]
    trip = await travel(server, "google", "ada")
    await refused(complete(server, trip), StatusCode.UNAVAILABLE, UNAVAILABLE)
    assert ("session.log_in", "PROVIDER_UNAVAILABLE") in await audit_rows(server)
    google.faults.clear()
    # The state was used up all the same.
    await refused(
        complete(server, trip),
        StatusCode.INVALID_ARGUMENT,
        "AUTH_ERROR_REASON_OAUTH_STATE_INVALID",
    )
    assert (await sign_in_with(server, "google", "ada")).signed_up


async def test_a_provider_that_does_not_answer(
    serve: Callable[..., Any], google: FakeGoogle
) -> None:
    server = await serve(oauth_timeout_seconds=0.3, **settings_for("google", google.url))
    google.now = server.clock.now

    def silent() -> Response:
        google.released.wait(20)
        return json_of({})

    trip = await travel(server, "google", "ada")
    google.faults["/token"] = silent
    await refused(complete(server, trip), StatusCode.UNAVAILABLE, UNAVAILABLE)


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri", "authorization_endpoint", "issuer"])
async def test_discovery_leads_to_no_other_host(
    serve: Callable[..., Any], google: FakeGoogle, name: str
) -> None:
    with FakeGoogle(FIRST) as stranger:
        server = await serve_with(serve, "google", google)
        for value in (stranger.url, "http://169.254.169.254/latest", "file:///etc/passwd", 7):
            google.discovery = {name: value}
            await refused(start(server, "google"), StatusCode.UNAVAILABLE, UNAVAILABLE)
        assert stranger.paths == []
    google.discovery = {}
    assert (await start(server, "google", redirect_uri=CALLBACK)).state


async def test_the_issuer_in_the_answer_is_held_to(
    serve: Callable[..., Any], google: FakeGoogle
) -> None:
    server = await serve_with(serve, "google", google)
    trip = await travel(server, "google", "ada")
    error = await refused(
        complete(server, trip, iss="https://evil.example.com"),
        StatusCode.INVALID_ARGUMENT,
        PROOF_INVALID,
    )
    assert field_names(error) == ["iss"]
    google.discovery = {"authorization_response_iss_parameter_supported": True}
    turn(server, 3601)
    trip = await travel(server, "google", "ada")
    await refused(complete(server, trip), StatusCode.INVALID_ARGUMENT, PROOF_INVALID)
    trip = await travel(server, "google", "ada")
    assert (await complete(server, trip, iss=google.url)).signed_up

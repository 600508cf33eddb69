"""Discord, GitHub, Facebook and native apps, each as its documents tell it."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import identity_pb2
from tests.rpc.auth.oauth_scenes import (
    LINK,
    PROOF_INVALID,
    UNAVAILABLE,
    Trip,
    complete,
    identities_of,
    identity_rows,
    link,
    person_of,
    serve_with,
    settings_for,
    sign_in_with,
    start,
    travel,
)
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_google import FakeGoogle, Key
from tests.support.fake_http import json_of
from tests.support.fake_oauth import CLIENT_ID
from tests.support.fake_social import FakeFacebook, FakeGitHub
from tests.support.statuses import refused

KEY = Key("first")


@pytest.fixture
def discord() -> Iterator[FakeDiscord]:
    with FakeDiscord() as fake:
        fake.add("80351110224678912", "nelly@discord.example", global_name="Nelly")
        yield fake


@pytest.fixture
def google() -> Iterator[FakeGoogle]:
    with FakeGoogle(KEY) as fake:
        fake.add("ada", "ada@example.com")
        yield fake


async def test_discord_is_asked_for_the_user_and_the_address(
    serve: Callable[..., Any], discord: FakeDiscord
) -> None:
    server = await serve(**settings_for("discord", discord.url))
    begun = await start(server, "discord")
    query = parse_qs(urlsplit(begun.authorization_url).query)
    assert query["scope"] == ["identify email"] and "nonce" not in query
    reply = await sign_in_with(server, "discord", "80351110224678912")
    user = reply.signed_in.user
    assert (user.display_name, user.email) == ("Nelly", "nelly@discord.example")
    assert user.avatar_url.startswith("https://cdn.discordapp.com/avatars/80351110224678912/")
    identity = (await identities_of(server, person_of(reply.signed_in)))[0]
    assert identity.type == identity_pb2.IDENTITY_TYPE_OAUTH
    row = (await identity_rows(server))[0]
    assert row.profile["username"] == "user80351110224678912"
    assert row.profile["global_name"] == "Nelly" and row.profile["avatar"]
    assert row.issuer == discord.url and row.token_type == "Bearer"


async def test_discords_own_errors_are_told_apart(
    serve: Callable[..., Any], discord: FakeDiscord
) -> None:
    server = await serve(**settings_for("discord", discord.url))
    trip = await travel(server, "discord", "80351110224678912")
    await refused(complete(server, trip, code="wrong"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID)
    for answer in (
        json_of({"message": "401: Unauthorized", "code": 0}, 401),
        json_of({"message": "You are being rate limited.", "retry_after": 64.57}, 429),
        json_of({"username": "no id"}),
        json_of({"id": 80351110224678912}),
        json_of([]),
    ):
        discord.faults["/api/v10/users/@me"] = lambda answer=answer: answer  # type: ignore[misc]
        await refused(
            sign_in_with(server, "discord", "80351110224678912"),
            StatusCode.UNAVAILABLE,
            UNAVAILABLE,
        )
    begun = await start(server, "discord")
    await refused(
        complete(
            server, Trip(begun, {"state": begun.state, "code": ""}), code=None, id_token="a.b.c"
        ),
        StatusCode.INVALID_ARGUMENT,
        PROOF_INVALID,
    )


async def test_without_the_scope_there_is_no_address(
    serve: Callable[..., Any], discord: FakeDiscord
) -> None:
    server = await serve(oauth_discord_scopes="identify", **settings_for("discord", discord.url))
    reply = await sign_in_with(server, "discord", "80351110224678912")
    assert reply.signed_up and reply.signed_in.user.email == ""


async def test_github_counts_the_verified_primary_address_only(serve: Callable[..., Any]) -> None:
    with FakeGitHub() as github:
        good = github.add(
            1,
            "shown@example.com",
            [
                {"email": "other@example.com", "primary": False, "verified": True},
                {"email": "Octo@Example.com", "primary": True, "verified": True},
            ],
        )
        unproven = github.add(
            2,
            "shown@example.com",
            [
                {"email": "two@example.com", "primary": True, "verified": False},
                {"email": "other@example.com", "primary": False, "verified": True},
            ],
        )
        server = await serve(**settings_for("github", github.url))
        first = await sign_in_with(server, "github", good)
        assert first.signed_in.user.email == "octo@example.com"
        assert first.signed_in.user.display_name == "octo1"
        assert (await sign_in_with(server, "github", unproven)).signed_in.user.email == ""
        assert [row.provider_account_id for row in await identity_rows(server)] == ["1", "2"]
        trip = await travel(server, "github", good)
        # GitHub answers a wrong code with status 200.
        await refused(
            complete(server, trip, code="wrong"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID
        )


async def test_facebook_proves_no_address(serve: Callable[..., Any]) -> None:
    with FakeFacebook() as facebook:
        facebook.add("10", "face@example.com")
        server = await serve(**settings_for("facebook", facebook.url))
        await server.sign_up("face@example.com")
        reply = await sign_in_with(server, "facebook", "10")
        assert reply.signed_up and reply.signed_in.user.email == ""
        assert not (await sign_in_with(server, "facebook", "10")).signed_up
        trip = await travel(server, "facebook", "10")
        await refused(
            complete(server, trip, code="wrong"), StatusCode.INVALID_ARGUMENT, PROOF_INVALID
        )


async def test_a_native_app_brings_an_id_token(
    serve: Callable[..., Any], google: FakeGoogle
) -> None:
    server = await serve(
        oauth_google_native_client_ids="android-client,ios-client",
        **settings_for("google", google.url),
    )
    google.now = server.clock.now

    async def bring(purpose: Any = None, sub: str = "ada", **claims: Any) -> Any:
        begun = await start(server, "google", *([purpose] if purpose else []))
        token = google.id_token(sub, begun.nonce, **claims)
        trip = Trip(begun, {"state": begun.state, "code": ""})
        if purpose:
            return await link(server, owner, trip, code=None, id_token=token)
        return await complete(server, trip, code=None, id_token=token)

    assert (await bring()).signed_up
    assert not (await bring(aud="ios-client")).signed_up
    assert not (await bring(aud=CLIENT_ID, azp="android-client")).signed_up
    for wrong in ({"aud": "stranger"}, {"azp": "stranger"}):
        await refused(bring(**wrong), StatusCode.INVALID_ARGUMENT, PROOF_INVALID)
    assert "/token" not in google.paths
    owner = await server.person("Owner")
    google.add("ada2", "ada2@example.com")
    assert (await bring(LINK, sub="ada2")).provider_account_id == "ada2"


async def test_the_session_state_is_kept(serve: Callable[..., Any], google: FakeGoogle) -> None:
    server = await serve_with(serve, "google", google)
    trip = await travel(server, "google", "ada")
    await complete(
        server, trip, session_state="a1b2.c3", scope="openid", authuser="0", prompt="none"
    )
    row = (await identity_rows(server))[0]
    assert (row.session_state, row.type, row.scope) == ("a1b2.c3", "oidc", "openid email profile")
    assert None not in (row.id_token_enc, row.access_token_enc, row.refresh_token_enc)


@pytest.mark.parametrize(
    ("verified", "counts"), [(True, True), ("true", True), ("false", False), (1, False)]
)
async def test_apple_writes_its_booleans_as_texts(
    serve: Callable[..., Any], google: FakeGoogle, verified: object, counts: bool
) -> None:
    google.add("ada", "ada@example.com", verified=verified)
    server = await serve_with(serve, "apple", google)
    reply = await sign_in_with(server, "apple", "ada")
    assert bool(reply.signed_in.user.email) is counts


@pytest.mark.parametrize("verified", ["true", 1, None])
async def test_google_does_not(
    serve: Callable[..., Any], google: FakeGoogle, verified: object
) -> None:
    google.add("ada", "ada@example.com", verified=verified)
    server = await serve_with(serve, "google", google)
    assert (await sign_in_with(server, "google", "ada")).signed_in.user.email == ""

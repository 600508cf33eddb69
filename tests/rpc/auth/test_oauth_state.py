"""The state of a sign-in: one use, one client, one purpose, ten minutes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import oauth_service_pb2 as pb
from server.auth.models import OAuthAuthorization
from server.auth.usecases import cleanup
from server.core.sealing import SealBroken
from tests.rpc.auth.oauth_scenes import (
    CALLBACK,
    LINK,
    PROOF_INVALID,
    STATE_INVALID,
    complete,
    identity_rows,
    link,
    serve_with,
    start,
    travel,
)
from tests.rpc.auth.scenes import audit_rows, in_unit, turn
from tests.support.fake_google import FakeGoogle, Key
from tests.support.serve import Greenroom
from tests.support.statuses import failure_of, field_names, reason_of, refused

KEY = Key("first")
NO_STATE = (StatusCode.INVALID_ARGUMENT, STATE_INVALID)


@pytest.fixture
async def google() -> AsyncIterator[FakeGoogle]:
    with FakeGoogle(KEY) as fake:
        fake.add("ada", "ada@example.com")
        fake.add("mallory", "mallory@example.com")
        yield fake


@pytest.fixture
async def server(serve: Callable[..., Any], google: FakeGoogle) -> Greenroom:
    return await serve_with(serve, "google", google)


async def test_a_state_works_once(server: Greenroom, google: FakeGoogle) -> None:
    trip = await travel(server, "google", "ada")
    await complete(server, trip)
    error = await refused(complete(server, trip), *NO_STATE)
    assert field_names(error) == ["state"]
    assert google.paths.count("/token") == 1


async def test_a_code_works_once(server: Greenroom) -> None:
    first = await travel(server, "google", "ada")
    await complete(server, first)
    second = await travel(server, "google", "ada")
    await refused(
        complete(server, second, code=first.query["code"]),
        StatusCode.INVALID_ARGUMENT,
        PROOF_INVALID,
    )


async def test_a_code_is_of_no_use_in_another_flow(server: Greenroom) -> None:
    """PKCE: a stolen code does not go with the thief's own verifier."""
    stolen = await travel(server, "google", "ada")
    own = await travel(server, "google", "mallory")
    await refused(
        complete(server, own, code=stolen.query["code"]),
        StatusCode.INVALID_ARGUMENT,
        PROOF_INVALID,
    )


async def test_the_state_of_another_browser_is_refused_and_not_spoilt(
    server: Greenroom, google: FakeGoogle
) -> None:
    """Login CSRF: the victim's browser is sent back with the attacker's code and state."""
    attack = await travel(server, "google", "mallory")
    victim = await start(server, "google")
    for binding in (victim.binding_secret, "", "grb_" + "x" * 43):
        await refused(complete(server, attack, binding_secret=binding), *NO_STATE)
    await refused(complete(server, attack, state=victim.state), *NO_STATE)
    assert "/token" not in google.paths
    assert (await complete(server, attack)).signed_up


async def test_refusals_of_a_state_are_the_same_bytes(server: Greenroom) -> None:
    used = await travel(server, "google", "ada")
    await complete(server, used)
    late = await travel(server, "google", "ada")
    for_linking = await travel(server, "google", "ada", LINK)
    seen = set()
    for attempt in (
        complete(server, used),
        complete(server, for_linking),
        complete(server, used, state="unknown"),
        complete(server, late, binding_secret="wrong"),
    ):
        error = await failure_of(attempt)
        seen.add((error.code(), reason_of(error), error.details()))
    turn(server, 601)
    error = await failure_of(complete(server, late))
    seen.add((error.code(), reason_of(error), error.details()))
    assert len(seen) == 1
    assert [row for row in await audit_rows(server) if row[1] == "OAUTH_STATE_INVALID"] == [
        ("session.log_in", "OAUTH_STATE_INVALID")
    ] * 5


async def test_a_state_ends_after_ten_minutes(server: Greenroom) -> None:
    trip = await travel(server, "google", "ada")
    late = await travel(server, "google", "ada")
    turn(server, 599)
    await complete(server, trip)
    turn(server, 1)
    await refused(complete(server, late), *NO_STATE)
    for step in cleanup.steps(server.running.parts.clock.now() - server.running.parts.clock.now()):
        await in_unit(server, step, write=True)
    turn(server, 1)
    for step in cleanup.steps(server.running.parts.clock.now() - server.running.parts.clock.now()):
        await in_unit(server, step, write=True)
    assert await in_unit(server, lambda _: OAuthAuthorization.select().count()) == 0


async def test_a_sign_in_is_no_link_and_a_link_is_no_sign_in(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(link(server, ada, await travel(server, "google", "ada")), *NO_STATE)
    await refused(complete(server, await travel(server, "google", "ada", LINK)), *NO_STATE)
    assert await identity_rows(server) == []


async def test_an_error_of_the_provider_ends_it(server: Greenroom, google: FakeGoogle) -> None:
    trip = await travel(server, "google", "ada")
    await refused(
        complete(server, trip, code=None, error="access_denied", error_description="No."),
        StatusCode.INVALID_ARGUMENT,
        PROOF_INVALID,
    )
    await refused(complete(server, trip), *NO_STATE)
    assert "/token" not in google.paths


async def test_of_32_parallel_calls_one_signs_in(server: Greenroom, google: FakeGoogle) -> None:
    trip = await travel(server, "google", "ada")
    outcomes = await asyncio.gather(
        *(complete(server, trip) for _ in range(32)), return_exceptions=True
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, pb.CompleteOAuthResponse)]
    lost = [reason_of(error) for error in outcomes if isinstance(error, aio.AioRpcError)]
    assert len(won) == 1 and lost == [STATE_INVALID] * 31
    assert google.paths.count("/token") == 1


async def test_parallel_sign_ups_of_one_identity_make_one_account(server: Greenroom) -> None:
    trips = [await travel(server, "google", "ada") for _ in range(8)]
    replies = await asyncio.gather(*(complete(server, trip) for trip in trips))
    assert len({reply.signed_in.user.id for reply in replies}) == 1
    assert [reply.signed_up for reply in replies].count(True) == 1
    assert len(await identity_rows(server)) == 1


async def test_only_listed_addresses_are_redirected_to(server: Greenroom) -> None:
    assert (await start(server, "google", redirect_uri="http://127.0.0.1:4711/callback")).state
    for wrong in (
        CALLBACK + "/",
        CALLBACK + "?x=1",
        CALLBACK + "#x",
        CALLBACK.upper(),
        CALLBACK.replace("https", "http"),
        CALLBACK.replace("app.", "app.evil."),
        CALLBACK + "/../other",
        "http://127.0.0.1:4712/callback",
        "javascript:alert(1)",
    ):
        error = await refused(
            start(server, "google", redirect_uri=wrong),
            StatusCode.INVALID_ARGUMENT,
            "AUTH_ERROR_REASON_REDIRECT_URI_NOT_ALLOWED",
        )
        assert field_names(error) == ["redirect_uri"]
    assert await in_unit(server, lambda _: OAuthAuthorization.select().count()) == 1


async def test_a_provider_without_settings_is_named(server: Greenroom) -> None:
    for provider in ("discord", "github", "facebook", "apple", "nobody"):
        error = await refused(
            start(server, provider),
            StatusCode.FAILED_PRECONDITION,
            "AUTH_ERROR_REASON_PROVIDER_NOT_CONFIGURED",
        )
        assert field_names(error) == ["provider"]


async def test_malformed_requests_are_refused(server: Greenroom) -> None:
    calls: list[Any] = [
        start(server, "Google"),
        start(server, ""),
        start(server, "google", redirect_uri=""),
        start(server, "google", pb.AUTHORIZATION_PURPOSE_UNSPECIFIED),
        start(server, "google", language="no language"),
        server.oauth.CompleteOAuth(pb.CompleteOAuthRequest(state="x", binding_secret="y")),
        server.oauth.CompleteOAuth(pb.CompleteOAuthRequest(code="x", binding_secret="y")),
        server.oauth.CompleteOAuth(pb.CompleteOAuthRequest(state="x", code="y" * 4097)),
    ]
    for call in calls:
        await refused(call, StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")


async def test_what_is_kept_meanwhile_is_of_no_use_to_a_reader(server: Greenroom) -> None:
    trip = await travel(server, "google", "ada")
    row = await in_unit(server, lambda _: OAuthAuthorization.get())
    kept = str(row.__data__)
    for secret in (trip.begun.state, trip.begun.binding_secret, trip.begun.nonce):
        assert secret not in kept
    keyring = server.running.parts.keyring
    place = f"oauth_authorizations|verifier_enc|{row.id}"
    assert len(keyring.open(row.verifier_enc, place)) == 64
    with pytest.raises(SealBroken):
        keyring.open(row.verifier_enc, place.replace(row.id, "another"))
    other = await travel(server, "google", "mallory")

    def swap(_: Any) -> None:
        OAuthAuthorization.update(verifier_enc=row.verifier_enc).where(
            OAuthAuthorization.id != row.id
        ).execute()

    await in_unit(server, swap, write=True)
    await refused(complete(server, other), *NO_STATE)
    await complete(server, trip)
    used = await in_unit(server, lambda _: OAuthAuthorization.get_by_id(row.id))
    assert used.verifier_enc == "" and used.consumed_at is not None

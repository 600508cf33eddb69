"""Logging in with a passkey, proving oneself with it, and what is refused."""

import json
from dataclasses import replace
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from server.auth.models import Session
from server.auth.rules import UserStatus
from server.core.unit import Unit
from tests.rpc.auth.passkey_scenes import (
    changed,
    creation_options,
    finish_log_in,
    last_audit,
    log_in,
    register,
    request_options,
    row_of,
)
from tests.rpc.auth.scenes import audit_rows, bearer, get_me, in_unit, set_user, turn
from tests.rpc.auth.second_factors import enrol
from tests.support.authenticator import (
    BACKED_UP,
    BACKUP_ELIGIBLE,
    EDDSA,
    ES256,
    USER_PRESENT,
    USER_VERIFIED,
    USUAL,
    Authenticator,
    encoded,
)
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import refused

CHALLENGE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_CHALLENGE_INVALID")
INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_INVALID")
ORIGIN = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_ORIGIN_REJECTED")
RP_ID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_RP_ID_REJECTED")
REJECTED = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_PASSKEY_REJECTED")
STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
REGRESSED = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_PASSKEY_COUNT_REGRESSED")


def shape(options_json: str) -> dict[str, Any]:
    """Options but for the challenge, of which only the length is looked at."""
    options = json.loads(options_json)
    return {**options, "challenge": len(options["challenge"])}


@pytest.mark.parametrize("algorithm", [ES256, EDDSA])
async def test_a_passkey_opens_a_session_of_two_factors(server: Greenroom, algorithm: int) -> None:
    ada = await server.person("Ada")
    device = Authenticator(algorithm)
    made = await register(server, ada, device)
    turn(server, 3600)
    reply = await finish_log_in(server, device.get(await request_options(server)), "Ada's phone")
    signed_in = reply.signed_in
    assert signed_in.user.id == ada.id and signed_in.session.device_name == "Ada's phone"
    session = await in_unit(server, lambda _unit: Session.get_by_id(signed_in.session.id))
    assert (session.auth_methods, session.assurance_level) == (["passkey"], 2)
    assert (await get_me(server, bearer(signed_in.tokens.access_token))).id == ada.id
    assert await last_audit(server) == ("session.log_in", "OK", ada.id)
    row = await row_of(server, made.id)
    assert row is not None and row.sign_count == 1 and row.last_used_at == server.clock.now()


async def test_no_second_factor_is_asked_for(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    await enrol(server, ada)
    request = auth_pb.LogInRequest(email=ada.email, password=PASSWORD)
    assert (await server.auth.LogIn(request)).WhichOneof("outcome") == "mfa_challenge"
    answer = device.get(await request_options(server))
    assert (await finish_log_in(server, answer)).WhichOneof("outcome") == "signed_in"


async def test_a_session_of_a_passkey_is_trusted_with_risky_calls(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    reply = await finish_log_in(server, device.get(await request_options(server)))
    again = replace(ada, metadata=bearer(reply.signed_in.tokens.access_token))
    assert await creation_options(server, again)


async def test_the_options_are_the_same_for_everybody(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    await register(server, ada, Authenticator())
    shapes = [
        shape(await request_options(server, **named))
        for named in (
            {},
            {"email": ada.email},
            {"email": bob.email},
            {"email": "nobody@example.com"},
            {"username": "nobody"},
            {"phone": "+441234567890"},
        )
    ]
    assert shapes == [shapes[0]] * 6
    assert shapes[0] == {
        "challenge": 43,
        "rpId": "localhost",
        "timeout": 300_000,
        "allowCredentials": [],
        "userVerification": "required",
    }


async def test_options_for_a_name_are_for_that_account_alone(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    adas, bobs = Authenticator(), Authenticator()
    await register(server, ada, adas)
    await register(server, bob, bobs)
    assert await log_in(server, adas, email=ada.email.upper())
    await refused(log_in(server, bobs, email=ada.email), *CHALLENGE_INVALID)
    await refused(log_in(server, bobs, email="nobody@example.com"), *CHALLENGE_INVALID)
    assert await log_in(server, bobs)


async def test_an_answer_works_once(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    options = await request_options(server)
    answer = device.get(options)
    await finish_log_in(server, answer)
    await refused(finish_log_in(server, answer), *CHALLENGE_INVALID)
    assert await last_audit(server) == ("session.log_in", "PASSKEY_CHALLENGE_INVALID", "")
    await refused(finish_log_in(server, device.get(options)), *CHALLENGE_INVALID)
    # A wrong answer uses a challenge up as well.
    options = await request_options(server)
    wrong = changed(device.get(options), signature=encoded(bytes(70)))
    await refused(finish_log_in(server, wrong), *REJECTED)
    await refused(finish_log_in(server, device.get(options)), *CHALLENGE_INVALID)


async def test_a_challenge_ends_after_five_minutes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    in_time, late = [await request_options(server) for _ in range(2)]
    turn(server, 299)
    await finish_log_in(server, device.get(in_time))
    turn(server, 1)
    await refused(finish_log_in(server, device.get(late)), *CHALLENGE_INVALID)


async def test_a_challenge_of_ones_own_making_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    registration = await creation_options(server, ada)
    await refused(finish_log_in(server, device.get(registration)), *CHALLENGE_INVALID)
    forged = json.dumps({"challenge": encoded(b"guess" * 6)})
    await refused(finish_log_in(server, device.get(forged)), *CHALLENGE_INVALID)


async def test_another_site_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    for name, value, error in (
        ("origin", "https://evil.example", ORIGIN),
        ("origin", "http://localhost", ORIGIN),
        ("origin", "null", ORIGIN),
        ("client_data", {"crossOrigin": True}, ORIGIN),
        ("rp_id", "evil.example", RP_ID),
    ):
        before = getattr(device, name)
        setattr(device, name, value)
        await refused(log_in(server, device), *error)
        setattr(device, name, before)
    results = [row[1] for row in await audit_rows(server) if row[0] == "session.log_in"]
    assert results[1:] == [*["PASSKEY_ORIGIN_REJECTED"] * 4, "PASSKEY_RP_ID_REJECTED"]
    assert await log_in(server, device)


async def test_an_answer_that_proves_nothing_is_refused_in_one_way(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    device, other = Authenticator(), Authenticator()
    await register(server, ada, device)
    await register(server, bob, other)
    stranger = Authenticator()
    stranger.user_handle = device.user_handle
    thief = Authenticator(credential_id=device.credential_id)
    thief.user_handle = device.user_handle
    unverified = replace(device, flags=USER_PRESENT)
    absent = replace(device, flags=USER_VERIFIED)
    odd = replace(device, flags=USUAL | BACKED_UP)
    for copy in (unverified, absent, odd):
        copy.key = device.key
    mixed = replace(device, user_handle=other.user_handle)
    mixed.key = device.key
    said = set()
    for wrong in (stranger, thief, unverified, absent, odd, mixed):
        error = await refused(log_in(server, wrong), *REJECTED)
        said.add(error.details())
    assert len(said) == 1
    assert await last_audit(server) == ("session.log_in", "PASSKEY_REJECTED", "")
    # The counts of what was refused were not noted.
    assert await log_in(server, device)


async def test_what_the_signature_covers_cannot_be_changed(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator(flags=USER_PRESENT)
    with pytest.raises(aio.AioRpcError):
        await register(server, ada, device)
    device.flags = USUAL
    await register(server, ada, device)
    device.flags = USER_PRESENT
    answer = device.get(await request_options(server))
    seen = json.loads(answer)["response"]["authenticatorData"]
    device.flags = USUAL
    raised = json.loads(device.get(await request_options(server)))["response"]["authenticatorData"]
    assert seen != raised
    await refused(finish_log_in(server, changed(answer, authenticatorData=raised)), *REJECTED)


async def test_a_counter_that_goes_back_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    made = await register(server, ada, device)
    for _ in range(3):
        await log_in(server, device)
    for behind in (1, 2):
        device.count = behind
        await refused(log_in(server, device), *REGRESSED)
        assert await last_audit(server) == ("session.log_in", "PASSKEY_COUNT_REGRESSED", "")
    device.count, device.counts = 0, False
    await refused(log_in(server, device), *REGRESSED)
    row = await row_of(server, made.id)
    assert row is not None and row.sign_count == 3
    device.count, device.counts = 3, True
    assert await log_in(server, device)


async def test_a_passkey_without_a_counter_stays_good(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator(counts=False)
    made = await register(server, ada, device)
    await log_in(server, device)
    device.flags = USUAL | BACKUP_ELIGIBLE | BACKED_UP
    await log_in(server, device)
    row = await row_of(server, made.id)
    assert row is not None and (row.sign_count, row.backup_eligible, row.backed_up) == (
        0,
        True,
        True,
    )


async def test_an_authenticator_has_to_say_whose_the_passkey_is(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    for untold in ("", None):
        answer = device.get(await request_options(server))
        await refused(finish_log_in(server, changed(answer, userHandle=untold)), *REJECTED)


@pytest.mark.parametrize("status", [UserStatus.BANNED, UserStatus.SUSPENDED, UserStatus.PENDING])
async def test_an_account_that_is_not_in_use_stays_shut(
    server: Greenroom, status: UserStatus
) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    await set_user(server, ada, status=status, suspended_until=None)
    await refused(log_in(server, device), *REJECTED)
    assert await last_audit(server) == ("session.log_in", "PASSKEY_REJECTED", "")
    await set_user(server, ada, status=UserStatus.ACTIVE)
    assert await log_in(server, device)


async def test_what_cannot_be_read_is_told_so(server: Greenroom) -> None:
    device = Authenticator()
    device.user_handle = "aA"
    good = device.get(await request_options(server))
    parts = json.loads(good)
    texts = ["{}", "[]", "null", "not json", "1" * 50, "[" * 5000, good[:-1]]
    for name in ("id", "rawId", "type", "response"):
        texts += [json.dumps({**parts, name: wrong}) for wrong in (None, 7, "é", [], {})]
    for name in ("clientDataJSON", "authenticatorData", "signature"):
        texts += [changed(good, **{name: wrong}) for wrong in (None, 7, [], {})]
    texts += [changed(good, clientDataJSON=encoded(b"[" * 5000)), changed(good, userHandle=3)]
    for said in ({"type": "webauthn.create"}, {"type": 7}, {"origin": 7}, {"origin": ["a"]}):
        texts.append(replace(device, client_data=said).get(await request_options(server)))
    for text in texts:
        await refused(finish_log_in(server, text), *INVALID)
    for length in (1, 16_385):
        error = await refused(
            finish_log_in(server, "x" * length),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )
        assert "x" * length not in (error.details() or "") or length == 1


async def test_a_passkey_raises_a_session(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    device, other = Authenticator(), Authenticator()
    await register(server, ada, device)
    await register(server, bob, other)

    async def prove(answer: str) -> None:
        request = auth_pb.ReauthenticateRequest(passkey_json=answer)
        await server.auth.Reauthenticate(request, metadata=ada.metadata)

    await server.stale(ada)
    rejected = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_PROOF_REJECTED")
    await refused(prove(other.get(await request_options(server))), *rejected)
    assert await last_audit(server) == ("session.reauthenticate", "PASSKEY_REJECTED", ada.id)
    await refused(creation_options(server, ada), *STEP_UP)
    answer = device.get(await request_options(server))
    await prove(answer)
    assert await last_audit(server) == ("session.reauthenticate", "OK", ada.id)
    await refused(prove(answer), *CHALLENGE_INVALID)
    await refused(finish_log_in(server, answer), *CHALLENGE_INVALID)
    assert await creation_options(server, ada)
    device.count = 0
    await refused(prove(device.get(await request_options(server))), *rejected)
    assert await last_audit(server) == (
        "session.reauthenticate",
        "PASSKEY_COUNT_REGRESSED",
        ada.id,
    )
    await refused(prove("{}"), *INVALID)
    elsewhere = Authenticator(origin="https://evil.example")
    await refused(prove(elsewhere.get(await request_options(server))), *ORIGIN)

    def read(unit: Unit) -> tuple[list[str], int]:
        session = Session.get_by_id(ada.session_id)
        return session.auth_methods, session.assurance_level

    assert await in_unit(server, read) == (["password", "passkey"], 2)

"""No way into an account leads past its second factor, and there is no way in that these tests do not
know."""

import ast
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

import server as package
from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import otp_service_pb2 as otp_pb
from greenroom.auth.v1 import passkey_service_pb2 as passkey_pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from greenroom.auth.v1 import session_pb2, sign_in_pb2
from tests.rpc.auth import passkey_scenes as passkeys
from tests.rpc.auth.keys import WEB_STORAGE, open_session, service
from tests.rpc.auth.oauth_scenes import link_with, settings_for, sign_in_with
from tests.rpc.auth.otp_scenes import (
    change_phone,
    mailed_code,
    new_phone,
    start,
    texted_code,
    verify,
)
from tests.rpc.auth.scenes import ANOTHER_PASSWORD, bearer, get_me, refresh, set_user, turn
from tests.rpc.auth.second_factors import Enrolled, enrol
from tests.rpc.auth.staff import STEP_UP
from tests.support.authenticator import Authenticator
from tests.support.fake_discord import FakeDiscord
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.services import all_methods
from tests.support.statuses import code_of, refused

REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")
Way = Callable[[Greenroom, Enrolled], Awaitable[Any]]


@pytest.fixture
async def server(serve: Callable[..., Any]) -> AsyncIterator[Greenroom]:
    with FakeDiscord() as discord:
        discord.add("1", None)
        yield await serve(**settings_for("discord", discord.url))


async def _prepared(server: Greenroom) -> tuple[Enrolled, str, Authenticator]:
    """Somebody with every way in, and a second factor; their number, and their passkey."""
    ada, phone, device = await server.person("Ada"), new_phone(), Authenticator()
    otp = await change_phone(server, ada, phone)
    await verify(server, otp.otp_id, await texted_code(server, phone))
    await link_with(server, ada, "discord", "1")
    await passkeys.register(server, ada, device)
    await set_user(server, ada, username="ada")
    return await enrol(server, ada), phone, device


async def _by_mailed_code(server: Greenroom, email: str) -> Any:
    before = len(server.mails(email))
    otp = await start(server, email)
    return await verify(server, otp.otp_id, await mailed_code(server, email, before + 1))


async def _by_link(server: Greenroom, email: str) -> Any:
    before = len(server.mails(email))
    await start(server, email, otp_pb.OTP_PURPOSE_MAGIC_LINK)
    token = await server.mailed_token(email, before + 1)
    return await server.otps.VerifyOtp(otp_pb.VerifyOtpRequest(token=token))


async def _by_texted_code(server: Greenroom, phone: str) -> Any:
    otp = await start(server, phone)
    return await verify(server, otp.otp_id, await texted_code(server, phone, 2))


async def _after_a_reset(server: Greenroom, email: str) -> Any:
    before = len(server.mails(email))
    request = password_pb.RequestPasswordResetRequest(email=email)
    await server.passwords.RequestPasswordReset(request)
    token = await server.mailed_token(email, before + 1)
    reset = password_pb.ResetPasswordRequest(token=token, password=ANOTHER_PASSWORD)
    await server.passwords.ResetPassword(reset)
    return await server.auth.LogIn(pb.LogInRequest(email=email, password=ANOTHER_PASSWORD))


async def test_every_way_in_demands_the_second_factor(server: Greenroom) -> None:
    who, phone, _ = await _prepared(server)
    email = who.person.email
    log_in = server.auth.LogIn
    turn(server, 60)  # Codes to one number are a minute apart.
    ways = [
        await log_in(pb.LogInRequest(email=email, password=PASSWORD)),
        await log_in(pb.LogInRequest(phone=phone, password=PASSWORD)),
        await log_in(pb.LogInRequest(username="ada", password=PASSWORD)),
        await _by_mailed_code(server, email),
        await _by_texted_code(server, phone),
        await sign_in_with(server, "discord", "1"),
        await _after_a_reset(server, email),
    ]
    turn(server, 60)
    ways.append(await _by_link(server, email))
    assert [way.WhichOneof("outcome") for way in ways] == ["mfa_challenge"] * len(ways)
    # A challenge is no token of any kind.
    for way in ways:
        token = way.mfa_challenge.challenge_token
        await refused(get_me(server, bearer(token)), *REVOKED)
        assert await code_of(refresh(server, token)) is StatusCode.UNAUTHENTICATED


async def test_a_passkey_is_both_factors(server: Greenroom) -> None:
    _, _, device = await _prepared(server)
    session = await passkeys.log_in(server, device)
    assert session.assurance_level == 2


async def test_a_session_of_a_framework_is_neither_a_bearer_nor_fresh(server: Greenroom) -> None:
    who, _, _ = await _prepared(server)
    token = "a-token-that-a-framework-has-made-up"
    await open_session(server, await service(server, WEB_STORAGE), who.person.id, token)
    await refused(get_me(server, bearer(token)), *REVOKED)
    assert await code_of(refresh(server, token)) is StatusCode.UNAUTHENTICATED


async def test_a_session_from_before_the_factor_gains_nothing_by_refreshing(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    await enrol(server, ada)
    pair = (await refresh(server, other.tokens.tokens.refresh_token)).tokens
    again = Person(ada.id, ada.email, other.tokens, bearer(pair.access_token))
    request = passkey_pb.StartPasskeyRegistrationRequest()
    start_registration = server.passkeys.StartPasskeyRegistration
    await refused(start_registration(request, metadata=again.metadata), *STEP_UP)


def test_sessions_are_opened_in_these_places_only() -> None:
    """Whoever adds a way in ends it by ``finish_sign_in``, which asks for the second factor."""
    folder = Path(package.__file__).parent
    found: set[tuple[str, str]] = set()
    for path in [*folder.glob("auth/usecases/*.py"), *folder.glob("auth/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                if name in ("begin_session", "open_session", "Session", "tokens_of"):
                    found.add((path.relative_to(folder / "auth").as_posix(), name))
    assert found == {
        ("usecases/signing_in.py", "begin_session"),
        ("usecases/signing_in.py", "open_session"),
        ("usecases/signing_in.py", "Session"),
        ("usecases/signing_in.py", "tokens_of"),
        ("usecases/mfa_challenges.py", "begin_session"),
        ("usecases/sessions.py", "tokens_of"),
        ("usecases/web_sessions.py", "Session"),
    }


def test_tokens_come_by_these_methods_only() -> None:
    signed_in = sign_in_pb2.SignedIn.DESCRIPTOR
    pair = session_pb2.TokenPair.DESCRIPTOR
    giving = {
        method.name
        for method in all_methods()
        for field in method.output_type.fields
        if field.message_type in (signed_in, pair)
    }
    ways = {"LogIn", "VerifyOtp", "CompleteOAuth", "FinishPasskeyLogin"}
    assert giving == ways | {"CompleteMfaChallenge", "RefreshToken"}

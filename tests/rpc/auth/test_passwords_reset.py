"""RequestPasswordReset and ResetPassword: who gets a token, what it is good for, and what ends."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from greenroom.auth.v1 import password_service_pb2 as pb
from server.auth.models import (
    Credential,
    Identity,
    MfaFactor,
    Passkey,
    Registration,
    Session,
    User,
    VerificationToken,
)
from server.auth.usecases import log_in
from server.core.unit import Unit
from tests.rpc.auth.scenes import (
    ANOTHER_PASSWORD,
    audit_rows,
    get_me,
    in_unit,
    mail_number,
    module_of,
    refresh,
    set_user,
    sign_up_request,
    tokens_in,
    turn,
)
from tests.rpc.auth.second_factors import enrolled
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import code_of, failure_of, refused

INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID")
TOO_WEAK = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSWORD_TOO_WEAK")
BAD_CREDENTIALS = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")


async def ask(server: Greenroom, email: str) -> bytes:
    request = pb.RequestPasswordResetRequest(email=email)
    reply = await server.passwords.RequestPasswordReset(request)
    return reply.SerializeToString()


async def reset(server: Greenroom, token: str, password: str = ANOTHER_PASSWORD) -> None:
    await server.passwords.ResetPassword(pb.ResetPasswordRequest(token=token, password=password))


async def token_for(server: Greenroom, person: Person, number: int) -> str:
    """Asks for a reset; its mail is the one of this number to the person."""
    await ask(server, person.email)
    (token,) = tokens_in(await mail_number(server, person.email, number))
    return token


async def settled(server: Greenroom) -> None:
    """Waits until no job is left that could make a mail."""

    def left(_unit: Unit) -> int:
        rows = User._meta.database.execute_sql(
            "SELECT COUNT(*) FROM jobs WHERE kind IN ('auth.password_reset', 'auth.mail')"
            " AND state IN ('READY', 'RUNNING')"
        )
        return int(rows.fetchone()[0])

    end = time.monotonic() + 10
    while await in_unit(server, left):
        assert time.monotonic() < end, "the jobs do not end"
        await asyncio.sleep(0.01)


async def test_a_mailed_token_sets_a_new_password(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await ask(server, ada.email.upper())
    mail = await mail_number(server, ada.email, 2)
    assert mail["Subject"] == "Choose a new password"
    (token,) = tokens_in(mail)
    await reset(server, token)
    await refused(server.log_in(ada.email), *BAD_CREDENTIALS)
    assert (await server.log_in(ada.email, ANOTHER_PASSWORD)).id == ada.id
    told = await mail_number(server, ada.email, 3)
    assert told["Subject"] == "Your password was changed" and tokens_in(told) == []
    rows = [row for row in await audit_rows(server) if row[0].startswith("password.")]
    assert rows == [("password.ask_reset", "ACCEPTED"), ("password.reset", "OK")]


async def test_every_session_and_waiting_challenge_ends(server: Greenroom) -> None:
    who = await enrolled(server)
    ada = who.person
    other = await server.auth.LogIn(auth_pb.LogInRequest(email=ada.email, password=PASSWORD))
    token = await token_for(server, ada, 3)
    await reset(server, token)
    assert await code_of(get_me(server, ada.metadata)) is StatusCode.UNAUTHENTICATED
    assert await code_of(refresh(server, ada.tokens.tokens.refresh_token)) is (
        StatusCode.UNAUTHENTICATED
    )
    request = mfa_pb.CompleteMfaChallengeRequest(
        challenge_token=other.mfa_challenge.challenge_token, backup_code=who.backup_codes[0]
    )
    await refused(
        server.mfa.CompleteMfaChallenge(request),
        StatusCode.UNAUTHENTICATED,
        "AUTH_ERROR_REASON_MFA_CHALLENGE_INVALID",
    )

    def reasons(_unit: Unit) -> set[str | None]:
        return {row.revoked_reason for row in Session.select().where(Session.user == ada.id)}

    assert await in_unit(server, reasons) == {"PASSWORD_CHANGE"}
    reply = await server.auth.LogIn(
        auth_pb.LogInRequest(email=ada.email, password=ANOTHER_PASSWORD)
    )
    assert reply.WhichOneof("outcome") == "mfa_challenge"


async def test_a_token_is_good_once_and_makes_the_others_void(server: Greenroom) -> None:
    ada = await server.person("Ada")
    first = await token_for(server, ada, 2)
    second = await token_for(server, ada, 3)
    assert first != second
    await reset(server, first)
    await refused(reset(server, first, PASSWORD), *INVALID)
    await refused(reset(server, second, PASSWORD), *INVALID)
    await server.log_in(ada.email, ANOTHER_PASSWORD)


async def test_of_sixty_four_callers_with_one_token_one_succeeds(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve(database_wait_seconds=60, hash_queue=1000)
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    words = [f"{ANOTHER_PASSWORD} {number}" for number in range(64)]
    ended = await asyncio.gather(*(code_of(reset(server, token, word)) for word in words))
    assert sorted(code.name for code in ended) == ["INVALID_ARGUMENT"] * 63 + ["OK"]
    await server.log_in(ada.email, words[ended.index(StatusCode.OK)])


async def test_a_token_lives_an_hour(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    turn(server, 3600)
    await refused(reset(server, token), *INVALID)
    token = await token_for(server, ada, 3)
    turn(server, 3599)
    await reset(server, token)


async def test_a_weak_password_leaves_the_token_as_it_was(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    for weak in ("password", ada.email, "aaaaaaaaaaaa"):
        await refused(reset(server, token, weak), *TOO_WEAK)
    await reset(server, token)


@pytest.mark.parametrize("token", ["unknown", "grv_" + "A" * 43])
async def test_an_unknown_token_is_refused_before_any_hash(server: Greenroom, token: str) -> None:
    before = module_of(server).passwords.hashes
    await refused(reset(server, token), *INVALID)
    assert module_of(server).passwords.hashes == before


async def test_a_token_for_something_else_sets_no_password(server: Greenroom) -> None:
    await server.auth.SignUp(sign_up_request("eve@example.com"))
    await refused(reset(server, await server.mailed_token("eve@example.com")), *INVALID)
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    await refused(server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token)), *INVALID)
    await reset(server, token)


async def test_the_answer_is_the_same_for_every_address_and_costs_no_hash(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    banned = await server.person("Ban")
    await set_user(server, banned, status="BANNED")
    await server.auth.SignUp(sign_up_request("waiting@example.com"))
    before = module_of(server).passwords.hashes
    addresses = [ada.email, banned.email, "waiting@example.com", "nobody@example.com"]
    replies = [await ask(server, address) for address in addresses for _ in range(4)]
    assert set(replies) == {b""}
    assert module_of(server).passwords.hashes == before
    await settled(server)
    assert [len(server.mails(address)) for address in addresses] == [4, 1, 1, 0]

    def jobs(unit: Unit) -> int:
        rows = User._meta.database.execute_sql(
            "SELECT COUNT(*) FROM jobs WHERE kind = 'auth.password_reset'"
        )
        return int(rows.fetchone()[0])

    assert await in_unit(server, jobs) == 3 * len(addresses)
    asked = [row[1] for row in await audit_rows(server) if row[0] == "password.ask_reset"]
    assert asked == ["ACCEPTED", "ACCEPTED", "ACCEPTED", "TOO_MANY_MAILS"] * len(addresses)


async def test_three_mails_an_hour_leave_for_an_address(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for _ in range(5):
        await ask(server, ada.email)
    await settled(server)
    assert len(server.mails(ada.email)) == 1 + 3
    turn(server, 3600)
    for _ in range(5):
        await ask(server, ada.email)
    await settled(server)
    assert len(server.mails(ada.email)) == 1 + 6


async def test_an_account_without_a_password_gets_one(server: Greenroom) -> None:
    ada = await server.person("Ada")

    def drop(_unit: Unit) -> None:
        Credential.delete().where(Credential.user == ada.id).execute()

    await in_unit(server, drop, write=True)
    await reset(server, await token_for(server, ada, 2))
    await server.log_in(ada.email, ANOTHER_PASSWORD)


async def test_tries_made_before_are_forgotten(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await server.auth.LogOut(auth_pb.LogOutRequest(), metadata=ada.metadata)
    for _ in range(5):
        await failure_of(server.log_in(ada.email, "wrong"))
    await refused(
        server.log_in(ada.email),
        StatusCode.RESOURCE_EXHAUSTED,
        "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS",
    )
    await reset(server, await token_for(server, ada, 2))
    await server.log_in(ada.email, ANOTHER_PASSWORD)


@pytest.mark.parametrize("change", [{"status": "BANNED"}, {"email": "elsewhere@example.com"}])
async def test_a_token_is_void_once_the_account_is_not_what_it_was(
    server: Greenroom, change: dict[str, str]
) -> None:
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    await set_user(server, ada, **change)
    await refused(reset(server, token), *INVALID)


async def test_a_log_in_that_is_under_way_does_not_survive_the_reset(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old password is found right, then it is replaced, then the log-in goes on."""
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    passwords = module_of(server).passwords
    check = passwords.check

    async def slow(*arguments: Any) -> Any:
        verdict = await check(*arguments)
        await reset(server, token)
        return verdict

    monkeypatch.setattr(passwords, "check", slow)
    await refused(server.log_in(ada.email), *BAD_CREDENTIALS)


async def test_a_session_that_opens_while_the_password_is_reset_ends_with_the_others(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reset begins after the log-in's last look at the password and before its session."""
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    loop = asyncio.get_running_loop()
    looked = log_in.still_valid
    resets: list[Future[None]] = []

    def look_then_wait(*arguments: Any) -> bool:
        valid = looked(*arguments)
        resets.append(asyncio.run_coroutine_threadsafe(reset(server, token), loop))
        wait(resets, timeout=0.5)  # It has to wait for this unit, if it is right.
        return valid

    monkeypatch.setattr(log_in, "still_valid", look_then_wait)
    late = await server.log_in(ada.email)
    await asyncio.wrap_future(resets[0])
    assert await code_of(get_me(server, late.metadata)) is StatusCode.UNAUTHENTICATED


async def test_an_address_that_nobody_had_proven_is_proven_and_won(
    serve: Callable[..., Any],
) -> None:
    """Pre-hijacking: whoever made the account first has no way left into it."""
    server: Greenroom = await serve(auto_activate="true")
    email = "victim@example.com"
    await server.auth.SignUp(sign_up_request(email))
    squatter = await server.log_in(email)

    def settle_in(unit: Unit) -> None:
        Identity.create(user=squatter.id, type="oauth", provider="discord", provider_account_id="1")
        MfaFactor.create(user=squatter.id, secret_enc="x", status="ACTIVE", activated_at=unit.now)
        Passkey.create(user=squatter.id, user_handle="h", credential_id="c", public_key="k")

    await in_unit(server, settle_in, write=True)
    await reset(server, await token_for(server, squatter, 2))
    assert await code_of(get_me(server, squatter.metadata)) is StatusCode.UNAUTHENTICATED
    owner = await server.log_in(email, ANOTHER_PASSWORD)
    me = await get_me(server, owner.metadata)
    assert me.HasField("email_verified_time")

    def left(unit: Unit) -> list[int]:
        return [
            model.select().where(model.user == owner.id).count()
            for model in (Identity, MfaFactor, Passkey)
        ]

    assert await in_unit(server, left) == [0, 0, 0]

    def waiting(unit: Unit) -> int:
        return Registration.waiting_for(email, unit.now).count()

    assert await in_unit(server, waiting) == 0


async def test_an_unproven_address_beside_a_proven_number_gets_no_mail(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    await set_user(
        server,
        ada,
        email_verified_at=None,
        phone="+4930123456",
        phone_verified_at=server.clock.now(),
    )
    await ask(server, ada.email)
    await settled(server)
    assert len(server.mails(ada.email)) == 1


async def test_mails_are_in_the_language_of_the_account(server: Greenroom) -> None:
    email = "jutta@example.com"
    request = sign_up_request(email)
    request.language = "de-AT"
    await server.auth.SignUp(request)
    first = await mail_number(server, email, 1)
    assert first["Subject"] == "Bestätigen Sie Ihre Adresse"
    (token,) = tokens_in(first)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    await ask(server, email)
    mail = await mail_number(server, email, 2)
    assert mail["Subject"] == "Wählen Sie ein neues Passwort"
    await reset(server, tokens_in(mail)[0])
    assert (await mail_number(server, email, 3))["Subject"] == "Ihr Passwort wurde geändert"


async def test_neither_secret_nor_address_lies_in_the_database(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)

    def stored(unit: Unit) -> str:
        execute = User._meta.database.execute_sql
        jobs = execute("SELECT arguments FROM jobs").fetchall()
        return repr([*jobs, *VerificationToken.select(VerificationToken.token_hash).tuples()])

    found = await in_unit(server, stored)
    assert token not in found and ada.email not in found


async def test_fields_are_held_to_their_limits(server: Greenroom) -> None:
    field = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")
    before = module_of(server).passwords.hashes
    for email in ("", "nobody", "a" * 250 + "@x.de"):
        await refused(ask(server, email), *field)
    for token, password in (
        ("", PASSWORD),
        ("x" * 257, PASSWORD),
        ("x", "short"),
        ("x", "é" * 513),
    ):
        await refused(reset(server, token, password), *field)
    assert module_of(server).passwords.hashes == before


async def test_a_signed_in_caller_may_ask_too(server: Greenroom) -> None:
    ada = await server.person("Ada")
    request = pb.RequestPasswordResetRequest(email=ada.email)
    await server.passwords.RequestPasswordReset(request, metadata=ada.metadata)
    await mail_number(server, ada.email, 2)

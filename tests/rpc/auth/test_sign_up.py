"""SignUp, VerifyEmail, ResendVerification: one answer for everybody, and the owner wins."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import user_pb2
from server.auth.issuing import hash_of
from server.auth.models import Registration, User, VerificationToken
from server.auth.usecases import registration
from server.core.mail import Mail
from server.core.unit import Unit
from tests.rpc.auth.scenes import (
    ANOTHER_PASSWORD,
    audit_rows,
    get_me,
    in_unit,
    mail_number,
    module_of,
    rows_inserted,
    sign_up_request,
    tokens_in,
    turn,
)
from tests.support.serve import Greenroom
from tests.support.statuses import field_names, reason_of, refused

BAD_TOKEN = (
    StatusCode.INVALID_ARGUMENT,
    "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID",
)
BAD_CREDENTIALS = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")


async def _count(server: Greenroom, model: Any) -> int:
    return await in_unit(server, lambda _unit: model.select().count())


async def test_a_sign_up_becomes_an_account_when_its_address_is_proven(server: Greenroom) -> None:
    request = sign_up_request(" Ada@Example.com".strip(), persona=user_pb2.PERSONA_TEACHER)
    request.display_name, request.username = "Ada\nByron", "ada"
    reply = await server.auth.SignUp(request)
    assert reply.email == "ada@example.com"
    assert await _count(server, User) == 0
    await refused(server.log_in("ada@example.com"), *BAD_CREDENTIALS)
    token = await server.mailed_token("ada@example.com")
    verified = await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))
    assert verified.email == "ada@example.com"
    ada = await server.log_in("ADA@example.COM")
    me = await get_me(server, ada.metadata)
    assert (me.email, me.display_name, list(me.roles)) == (
        "ada@example.com",
        "Ada Byron",
        ["teacher"],
    )
    assert me.status == user_pb2.USER_STATUS_ACTIVE
    assert me.HasField("email_verified_time") and not me.phone
    assert await audit_rows(server) == [
        ("registration.sign_up", "ACCEPTED"),
        ("session.log_in", "BAD_CREDENTIALS"),
        ("registration.verify_email", "OK"),
        ("session.log_in", "OK"),
    ]


async def test_a_taken_address_gets_the_same_answer_and_the_same_work(server: Greenroom) -> None:
    await server.sign_up("taken@example.com")
    await server.auth.SignUp(sign_up_request("waits@example.com"))
    passwords = module_of(server).passwords
    answers, writes = set(), []
    async with server.jobs_at_rest():
        for address in ("free_@example.com", "taken@example.com", "waits@example.com"):
            before = passwords.hashes
            with rows_inserted() as inserted:
                reply = await server.auth.SignUp(sign_up_request(address, ANOTHER_PASSWORD))
            writes.append(inserted)
            answers.add(reply.SerializeToString().replace(address.encode(), b"?"))
            assert passwords.hashes == before + 1
    assert len(answers) == 1
    assert writes[0]["registrations"] == 1 and writes[0] == writes[1] == writes[2]
    waiting = Registration.select().where(Registration.email == "taken@example.com")
    assert await in_unit(server, lambda _unit: waiting.count()) == 1, "the one that was proven"
    await mail_number(server, "taken@example.com", 2)
    assert server.mails("taken@example.com")[-1]["Subject"] == "You already have an account"
    await refused(server.log_in("taken@example.com", ANOTHER_PASSWORD), *BAD_CREDENTIALS)
    await server.log_in("taken@example.com")


async def test_a_weak_password_is_refused_with_its_field(server: Greenroom) -> None:
    for password in ("password1", "crew-member@example.com"):
        error = await refused(
            server.auth.SignUp(sign_up_request("crew-member@example.com", password)),
            StatusCode.INVALID_ARGUMENT,
            "AUTH_ERROR_REASON_PASSWORD_TOO_WEAK",
        )
        assert field_names(error) == ["password"]
        assert password not in str(error)
    assert await audit_rows(server) == []


async def test_fields_are_validated(server: Greenroom) -> None:
    wrong: list[tuple[str, Any]] = [
        ("email", "no address"),
        ("email", ""),
        ("email", "a@" + "b" * 260 + ".com"),
        ("password", "short"),
        ("password", "é" * 513),
        ("persona", 0),
        ("persona", 99),
        ("display_name", "x" * 101),
        ("full_name", "x" * 101),
        ("role", "admin"),
        ("user_type", "agent"),
        ("mobile", "0170"),
        ("language", "x" * 36),
    ]
    for field, value in wrong:
        request = sign_up_request("ada@example.com")
        setattr(request, field, value)
        error = await refused(
            server.auth.SignUp(request),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )
        assert set(field_names(error)) == {field}
    assert module_of(server).passwords.hashes == 0


async def test_the_longest_password_and_both_compositions_open_the_account(
    server: Greenroom,
) -> None:
    password = "Une phrase très longue et sûre. " * 30
    await server.sign_up("long@example.com", password[:1000])
    decomposed = password[:1000].replace("è", "e\u0300").replace("û", "u\u0302")
    assert len(decomposed.encode()) > 1024
    await server.log_in("long@example.com", password[:1000])
    await server.sign_up("short@example.com", "naïve café society")
    await server.log_in("short@example.com", "nai\u0308ve cafe\u0301 society")


async def test_a_token_works_once_and_for_a_day(server: Greenroom) -> None:
    await server.auth.SignUp(sign_up_request("late@example.com"))
    token = await server.mailed_token("late@example.com")
    turn(server, 24 * 3600)
    verify = pb.VerifyEmailRequest(token=token)
    error = await refused(server.auth.VerifyEmail(verify), *BAD_TOKEN)
    assert field_names(error) == ["token"]
    await server.auth.ResendVerification(pb.ResendVerificationRequest(email="Late@example.com"))
    token = await server.mailed_token("late@example.com", 2)
    verify = pb.VerifyEmailRequest(token=token)
    await server.auth.VerifyEmail(verify)
    await refused(server.auth.VerifyEmail(verify), *BAD_TOKEN)
    for unknown in ("x", "grv_" + "A" * 43, "\x00", "é" * 100):
        await refused(server.auth.VerifyEmail(pb.VerifyEmailRequest(token=unknown)), *BAD_TOKEN)
    assert len(await audit_rows(server)) == 2


async def test_a_repeat_with_the_same_request_id_gets_the_first_reply(server: Greenroom) -> None:
    await server.auth.SignUp(sign_up_request("twice@example.com"))
    token = await server.mailed_token("twice@example.com")
    verify = pb.VerifyEmailRequest(token=token, request_id=str(uuid.uuid4()))
    replies = await asyncio.gather(*(server.auth.VerifyEmail(verify) for _ in range(8)))
    assert {reply.email for reply in replies} == {"twice@example.com"}
    assert await _count(server, User) == 1


async def test_a_prepared_password_never_survives_the_owner(server: Greenroom) -> None:
    """Somebody signs up with an address that is not theirs, before and after its owner does."""
    address = "victim@example.com"
    await server.auth.SignUp(sign_up_request(address, "what mallory prepared"))
    mallorys = await server.mailed_token(address)
    await server.auth.SignUp(sign_up_request(address))
    owners = await server.mailed_token(address, 2)
    await server.auth.SignUp(sign_up_request(address, "what mallory tried again"))
    mallorys_second = await server.mailed_token(address, 3)
    await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=owners))
    for token in (mallorys, mallorys_second):
        await refused(server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token)), *BAD_TOKEN)
    for password in ("what mallory prepared", "what mallory tried again"):
        await refused(server.log_in(address, password), *BAD_CREDENTIALS)
    await server.log_in(address)


async def test_of_two_tokens_proven_at_once_one_wins(server: Greenroom) -> None:
    address = "both@example.com"
    tokens = []
    for number in range(4):
        await server.auth.SignUp(sign_up_request(address, f"password number {number} of four"))
        tokens.append(await server.mailed_token(address, number + 1))
    calls = [server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token)) for token in tokens]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    lost = [outcome for outcome in outcomes if isinstance(outcome, aio.AioRpcError)]
    assert [(error.code(), reason_of(error)) for error in lost] == [BAD_TOKEN] * 3
    assert await _count(server, User) == 1


async def test_an_address_that_is_taken_while_it_is_proven_is_not_shared(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a sign-in with a provider or by staff, who lock no sign-ups."""
    await server.auth.SignUp(sign_up_request("wanted@example.com"))
    token = await server.mailed_token("wanted@example.com")
    create = registration.create_account

    def too_late(unit: Unit, found: Registration) -> User:
        User.create(email=found.email)
        return create(unit, found)

    monkeypatch.setattr(registration, "create_account", too_late)
    await refused(server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token)), *BAD_TOKEN)


async def test_a_rejected_sign_up_cannot_be_proven(server: Greenroom) -> None:
    await server.auth.SignUp(sign_up_request("rejected@example.com"))
    token = await server.mailed_token("rejected@example.com")
    rejected = Registration.update(status="REJECTED")
    await in_unit(server, lambda _unit: rejected.execute(), write=True)
    await refused(server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token)), *BAD_TOKEN)
    turn(server, 60)
    resend = pb.ResendVerificationRequest(email="rejected@example.com")
    await server.auth.ResendVerification(resend)
    assert await _count(server, VerificationToken) == 1


async def test_a_resent_mail_tells_contested_sign_ups_apart(server: Greenroom) -> None:
    address = "contested@example.com"
    await server.auth.SignUp(sign_up_request(address))
    await server.auth.SignUp(sign_up_request(address, ANOTHER_PASSWORD))
    # Before the clock is turned: a mail that is on its way would lose its lease and be sent twice.
    await server.mailed_token(address, 2)
    turn(server, 61)
    await server.auth.ResendVerification(pb.ResendVerificationRequest(email=address))
    await server.mailed_token(address, 3)
    tokens = tokens_in(server.mails(address)[-1])
    assert len(tokens) == 2
    await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=tokens[1]))
    await server.log_in(address)
    await refused(server.log_in(address, ANOTHER_PASSWORD), *BAD_CREDENTIALS)


async def test_neither_tokens_nor_passwords_lie_in_the_database(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even while a mail waits for a mail server that is down."""
    secrets: list[str] = []

    def fail(mail: Mail) -> None:
        secrets.append(mail.text.split("Token: ")[1].split()[0])
        raise OSError("no mail server")

    monkeypatch.setattr(server.running.parts.mailer, "send", fail)
    await server.auth.SignUp(sign_up_request("quiet@example.com"))

    def everything(_unit: Unit) -> str:
        jobs = Registration._meta.database.execute_sql(
            "SELECT arguments FROM jobs WHERE kind = 'auth.mail'"
        ).fetchall()
        rows = [*Registration.select().dicts(), *VerificationToken.select().dicts()]
        return repr([jobs, rows])

    end = time.monotonic() + 5
    while not secrets:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    text = await in_unit(server, everything)
    assert "sealed" in text
    for secret in (secrets[0], secrets[0].removeprefix("grv_"), "correct horse"):
        assert secret not in text


async def test_resending_answers_alike_and_mails_once_a_minute(server: Greenroom) -> None:
    await server.sign_up("done@example.com")
    await server.auth.SignUp(sign_up_request("waits@example.com"))
    await server.mailed_token("waits@example.com")
    passwords = module_of(server).passwords
    before = passwords.hashes
    replies = set()
    for address in ("done@example.com", "waits@example.com", "unknown@example.com"):
        for _ in range(3):
            request = pb.ResendVerificationRequest(email=address)
            replies.add((await server.auth.ResendVerification(request)).SerializeToString())
    assert replies == {b""} and passwords.hashes == before
    assert await _count(server, VerificationToken) == 2
    resend = pb.ResendVerificationRequest(email="waits@example.com")
    for minute in range(1, 30):
        turn(server, 60)
        await asyncio.gather(*(server.auth.ResendVerification(resend) for _ in range(4)))
        assert await _count(server, VerificationToken) == 2 + min(minute, 4)
    turn(server, 3600)
    await server.auth.ResendVerification(resend)
    await server.mailed_token("waits@example.com", 6)
    assert len(server.mails("done@example.com")) == 1
    assert not server.mails("unknown@example.com")


async def test_at_most_five_mails_an_hour_leave_however_often_somebody_signs_up(
    server: Greenroom,
) -> None:
    for _ in range(8):
        await server.auth.SignUp(sign_up_request("flooded@example.com"))
    assert await _count(server, VerificationToken) == 5
    assert await _count(server, Registration) == 8


async def test_accounts_may_be_active_at_once_and_the_owner_still_wins(
    serve: Callable[..., Any],
) -> None:
    server: Greenroom = await serve(auto_activate=True)
    address = "early@example.com"
    await server.auth.SignUp(sign_up_request(address, "what mallory prepared"))
    mallory = await server.log_in(address, "what mallory prepared")
    me = await get_me(server, mallory.metadata)
    assert me.status == user_pb2.USER_STATUS_ACTIVE and not me.HasField("email_verified_time")
    request = sign_up_request(address, persona=user_pb2.PERSONA_BRAND)
    request.display_name = "The owner"
    await server.auth.SignUp(request)
    token = await server.mailed_token(address, 2)
    await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))
    await refused(server.log_in(address, "what mallory prepared"), *BAD_CREDENTIALS)
    await refused(
        get_me(server, mallory.metadata),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_INVALID",
    )
    owner = await server.log_in(address)
    me = await get_me(server, owner.metadata)
    assert (me.display_name, list(me.roles)) == ("The owner", ["brand"])
    assert me.HasField("email_verified_time")


async def test_an_account_active_at_once_is_verified_by_its_own_token(
    serve: Callable[..., Any],
) -> None:
    server: Greenroom = await serve(auto_activate=True)
    await asyncio.gather(
        *(server.auth.SignUp(sign_up_request("own@example.com")) for _ in range(4))
    )
    assert await _count(server, User) == 1
    session = await server.log_in("own@example.com")
    await server.mailed_token("own@example.com", 4)
    tokens = [tokens_in(mail)[0] for mail in server.mails("own@example.com")]

    def linked(_unit: Unit) -> set[str]:
        rows = VerificationToken.select().join(Registration)
        return {row.token_hash for row in rows.where(Registration.user.is_null(False))}

    hashes = await in_unit(server, linked)
    (own,) = [token for token in tokens if hash_of(token) in hashes]
    await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=own))
    assert (await get_me(server, session.metadata)).HasField("email_verified_time")
    for token in tokens:
        await refused(server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token)), *BAD_TOKEN)

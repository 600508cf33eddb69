"""LogIn: one answer for every way to fail, and a bounded number of tries."""

import asyncio
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import user_pb2
from server.auth.models import Credential, LoginAttempt, Session
from server.auth.passwords import folded
from server.core.unit import Unit
from tests.rpc.auth.scenes import audit_rows, get_me, in_unit, module_of, set_user, turn
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import failure_of, reason_of, refused, retry_after_of

BAD_CREDENTIALS = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
TOO_MANY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS")


def _told(error: aio.AioRpcError) -> tuple[object, ...]:
    """Everything that a client is told, but the request id."""
    return (error.code(), error.details(), reason_of(error), retry_after_of(error))


async def test_a_session_opens_by_each_identifier(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await set_user(
        server,
        ada,
        phone="+4915112345678",
        phone_verified_at=server.clock.now(),
        username="ada",
    )
    turn(server, 60)
    for request in (
        pb.LogInRequest(email=ada.email.upper()),
        pb.LogInRequest(phone="+4915112345678"),
        pb.LogInRequest(username="ADA"),
    ):
        request.password = PASSWORD
        request.device_name = "Ada's\nphone"
        signed_in = (await server.auth.LogIn(request)).signed_in
        session, tokens = signed_in.session, signed_in.tokens
        assert signed_in.user.id == ada.id and session.current
        assert session.device_name == "Ada's phone" and session.ip_address == "127.0.0.1"
        opened = session.create_time.seconds
        assert session.expire_time.seconds == opened + 30 * 86_400
        assert session.absolute_expire_time.seconds == opened + 90 * 86_400
        assert tokens.access_expire_time.seconds == opened + 900
        assert tokens.refresh_expire_time.seconds == session.expire_time.seconds
        me = await get_me(server, (("authorization", f"Bearer {tokens.access_token}"),))
        assert me.last_login_time.seconds == opened


async def test_every_way_to_fail_looks_and_costs_the_same(server: Greenroom) -> None:
    people = {
        status: await server.person(status)
        for status in ("ACTIVE", "PENDING", "SUSPENDED", "BANNED", "DELETED")
    }
    for status, person in people.items():
        await set_user(server, person, status=status)
    tries = [
        pb.LogInRequest(email="nobody@example.com", password=PASSWORD),
        pb.LogInRequest(phone="+4915100000000", password=PASSWORD),
        pb.LogInRequest(username="nobody", password=PASSWORD),
        pb.LogInRequest(email="not an address", password=PASSWORD),
        pb.LogInRequest(email=people["ACTIVE"].email, password="not the password"),
        pb.LogInRequest(email=people["ACTIVE"].email, password="x"),
    ]
    for status, person in people.items():
        if status != "ACTIVE":
            tries.append(pb.LogInRequest(email=person.email, password=PASSWORD))
    passwords = module_of(server).passwords
    told = set()
    for request in tries:
        before = passwords.hashes
        told.add(_told(await failure_of(server.auth.LogIn(request))))
        assert passwords.hashes == before + 1
    assert len(told) == 1
    assert next(iter(told))[0:3:2] == BAD_CREDENTIALS
    failed = [row for row in await audit_rows(server) if row[1] == "BAD_CREDENTIALS"]
    assert failed == [("session.log_in", "BAD_CREDENTIALS")] * len(tries)


async def test_a_suspension_ends_by_itself(server: Greenroom) -> None:
    ada = await server.person("Ada")
    until = server.clock.now().replace(year=2027)
    await set_user(server, ada, status="SUSPENDED", suspended_until=until)
    await refused(server.log_in(ada.email), *BAD_CREDENTIALS)
    turn(server, 366 * 86_400)
    await server.log_in(ada.email)


@pytest.mark.parametrize("known", [True, False])
async def test_two_hundred_parallel_tries_check_five_passwords(
    serve: Callable[..., Any], known: bool
) -> None:
    server: Greenroom = await serve(database_wait_seconds=30, hash_queue=1000)
    address = (await server.person("Ada")).email if known else "nobody@example.com"
    passwords = module_of(server).passwords
    before = passwords.hashes
    errors = await asyncio.gather(
        *(failure_of(server.log_in(address, f"guess {number}")) for number in range(200))
    )
    assert passwords.hashes - before == 5
    reasons = [reason_of(error) for error in errors]
    assert reasons.count(BAD_CREDENTIALS[1]) == 5
    assert reasons.count(TOO_MANY[1]) == 195
    wait = retry_after_of(next(error for error in errors if reason_of(error) == TOO_MANY[1]))
    assert wait == 60
    # The right password has to wait as well, so that a guess cannot be told from its refusal.
    await refused(server.log_in(address), *TOO_MANY)
    rows = [row for row in await audit_rows(server) if row[0] == "session.log_in"]
    assert len(rows) == 201 + known


async def test_known_and_unknown_accounts_are_slowed_down_alike(server: Greenroom) -> None:
    ada = await server.person("Ada")
    stories = []
    for address in (ada.email, "nobody@example.com"):
        told = []
        for _ in range(4):
            for _ in range(7):
                told.append(_told(await failure_of(server.log_in(address, "wrong"))))
            turn(server, 130)
        stories.append(told)
    assert stories[0] == stories[1]


async def test_no_lock_stays_and_a_success_clears_the_count(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for _ in range(3):
        for _ in range(4):
            await refused(server.log_in(ada.email, "wrong"), *BAD_CREDENTIALS)
        await server.log_in(ada.email)
    for _ in range(5):
        await refused(server.log_in(ada.email, "wrong"), *BAD_CREDENTIALS)
    error = await refused(server.log_in(ada.email), *TOO_MANY)
    assert retry_after_of(error) == 60
    turn(server, 59)
    await refused(server.log_in(ada.email), *TOO_MANY)
    turn(server, 1)
    await refused(server.log_in(ada.email, "wrong"), *BAD_CREDENTIALS)
    assert retry_after_of(await refused(server.log_in(ada.email), *TOO_MANY)) == 120
    turn(server, 120)
    await server.log_in(ada.email)
    await server.log_in(ada.email)


async def test_all_identifiers_of_an_account_share_one_count(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await set_user(
        server,
        ada,
        phone="+4915112345678",
        phone_verified_at=server.clock.now(),
        username="ada",
    )
    requests = [
        pb.LogInRequest(email=ada.email, password="wrong"),
        pb.LogInRequest(phone="+4915112345678", password="wrong"),
        pb.LogInRequest(username="ada", password="wrong"),
        pb.LogInRequest(email=ada.email.upper(), password="wrong"),
        pb.LogInRequest(username="Ada", password="wrong"),
    ]
    for request in requests:
        await refused(server.auth.LogIn(request), *BAD_CREDENTIALS)
    for request in requests:
        await refused(server.auth.LogIn(request), *TOO_MANY)


async def test_an_attack_from_elsewhere_does_not_lock_the_owner_out(server: Greenroom) -> None:
    ada = await server.person("Ada")
    elsewhere = (("x-forwarded-for", "203.0.113.7"),)
    wrong = pb.LogInRequest(email=ada.email, password="wrong")
    for _ in range(5):
        await refused(server.auth.LogIn(wrong, metadata=elsewhere), *BAD_CREDENTIALS)
    await refused(server.auth.LogIn(wrong, metadata=elsewhere), *TOO_MANY)
    await server.log_in(ada.email)
    await refused(server.auth.LogIn(wrong, metadata=elsewhere), *TOO_MANY)


async def test_one_address_that_tries_many_accounts_is_slowed_down(server: Greenroom) -> None:
    for number in range(100):
        await failure_of(server.log_in(f"nobody-{number}@example.com", "wrong"))
    await refused(server.log_in("somebody@example.com", "wrong"), *TOO_MANY)
    other = (("x-forwarded-for", "203.0.113.7"),)
    request = pb.LogInRequest(email="somebody@example.com", password="wrong")
    await refused(server.auth.LogIn(request, metadata=other), *BAD_CREDENTIALS)


async def test_the_count_holds_no_identifier(server: Greenroom) -> None:
    await failure_of(server.log_in("nobody@example.com", "wrong"))

    def subjects(_unit: Unit) -> list[str]:
        return [row.subject for row in LoginAttempt.select()]

    for subject in await in_unit(server, subjects):
        assert len(subject) == 64 and "nobody" not in subject


async def test_an_old_cost_is_renewed_at_the_next_log_in(server: Greenroom) -> None:
    ada = await server.person("Ada")
    old = bcrypt.hashpw(folded(PASSWORD), bcrypt.gensalt(5)).decode()

    def age(_unit: Unit) -> None:
        Credential.update(password_hash=old).where(Credential.user == ada.id).execute()

    await in_unit(server, age, write=True)
    await server.log_in(ada.email)
    stored = await in_unit(server, lambda _unit: Credential.get_by_id(ada.id).password_hash)
    assert stored.startswith("$2b$04$")
    await server.log_in(ada.email)


async def test_a_password_changed_while_it_is_checked_opens_nothing(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    passwords = module_of(server).passwords
    check = passwords.check

    async def slow_check(*arguments: Any) -> Any:
        verdict = await check(*arguments)
        changed = Credential.update(password_hash="another").where(Credential.user == ada.id)
        await in_unit(server, lambda _unit: changed.execute(), write=True)
        return verdict

    monkeypatch.setattr(passwords, "check", slow_check)
    await refused(server.log_in(ada.email), *BAD_CREDENTIALS)


async def test_what_is_stored_of_a_session_opens_nothing(server: Greenroom) -> None:
    ada = await server.person("Ada")
    tokens = ada.tokens.tokens

    def stored(_unit: Unit) -> str:
        rows = [*Session.select().dicts(), *Credential.select().dicts()]
        return repr(rows)

    text = await in_unit(server, stored)
    for secret in (PASSWORD, tokens.access_token, tokens.refresh_token):
        assert secret not in text


async def test_fields_are_validated(server: Greenroom) -> None:
    for request in (
        pb.LogInRequest(password=PASSWORD),
        pb.LogInRequest(email="", password=PASSWORD),
        pb.LogInRequest(email="ada@example.com", password=""),
        pb.LogInRequest(email="ada@example.com", password="é" * 513),
        pb.LogInRequest(phone="0151 1234", password=PASSWORD),
        pb.LogInRequest(username="x" * 65, password=PASSWORD),
        pb.LogInRequest(email="a@b.c", password=PASSWORD, device_name="x" * 101),
    ):
        await refused(
            server.auth.LogIn(request),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )
    assert module_of(server).passwords.hashes == 0


async def test_the_user_of_the_reply_is_whole(server: Greenroom) -> None:
    ada = await server.person("Ada")
    me = await get_me(server, ada.metadata)
    assert me == ada.tokens.user
    assert me.status == user_pb2.USER_STATUS_ACTIVE and list(me.roles) == ["creator"]

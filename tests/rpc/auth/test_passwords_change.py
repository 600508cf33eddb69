"""ChangePassword, and hashes of older systems on the way in."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest
from grpc import StatusCode

from greenroom.auth.v1 import password_service_pb2 as pb
from server.auth.legacy_hashes import salted
from server.auth.models import Credential
from server.auth.passwords import ALGORITHM
from server.core.unit import Unit
from tests.rpc.auth.scenes import (
    ANOTHER_PASSWORD,
    audit_rows,
    get_me,
    in_unit,
    mail_number,
    module_of,
    refresh,
    tokens_in,
    turn,
)
from tests.rpc.auth.test_passwords_reset import INVALID, TOO_WEAK, reset, token_for
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import code_of, failure_of, reason_of, refused, retry_after_of

REJECTED = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_PROOF_REJECTED")
TOO_MANY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS")


async def change(
    server: Greenroom, who: Person, old: str = PASSWORD, new: str = ANOTHER_PASSWORD
) -> None:
    request = pb.ChangePasswordRequest(old_password=old, new_password=new)
    await server.passwords.ChangePassword(request, metadata=who.metadata)


async def store(server: Greenroom, who: Person, password_hash: str, algorithm: str) -> None:
    """Gives somebody the hash of an older system."""

    def write(_unit: Unit) -> None:
        Credential.update(password_hash=password_hash, algorithm=algorithm).where(
            Credential.user == who.id
        ).execute()

    await in_unit(server, write, write=True)


async def stored(server: Greenroom, who: Person) -> tuple[str, str]:
    def read(_unit: Unit) -> tuple[str, str]:
        row = Credential.get(Credential.user == who.id)
        return row.algorithm, row.password_hash

    return await in_unit(server, read)


async def test_the_other_sessions_end_and_this_one_goes_on(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    eve = await server.person("Eve")
    await change(server, ada)
    await get_me(server, ada.metadata)
    await refresh(server, ada.tokens.tokens.refresh_token)
    await get_me(server, eve.metadata)
    assert await code_of(get_me(server, other.metadata)) is StatusCode.UNAUTHENTICATED
    assert await code_of(refresh(server, other.tokens.tokens.refresh_token)) is (
        StatusCode.UNAUTHENTICATED
    )
    assert await code_of(server.log_in(ada.email)) is StatusCode.UNAUTHENTICATED
    await server.log_in(ada.email, ANOTHER_PASSWORD)
    told = await mail_number(server, ada.email, 2)
    assert told["Subject"] == "Your password was changed"
    rows = [row for row in await audit_rows(server) if row[0] == "password.change"]
    assert rows == [("password.change", "OK")]


async def test_a_wrong_old_password_changes_nothing_and_counts_with_those_of_log_in(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    for _ in range(2):
        await refused(change(server, ada, "wrong"), *REJECTED)
        await failure_of(server.log_in(ada.email, "wrong"))
    await refused(change(server, ada, "wrong"), *REJECTED)
    assert retry_after_of(await refused(change(server, ada), *TOO_MANY)) == 60
    turn(server, 60)
    await change(server, ada)
    rows = [row[1] for row in await audit_rows(server) if row[0] == "password.change"]
    assert rows == [*["BAD_CREDENTIALS"] * 3, "TOO_MANY_ATTEMPTS", "OK"]
    assert len(server.mails(ada.email)) <= 2


async def test_of_five_hundred_parallel_guesses_five_are_looked_at(
    serve: Callable[..., Any],
) -> None:
    server: Greenroom = await serve(database_wait_seconds=60, hash_queue=10_000)
    ada = await server.person("Ada")
    before = module_of(server).passwords.hashes
    errors = await asyncio.gather(*(failure_of(change(server, ada, "wrong")) for _ in range(500)))
    reasons = [reason_of(error) for error in errors]
    assert (reasons.count(REJECTED[1]), reasons.count(TOO_MANY[1])) == (5, 495)
    assert module_of(server).passwords.hashes == before + 5


async def test_a_weak_new_password_is_no_try(server: Greenroom) -> None:
    ada = await server.person("Ada")
    before = module_of(server).passwords.hashes
    for weak in ("password", "12345678", ada.email) * 3:
        await refused(change(server, ada, PASSWORD, weak), *TOO_WEAK)
        await refused(change(server, ada, "wrong", weak), *TOO_WEAK)
    assert module_of(server).passwords.hashes == before
    await change(server, ada)


async def test_an_account_without_a_password_has_nothing_to_change(server: Greenroom) -> None:
    ada = await server.person("Ada")

    def drop(_unit: Unit) -> None:
        Credential.delete().where(Credential.user == ada.id).execute()

    await in_unit(server, drop, write=True)
    before = module_of(server).passwords.hashes
    await refused(change(server, ada), *REJECTED)
    assert module_of(server).passwords.hashes == before + 1


async def test_tokens_of_resets_are_void_afterwards(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    await change(server, ada)
    await refused(reset(server, token, PASSWORD), *INVALID)


async def test_of_two_changes_at_once_one_wins(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve(database_wait_seconds=60)
    ada = await server.person("Ada")
    words = [f"{ANOTHER_PASSWORD} {number}" for number in range(4)]
    codes = await asyncio.gather(*(code_of(change(server, ada, new=word)) for word in words))
    assert codes.count(StatusCode.OK) == 1
    await server.log_in(ada.email, words[codes.index(StatusCode.OK)])


async def test_nobody_else_and_nothing_malformed(server: Greenroom) -> None:
    request = pb.ChangePasswordRequest(old_password=PASSWORD, new_password=ANOTHER_PASSWORD)
    await refused(
        server.passwords.ChangePassword(request),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_MISSING",
    )
    ada = await server.person("Ada")
    before = module_of(server).passwords.hashes
    field = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")
    for old, new in (("", "x" * 20), ("é" * 513, "x" * 20), ("x", "short"), ("x", "é" * 513)):
        await refused(change(server, ada, old, new), *field)
    assert module_of(server).passwords.hashes == before


@pytest.mark.parametrize("length", [64, 1024])
async def test_long_passwords_are_taken_whole(server: Greenroom, length: int) -> None:
    ada = await server.person("Ada")
    long = ("several words of it, " * 50)[:length]
    await change(server, ada, new=long)
    await server.log_in(ada.email, long)
    assert await code_of(server.log_in(ada.email, long[:-1])) is StatusCode.UNAUTHENTICATED


LEGACY = {
    "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    "sha256-salt-password": salted("s", hashlib.sha256(f"s{PASSWORD}".encode()).hexdigest()),
    "sha512-salt-password": salted("s", hashlib.sha512(f"s{PASSWORD}".encode()).hexdigest()),
    "pbkdf2-sha256": salted(
        "s", hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"s", 1000).hex(), 1000
    ),
}


@pytest.mark.parametrize("algorithm", LEGACY)
async def test_a_legacy_hash_opens_once_and_is_replaced(server: Greenroom, algorithm: str) -> None:
    ada = await server.person("Ada")
    await store(server, ada, LEGACY[algorithm], algorithm)
    assert await code_of(server.log_in(ada.email, "wrong")) is StatusCode.UNAUTHENTICATED
    assert await stored(server, ada) == (algorithm, LEGACY[algorithm])
    await server.log_in(ada.email)
    fresh = await stored(server, ada)
    assert fresh[0] == ALGORITHM and fresh[1] != LEGACY[algorithm]
    await server.log_in(ada.email)
    assert await stored(server, ada) == fresh


@pytest.mark.parametrize("algorithm", LEGACY)
async def test_a_wrong_password_costs_one_hash_with_a_legacy_account_too(
    server: Greenroom, algorithm: str
) -> None:
    ada = await server.person("Ada")
    await store(server, ada, LEGACY[algorithm], algorithm)
    passwords = module_of(server).passwords
    before = passwords.hashes
    known = await failure_of(server.log_in(ada.email, "wrong"))
    middle = passwords.hashes
    unknown = await failure_of(server.log_in("nobody@example.com", "wrong"))
    assert (middle - before, passwords.hashes - middle) == (1, 1)
    assert (known.code(), known.details()) == (unknown.code(), unknown.details())


async def test_a_legacy_password_can_be_changed(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await store(server, ada, LEGACY["bcrypt"], "bcrypt")
    await change(server, ada)
    assert (await stored(server, ada))[0] == ALGORITHM
    await server.log_in(ada.email, ANOTHER_PASSWORD)
    assert tokens_in(await mail_number(server, ada.email, 2)) == []

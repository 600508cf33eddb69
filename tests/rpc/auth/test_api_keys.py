"""CreateApiKey, ListApiKeys, RevokeApiKey: what a key permits, and until when."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import api_key_service_pb2 as pb
from server.auth.issuing import hash_of
from server.auth.models import ApiKey, Role, User, UserRole
from server.auth.usecases import api_keys as subject
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.keys import (
    BEYOND,
    EXPIRY,
    KEY_NOT_FOUND,
    TOO_MANY,
    WEB_STORAGE,
    Metadata,
    audited,
    create_key,
    find_by_email,
    list_keys,
    revoke_key,
    validate,
)
from tests.rpc.auth.scenes import audit_rows, bearer, get_me, in_unit, module_of, turn
from tests.rpc.auth.staff import (
    DAY,
    DENIED,
    INVALID,
    MISSING,
    REVOKED,
    STEP_UP,
    ban,
    delete,
    later,
    member_of_staff,
    reinstate,
    set_roles,
    suspend,
    undelete,
)
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused


async def _use(server: Greenroom, key: Metadata) -> None:
    """A call that only a key with the scope may make."""
    await find_by_email(server, key, "nobody@example.com")


async def _owner(server: Greenroom) -> tuple[Person, Person, str, Metadata]:
    """Two super_admins, and the id and the metadata of a key of the second's that was used."""
    boss = await member_of_staff(server, "super_admin", "Boss")
    owner = await member_of_staff(server, "super_admin", "Owner")
    made = await create_key(server, owner, WEB_STORAGE)
    key = bearer(made.key)
    await _use(server, key)
    return boss, owner, made.api_key.id, key


async def test_a_key_is_shown_once_and_opens_what_its_scopes_say(server: Greenroom) -> None:
    owner = await member_of_staff(server, "super_admin")
    made = await create_key(server, owner, WEB_STORAGE, "auth.users.read", name=" Web\tsite ")
    key = made.api_key
    assert made.key.startswith("grk_") and len(made.key) == 64
    assert key.prefix == made.key[:20] and key.name == "Web site"
    assert list(key.scopes) == ["auth.users.read", WEB_STORAGE] and key.user_id == owner.id
    assert not key.HasField("last_used_time") and not key.HasField("revoke_time")
    life = key.expire_time.seconds - key.create_time.seconds
    assert life == 90 * DAY
    await _use(server, bearer(made.key))
    (listed,) = (await list_keys(server, owner)).api_keys
    assert listed == key
    row = await in_unit(server, lambda _unit: ApiKey.get_by_id(key.id))
    assert row.key_hash == hash_of(made.key) and made.key not in repr(row.__data__)
    assert [row.resource for row in await audited(server, "api_key.create")] == [
        f"apiKeys/{key.id}"
    ]


async def test_a_service_calls_what_lets_services_in_and_nothing_else(server: Greenroom) -> None:
    owner = await member_of_staff(server, "super_admin")
    key = bearer((await create_key(server, owner, WEB_STORAGE, "auth.users.read")).key)
    service = Person(owner.id, owner.email, owner.tokens, key)
    await refused(get_me(server, key), *DENIED)
    await refused(create_key(server, service), *DENIED)
    await refused(list_keys(server, service), *DENIED)
    await refused(revoke_key(server, service, new_id()), *DENIED)
    bare = bearer((await create_key(server, owner)).key)
    await refused(_use(server, bare), *DENIED)
    await refused(_use(server, owner.metadata), *DENIED)
    await refused(_use(server, ()), *MISSING)


async def test_a_key_never_has_more_than_its_creator(server: Greenroom) -> None:
    ada = await server.person("Ada")
    admin = await member_of_staff(server, "admin")
    for person, scope in ((ada, WEB_STORAGE), (ada, "auth.users.read"), (admin, WEB_STORAGE)):
        await refused(create_key(server, person, scope), *BEYOND)
    await refused(create_key(server, admin, "auth.users.read", "no.such.permission"), *BEYOND)
    assert (await create_key(server, admin, "auth.users.read")).api_key.scopes
    own = await create_key(server, ada)
    reply = await validate(server, bearer(own.key), own.key)
    assert reply.active and reply.user_id == ada.id and not reply.permissions
    for wrong in ("*", "auth", "Auth.users.read", "auth..read", "auth.users.read "):
        await refused(create_key(server, admin, wrong), *INVALID)
    await refused(create_key(server, admin, "auth.users.read", "auth.users.read"), *INVALID)
    await refused(create_key(server, admin, name=""), *INVALID)


async def test_who_may_not_make_a_key(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(server.api_keys.CreateApiKey(pb.CreateApiKeyRequest(name="x")), *MISSING)
    await server.stale(ada)
    await refused(create_key(server, ada), *STEP_UP)
    assert not await audited(server, "api_key.create")


async def test_a_key_ends_within_a_year(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for seconds in (0, -1, 366 * DAY + 1):
        await refused(create_key(server, ada, expire_time=later(server, seconds)), *EXPIRY)
    for seconds in (1, 366 * DAY):
        await create_key(server, ada, expire_time=later(server, seconds))


async def test_an_expired_key_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    made = await create_key(server, ada, expire_time=later(server, 60))
    key = bearer(made.key)
    assert (await validate(server, key, made.key)).active
    turn(server, 59)
    assert (await validate(server, key, made.key)).active
    turn(server, 1)
    await refused(validate(server, key, made.key), *REVOKED)
    await refused(validate(server, key, made.key), *REVOKED)


async def test_there_are_only_so_many(server: Greenroom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_API_KEYS", 3)
    ada = await server.person("Ada")
    made = [await create_key(server, ada) for _ in range(2)]
    outcomes = await asyncio.gather(*(code_of(create_key(server, ada)) for _ in range(8)))
    assert outcomes.count(StatusCode.OK) == 1
    assert outcomes.count(StatusCode.FAILED_PRECONDITION) == 7
    await refused(create_key(server, ada), *TOO_MANY)
    await revoke_key(server, ada, made[0].api_key.id)
    await create_key(server, ada)


async def test_a_revoked_key_is_refused_from_the_reply_on(server: Greenroom) -> None:
    owner = await member_of_staff(server, "super_admin")
    for _ in range(10):
        made = await create_key(server, owner, WEB_STORAGE)
        await _use(server, bearer(made.key))
        revoked = await revoke_key(server, owner, made.api_key.id)
        assert revoked.HasField("revoke_time")
        await refused(_use(server, bearer(made.key)), *REVOKED)
    again = await revoke_key(server, owner, made.api_key.id)
    assert again.revoke_time == revoked.revoke_time
    assert len(await audited(server, "api_key.revoke")) == 10


async def test_who_ends_whose_keys(server: Greenroom) -> None:
    ada, mallory = await server.person("Ada"), await server.person("Mallory")
    admin = await member_of_staff(server, "admin")
    made = await create_key(server, ada)
    foreign = await refused(revoke_key(server, mallory, made.api_key.id), *KEY_NOT_FOUND)
    absent = await refused(revoke_key(server, mallory, new_id()), *KEY_NOT_FOUND)
    assert foreign.details() == absent.details()
    assert (await validate(server, bearer(made.key), made.key)).active
    await refused(revoke_key(server, mallory, "x"), *INVALID)
    await revoke_key(server, admin, made.api_key.id)
    await refused(validate(server, bearer(made.key), made.key), *REVOKED)


async def test_who_sees_whose_keys(server: Greenroom) -> None:
    ada, mallory = await server.person("Ada"), await server.person("Mallory")
    agent = await member_of_staff(server, "agent")
    admin = await member_of_staff(server, "admin")
    made = [(await create_key(server, ada, name=str(number))).api_key for number in range(5)]
    newest_first = [key.id for key in reversed(made)]
    found: list[str] = []
    token = ""
    while True:
        page = await list_keys(server, ada, page_size=2, page_token=token)
        found += [key.id for key in page.api_keys]
        token = page.next_page_token
        if not token:
            break
    assert found == newest_first
    by_admin = await list_keys(server, admin, user_id=ada.id)
    assert [key.id for key in by_admin.api_keys] == newest_first
    for person in (mallory, agent):
        assert not (await list_keys(server, person, user_id=ada.id)).api_keys
    first = (await list_keys(server, ada, page_size=2)).next_page_token
    for person, query in ((mallory, {}), (admin, {"user_id": ada.id})):
        await refused(
            list_keys(server, person, page_size=2, page_token=first, **query),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN",
        )
    await refused(list_keys(server, ada, user_id="x"), *INVALID)


@pytest.mark.parametrize("change", [suspend, ban, delete])
async def test_a_locked_owner_takes_the_key_along(server: Greenroom, change: Any) -> None:
    boss, owner, _, key = await _owner(server)
    await change(server, boss, owner.id)
    await refused(_use(server, key), *REVOKED)
    await (undelete if change is delete else reinstate)(server, boss, owner.id)
    await _use(server, key)


async def test_a_demoted_owner_takes_the_scopes_along(server: Greenroom) -> None:
    boss, owner, key_id, key = await _owner(server)
    await set_roles(server, boss, owner.id, "admin")
    await refused(_use(server, key), *DENIED)
    (listed,) = (await list_keys(server, boss, user_id=owner.id)).api_keys
    assert listed.id == key_id and list(listed.scopes) == [WEB_STORAGE]
    await set_roles(server, boss, owner.id, "super_admin")
    await _use(server, key)


def _revoked_elsewhere(unit: Unit, key_id: str, _owner_id: str) -> None:
    ApiKey.update(revoked_at=unit.now).where(ApiKey.id == key_id).execute()


def _banned_elsewhere(unit: Unit, _key_id: str, owner_id: str) -> None:
    User.update(status="BANNED", update_time=unit.now).where(User.id == owner_id).execute()


def _demoted_elsewhere(unit: Unit, _key_id: str, owner_id: str) -> None:
    role = Role.get(Role.name == "super_admin")
    UserRole.delete().where((UserRole.user == owner_id) & (UserRole.role == role.id)).execute()
    User.update(update_time=unit.now).where(User.id == owner_id).execute()


@pytest.mark.parametrize("change", [_revoked_elsewhere, _banned_elsewhere, _demoted_elsewhere])
async def test_what_another_process_changed_bites_within_a_second(
    server: Greenroom, change: Callable[[Unit, str, str], None]
) -> None:
    _, owner, key_id, key = await _owner(server)
    # What is new by now, such as the owner, is found by this look and not by the ones to come.
    await module_of(server).authenticator.look()
    await _use(server, key)
    turn(server, 1)
    await in_unit(server, lambda unit: change(unit, key_id, owner.id), write=True)
    began = time.monotonic()
    while await code_of(_use(server, key)) is StatusCode.OK:
        assert time.monotonic() - began < 1, "still let in after a second"
        await asyncio.sleep(0.02)


async def test_the_last_use_is_written_once_a_minute(server: Greenroom) -> None:
    _, owner, key_id, key = await _owner(server)
    authenticator = module_of(server).authenticator
    await authenticator.write_activity()
    (first,) = (await list_keys(server, owner)).api_keys
    assert first.HasField("last_used_time") and first.last_used_time.seconds % 60 == 0
    for _ in range(50):
        await _use(server, key)
    assert (await list_keys(server, owner)).api_keys[0] == first
    turn(server, 60)
    await _use(server, key)
    await authenticator.write_activity()
    (second,) = (await list_keys(server, owner)).api_keys
    assert second.last_used_time.seconds == first.last_used_time.seconds + 60
    turn(server, 60)
    await authenticator.write_activity()
    assert (await list_keys(server, owner)).api_keys[0] == second
    assert second.id == key_id


async def test_forged_keys(server: Greenroom) -> None:
    """Truncated, lengthened, with another public part, with one character changed, and what only
    looks like a key: none is let in, and none is remembered."""
    ada, bob = await server.person("Ada"), await server.person("Bob")
    key = (await create_key(server, ada)).key
    other = (await create_key(server, bob)).key
    assert (await validate(server, bearer(key), key)).active
    forged = {key[:length] for length in range(4, 64)}
    forged |= {key + "A", key + "=", key[:20] + other[20:], other[:20] + key[20:], key.upper()}
    for place in range(4, 64):
        for sign in "0A_":
            forged.add(key[:place] + sign + key[place + 1 :])
    forged |= {"grk_", "grk_" + "0" * 16 + "_" + "A" * 43, "grk_" + "é" * 60, key.replace("_", "-")}
    forged |= {hash_of(key), "grk_" + hash_of(key)}
    forged.discard(key)
    assert len(forged) >= 200
    for wrong in sorted(forged):
        if wrong.isascii():
            error = await code_of(validate(server, bearer(wrong), key))
            assert error is StatusCode.UNAUTHENTICATED, wrong
        assert not (await validate(server, bearer(key), wrong)).active, wrong
    authenticator = module_of(server).authenticator
    assert not forged & set(authenticator._callers)
    for scheme in ("Basic ", "Digest ", ""):
        metadata = (("authorization", scheme + key),)
        await refused(validate(server, metadata, key), *MISSING)


async def test_an_unknown_key_costs_what_a_wrong_one_costs(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same questions to the database, and one comparison in constant time."""
    ada = await server.person("Ada")
    key = (await create_key(server, ada)).key
    compared: list[int] = []
    genuine = subject.hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append(len(one) + len(other))
        return genuine(one, other)

    monkeypatch.setattr(subject.hmac, "compare_digest", counting)
    counts = []
    for wrong in (
        key[:-1] + ("A" if key[-1] != "A" else "E"),
        "grk_" + "0" * 16 + key[20:],
        "grk_x",
    ):
        del compared[:]
        await refused(validate(server, bearer(wrong), key), *REVOKED)
        counts.append(list(compared))
    assert counts == [[128]] * 3


async def test_no_key_is_in_the_audit_log(server: Greenroom) -> None:
    ada = await server.person("Ada")
    key = (await create_key(server, ada)).key
    assert ("api_key.create", "OK") in await audit_rows(server)
    for row in await audited(server, "api_key.create"):
        assert key not in repr(row.__data__) and key[21:] not in repr(row.__data__)

"""The accounts, sessions, verification tokens and authenticators of a web framework."""

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from greenroom.auth.v1 import session_service_pb2
from greenroom.auth.v1 import web_account_service_pb2 as account_pb
from greenroom.auth.v1 import web_authenticator_service_pb2 as authenticator_pb
from greenroom.auth.v1 import web_session_service_pb2 as session_pb
from greenroom.auth.v1 import web_verification_service_pb2 as verification_pb
from server.auth.issuing import hash_of
from server.auth.models import Identity, Session, VerificationToken
from server.core.ids import new_id
from tests.rpc.auth.keys import (
    PROTECTED,
    SESSION_EXISTS,
    TAKEN,
    WEB_STORAGE,
    Metadata,
    audited,
    create_web_user,
    delete_session,
    find_account,
    find_session,
    link,
    open_session,
    service,
    unlink,
)
from tests.rpc.auth.scenes import in_unit, module_of, set_user, turn
from tests.rpc.auth.staff import (
    DENIED,
    INVALID,
    MISSING,
    NOT_FOUND,
    STATUS,
    ban,
    later,
    member_of_staff,
    reinstate,
    suspend,
)
from tests.support.serve import Greenroom
from tests.support.statuses import code_of, refused

TOKEN = "6f9b2e0c-52d1-4f1a-8d35-0f5ad0b1f7f2"
SECRETS = {
    "refresh_token": "1//refresh",
    "access_token": "ya29.access",
    "id_token": "e30.e30.sig",
    "oauth_token": "oauth1-token",
    "oauth_token_secret": "oauth1-secret",
}


@pytest.fixture
async def web(server: Greenroom) -> Metadata:
    """The key of a web framework."""
    return await service(server, WEB_STORAGE)


@pytest.fixture
async def user_id(server: Greenroom, web: Metadata) -> str:
    """A user of it."""
    return (await create_web_user(server, web, "one@example.com")).id


# Accounts.


async def test_every_column_of_an_account_comes_back(
    server: Greenroom, web: Metadata, user_id: str
) -> None:
    account = account_pb.WebAccount(
        user_id=user_id,
        type="oidc",
        provider="acme",
        provider_account_id="4711",
        access_expire_time=Timestamp(seconds=1_800_000_000),
        token_type="bearer",
        scope="openid email",
        session_state="state",
        **SECRETS,
    )
    request = account_pb.LinkWebAccountRequest(account=account)
    await server.web_accounts.LinkWebAccount(request, metadata=web)
    assert await find_account(server, web) == account
    row = await in_unit(server, lambda _unit: Identity.get(Identity.user == user_id))
    assert not [secret for secret in SECRETS.values() if secret in repr(row.__data__)]
    # Linked again it has just the new tokens.
    await link(server, web, user_id, access_token="new")
    renewed = await find_account(server, web)
    assert renewed and renewed.access_token == "new" and not renewed.refresh_token
    assert await unlink(server, web) and not await unlink(server, web)
    assert await find_account(server, web) is None
    for action, count in (("identity.link", 2), ("identity.unlink", 1), ("web_account.read", 3)):
        rows = await audited(server, action)
        assert len(rows) == count and not [r for r in rows if "ya29" in repr(r.__data__)]


async def test_an_account_belongs_to_one_user(
    server: Greenroom, web: Metadata, user_id: str
) -> None:
    other = (await create_web_user(server, web, "two@example.com")).id
    await link(server, web, user_id)
    await refused(link(server, web, other), *TAKEN)
    await refused(link(server, web, new_id(), account_id="x"), *NOT_FOUND)
    codes = await asyncio.gather(
        *(code_of(link(server, web, each, account_id="y")) for each in (user_id, other) * 8)
    )
    assert codes.count(StatusCode.OK) == codes.count(StatusCode.ALREADY_EXISTS) == 8


async def test_who_may_not_be_linked(server: Greenroom, web: Metadata, user_id: str) -> None:
    admin = await member_of_staff(server, "admin")
    await refused(link(server, web, admin.id), *PROTECTED)
    await ban(server, admin, user_id)
    await refused(link(server, web, user_id), *STATUS)
    await refused(link(server, web, user_id, provider=""), *INVALID)
    await refused(link(server, (), user_id), *MISSING)
    await refused(link(server, admin.metadata, user_id), *DENIED)


# Sessions.


async def test_a_session_is_kept_under_the_callers_token(
    server: Greenroom, web: Metadata, user_id: str
) -> None:
    session = await open_session(server, web, user_id, TOKEN)
    found = await find_session(server, web, TOKEN)
    assert found and found.session == session and found.user.id == user_id
    assert await find_session(server, web, TOKEN[:-1]) is None
    row = await in_unit(server, lambda _unit: Session.get_by_id(session.id))
    assert row.session_token_hash == hash_of(TOKEN) and TOKEN not in repr(row.__data__)
    assert row.refresh_token_family is None and row.privileged_until is None
    assert await delete_session(server, web, TOKEN)
    assert await find_session(server, web, TOKEN) is None
    assert not await delete_session(server, web, TOKEN)
    assert [row.actor_id for row in await audited(server, "session.log_out")] == [user_id]


async def _set_expiry(
    server: Greenroom, web: Metadata, token: str, end: Timestamp
) -> session_pb.WebSession | None:
    request = session_pb.SetWebSessionExpiryRequest(session_token=token, expire_time=end)
    reply = await server.web_sessions.SetWebSessionExpiry(request, metadata=web)
    return reply.session if reply.HasField("session") else None


async def test_the_end_moves_to_the_millisecond(
    server: Greenroom, web: Metadata, user_id: str
) -> None:
    await open_session(server, web, user_id, TOKEN)
    for seconds in (7 * 86_400.001, 60.123, 86_400.999):
        end = later(server, seconds)
        moved = await _set_expiry(server, web, TOKEN, end)
        found = await find_session(server, web, TOKEN)
        assert moved and found and moved.expire_time == found.session.expire_time == end
    turn(server, 86_400.998)
    assert await find_session(server, web, TOKEN)
    turn(server, 0.001)
    assert await find_session(server, web, TOKEN) is None
    assert await _set_expiry(server, web, TOKEN, later(server, 60)) is None
    assert await _set_expiry(server, web, "unknown", later(server, 60)) is None


async def test_no_session_outlives_the_longest_life(server: Greenroom) -> None:
    longest = server.settings.session_absolute_days * 86_400
    web = await service(server, WEB_STORAGE, life=longest + 60)
    user_id = (await create_web_user(server, web, "one@example.com")).id
    session = await open_session(server, web, user_id, TOKEN, longest * 2)
    assert session.expire_time == later(server, longest)
    turn(server, longest - 1)
    moved = await _set_expiry(server, web, TOKEN, later(server, 86_400))
    assert moved and moved.expire_time == later(server, 1)
    turn(server, 1)
    assert await find_session(server, web, TOKEN) is None


async def test_a_token_is_one_sessions(server: Greenroom, web: Metadata, user_id: str) -> None:
    other = (await create_web_user(server, web, "two@example.com")).id
    session = await open_session(server, web, user_id, TOKEN)
    again = await open_session(server, web, user_id, TOKEN, 60)
    assert again.id == session.id and again.expire_time == later(server, 60)
    await refused(open_session(server, web, other, TOKEN), *SESSION_EXISTS)
    assert await delete_session(server, web, TOKEN)
    await refused(open_session(server, web, user_id, TOKEN), *SESSION_EXISTS)
    ids = await asyncio.gather(*(open_session(server, web, other, "o" * 32) for _ in range(16)))
    assert len({session.id for session in ids}) == 1
    await refused(open_session(server, web, user_id, "s" * 31), *INVALID)
    await refused(open_session(server, web, new_id(), "n" * 32), *NOT_FOUND)


@pytest.mark.parametrize("lock", [suspend, ban])
async def test_a_locked_user_has_no_session(
    server: Greenroom, web: Metadata, user_id: str, lock: Any
) -> None:
    admin = await member_of_staff(server, "admin")
    await open_session(server, web, user_id, TOKEN)
    await lock(server, admin, user_id)
    assert await find_session(server, web, TOKEN) is None
    await refused(open_session(server, web, user_id, "t" * 32), *STATUS)
    await reinstate(server, admin, user_id)
    assert await find_session(server, web, TOKEN) is None
    assert await open_session(server, web, user_id, "t" * 32)


async def test_a_session_is_as_good_as_its_user(server: Greenroom, web: Metadata) -> None:
    """Also while the session itself is still open, as in the moment of a lock."""
    ada = await server.person("Ada")
    await open_session(server, web, ada.id, TOKEN)
    for status in ("BANNED", "SUSPENDED", "DELETED", "PENDING"):
        await set_user(server, ada, status=status)
        assert await find_session(server, web, TOKEN) is None
    await set_user(server, ada, status="ACTIVE")
    assert await find_session(server, web, TOKEN)


async def test_the_user_sees_the_session_and_ends_it(server: Greenroom, web: Metadata) -> None:
    ada = await server.person("Ada")
    session = await open_session(server, web, ada.id, TOKEN)
    turn(server, 120)
    await find_session(server, web, TOKEN)
    await module_of(server).authenticator.write_activity()
    listed = await server.sessions.ListSessions(
        session_service_pb2.ListSessionsRequest(), metadata=ada.metadata
    )
    (shown,) = [each for each in listed.sessions if each.id == session.id]
    assert shown.last_active_time.seconds - shown.create_time.seconds >= 60
    request = session_service_pb2.RevokeSessionRequest(session_id=session.id)
    await server.sessions.RevokeSession(request, metadata=ada.metadata)
    assert await find_session(server, web, TOKEN) is None


# Verification tokens.


async def _keep(
    server: Greenroom, web: Metadata, identifier: str, token: str, seconds: float = 3600
) -> None:
    request = verification_pb.CreateWebVerificationTokenRequest(
        identifier=identifier, token=token, expire_time=later(server, seconds)
    )
    await server.web_verification.CreateWebVerificationToken(request, metadata=web)


async def _use(server: Greenroom, web: Metadata, identifier: str, token: str) -> Timestamp | None:
    request = verification_pb.UseWebVerificationTokenRequest(identifier=identifier, token=token)
    reply = await server.web_verification.UseWebVerificationToken(request, metadata=web)
    return reply.expire_time if reply.HasField("expire_time") else None


async def test_a_verification_token_is_used_once(server: Greenroom, web: Metadata) -> None:
    await _keep(server, web, "One@example.com", TOKEN)
    assert await _use(server, web, "One@example.com", TOKEN[:-1]) is None
    assert await _use(server, web, "two@example.com", TOKEN) is None
    rows = await in_unit(server, lambda _unit: list(VerificationToken.select()))
    assert not [row for row in rows if TOKEN in repr(row.__data__)]
    assert await _use(server, web, "One@example.com", TOKEN) == later(server, 3600)
    assert await _use(server, web, "One@example.com", TOKEN) is None
    results = [row.result for row in await audited(server, "web_verification_token.use")]
    assert results == ["REFUSED", "REFUSED", "OK", "REFUSED"]


async def test_of_32_parallel_callers_one_gets_it(server: Greenroom, web: Metadata) -> None:
    for number in range(5):
        token = f"{number}{TOKEN}"
        await _keep(server, web, "one@example.com", token)
        used = await asyncio.gather(
            *(_use(server, web, "one@example.com", token) for _ in range(32))
        )
        assert len([end for end in used if end is not None]) == 1


async def test_two_people_may_have_the_same_code(server: Greenroom, web: Metadata) -> None:
    for name in ("one", "two"):
        await _keep(server, web, name, TOKEN)
    await _keep(server, web, "one", TOKEN, 60)
    assert await _use(server, web, "one", TOKEN) == later(server, 60)
    assert await _use(server, web, "two", TOKEN)
    await _keep(server, web, "one", TOKEN)
    turn(server, 3600)
    assert await _use(server, web, "one", TOKEN) is None
    await refused(_keep(server, web, "one", "x" * 15), *INVALID)


async def test_tokens_of_other_mails_are_none_of_these(server: Greenroom, web: Metadata) -> None:
    ada = await server.person("Ada")
    mailed = await server.mailed_token(ada.email)
    assert await _use(server, web, ada.email, mailed) is None


# Authenticators.


def _authenticator(user_id: str, **values: Any) -> authenticator_pb.WebAuthenticator:
    given = {
        "credential_id": "Y3JlZA==",
        "user_id": user_id,
        "provider_account_id": "Y3JlZA==",
        "credential_public_key": "cHVibGlj",
        "counter": 3,
        "credential_device_type": "multiDevice",
        "credential_backed_up": True,
        "transports": "usb,nfc",
        **values,
    }
    return authenticator_pb.WebAuthenticator(**given)


async def _add(
    server: Greenroom, web: Metadata, wanted: authenticator_pb.WebAuthenticator
) -> authenticator_pb.WebAuthenticator:
    request = authenticator_pb.CreateWebAuthenticatorRequest(authenticator=wanted)
    reply = await server.web_authenticators.CreateWebAuthenticator(request, metadata=web)
    return reply.authenticator


async def _set_counter(server: Greenroom, web: Metadata, counter: int) -> int:
    request = authenticator_pb.SetWebAuthenticatorCounterRequest(
        credential_id="Y3JlZA==", counter=counter
    )
    reply = await server.web_authenticators.SetWebAuthenticatorCounter(request, metadata=web)
    return reply.authenticator.counter if reply.HasField("authenticator") else -1


async def test_authenticators(server: Greenroom, web: Metadata, user_id: str) -> None:
    wanted = _authenticator(user_id)
    find = authenticator_pb.FindWebAuthenticatorRequest(credential_id=wanted.credential_id)
    absent = await server.web_authenticators.FindWebAuthenticator(find, metadata=web)
    assert not absent.HasField("authenticator") and await _set_counter(server, web, 4) == -1
    assert await _add(server, web, wanted) == wanted
    found = await server.web_authenticators.FindWebAuthenticator(find, metadata=web)
    assert found.authenticator == wanted
    assert await _set_counter(server, web, 4_294_967_295) == 4_294_967_295
    assert await _set_counter(server, web, 5) == 4_294_967_295
    more = [_authenticator(user_id, credential_id=f"more-{number}") for number in range(4)]
    for each in more:
        await _add(server, web, each)
    listed: list[str] = []
    request = authenticator_pb.ListWebAuthenticatorsRequest(user_id=user_id, page_size=2)
    while True:
        page = await server.web_authenticators.ListWebAuthenticators(request, metadata=web)
        listed += [each.credential_id for each in page.authenticators]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert listed == [wanted.credential_id, *(each.credential_id for each in more)]


async def test_a_credential_is_registered_once(
    server: Greenroom, web: Metadata, user_id: str
) -> None:
    other = (await create_web_user(server, web, "two@example.com")).id
    admin = await member_of_staff(server, "admin")
    await _add(server, web, _authenticator(user_id))
    again = await _add(server, web, _authenticator(user_id, counter=9))
    assert again.counter == 3
    exists = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_WEB_AUTHENTICATOR_EXISTS")
    for wrong in (_authenticator(other), _authenticator(user_id, credential_public_key="b3RoZXI")):
        await refused(_add(server, web, wrong), *exists)
    await refused(_add(server, web, _authenticator(new_id(), credential_id="x")), *NOT_FOUND)
    await refused(_add(server, web, _authenticator(admin.id, credential_id="x")), *PROTECTED)
    await ban(server, admin, other)
    await refused(_add(server, web, _authenticator(other, credential_id="x")), *STATUS)
    await refused(_add(server, web, _authenticator(user_id, counter=-1)), *INVALID)

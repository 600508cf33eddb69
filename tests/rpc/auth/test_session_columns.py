"""What is kept of a session (the table `session` of the first document) and how long it lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from greenroom.auth.v1 import session_pb2
from greenroom.auth.v1 import session_service_pb2 as session_pb
from server.auth.issuing import hash_of
from server.auth.models import RefreshToken, Session
from server.core.clock import ManualClock
from server.core.unit import Unit
from tests.rpc.auth.scenes import bearer, get_me, in_unit, refresh, refused_after, turn
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import refused

REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")
VOID = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID")
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
DESK = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0"
DAY = 86_400.0


async def _row(server: Greenroom, session_id: str) -> Session:
    return await in_unit(server, lambda _unit: Session.get_by_id(session_id))


async def _listed(server: Greenroom, person: Person) -> session_pb2.Session:
    reply = await server.sessions.ListSessions(
        session_pb.ListSessionsRequest(), metadata=person.metadata
    )
    return next(session for session in reply.sessions if session.current)


@asynccontextmanager
async def _client(server: Greenroom, user_agent: str) -> AsyncIterator[Any]:
    """A client that calls itself so; gRPC puts its own name behind it."""
    options = [("grpc.primary_user_agent", user_agent)]
    async with aio.insecure_channel(server.address, options=options) as channel:
        yield auth_grpc.AuthServiceStub(channel)


def _from(address: str) -> tuple[tuple[str, str], ...]:
    return (("x-forwarded-for", address),)


def _now(server: Greenroom) -> datetime:
    return server.clock.now()


async def test_every_column_is_kept_and_shown(server: Greenroom) -> None:
    ada = await server.person("Ada")
    opened = _now(server)
    request = pb.LogInRequest(email=ada.email, password=PASSWORD, device_name="my phone")
    async with _client(server, PHONE) as auth:
        first = (await auth.LogIn(request, metadata=_from("203.0.113.5"))).signed_in
    row = await _row(server, first.session.id)
    assert row.id == first.session.id and row.user_id == ada.id
    assert (
        row.device_info == "my phone"
        and row.user_agent.startswith(PHONE)
        and row.ip == "203.0.113.5"
    )
    assert (row.is_revoked, row.revoked_at, row.revoked_reason) == (False, None, None)
    assert row.create_time == opened and row.last_refresh_at is None and row.refresh_count == 0
    assert row.expires_at == opened + timedelta(days=30)
    assert row.absolute_expires_at == opened + timedelta(days=90)
    assert row.token_version == 1 and row.token_id and row.refresh_token_family
    assert row.metadata == {"sign_in_ip": "203.0.113.5"}

    turn(server, 3600)
    request2 = pb.RefreshTokenRequest(refresh_token=first.tokens.refresh_token)
    async with _client(server, DESK) as auth:
        pair = (await auth.RefreshToken(request2, metadata=_from("198.51.100.7"))).tokens
    later = await _row(server, first.session.id)
    assert later.refresh_count == 1 and later.last_refresh_at == _now(server)
    assert later.expires_at == _now(server) + timedelta(days=30)
    assert later.absolute_expires_at == row.absolute_expires_at
    assert later.token_id != row.token_id and later.refresh_token_family == row.refresh_token_family
    assert later.ip == "198.51.100.7" and later.user_agent.startswith(DESK)

    signed_in = Person(ada.id, ada.email, first, bearer(pair.access_token))
    shown = await _listed(server, signed_in)
    assert (shown.device_name, shown.platform, shown.browser) == ("my phone", "Linux", "Firefox")
    assert (shown.ip_address, shown.sign_in_ip_address) == ("198.51.100.7", "203.0.113.5")
    assert list(shown.sign_in_methods) == ["password"] and shown.assurance_level == 1
    assert shown.privileged_until_time.ToDatetime(opened.tzinfo) == opened + timedelta(minutes=10)
    assert shown.refresh_count == 1
    assert shown.last_refresh_time.ToDatetime(opened.tzinfo) == _now(server)
    assert (first.session.platform, first.session.browser) == ("iOS", "Mobile Safari")
    assert not first.session.HasField("last_refresh_time")


@pytest.mark.parametrize("user_agent", ["", "(" * 400, "curl/8.5.0", "A" * 2000])
async def test_a_strange_user_agent_is_listed_as_it_is(server: Greenroom, user_agent: str) -> None:
    ada = await server.person("Ada")
    request = pb.LogInRequest(email=ada.email, password=PASSWORD)
    async with _client(server, user_agent) as auth:
        shown = (await auth.LogIn(request)).signed_in.session
    assert len(shown.user_agent) <= 512 and len(shown.platform) <= 60
    if user_agent.startswith("curl"):
        assert shown.browser == "curl"


async def test_a_new_version_voids_the_access_tokens_of_before(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)

    def bump(unit: Unit) -> None:
        Session.update(token_version=2, privilege_changed_at=unit.now).where(
            Session.id == other.session_id
        ).execute()

    await get_me(server, other.metadata)
    await in_unit(server, bump, write=True)
    assert await refused_after(server, other.metadata) < 1.0
    pair = (await refresh(server, other.tokens.tokens.refresh_token)).tokens
    await get_me(server, bearer(pair.access_token))
    await get_me(server, ada.metadata)


async def test_an_access_token_ends_by_its_setting(serve: object) -> None:
    server: Greenroom = await serve(access_token_seconds=120)  # type: ignore[operator]
    ada = await server.person("Ada")
    turn(server, 119)
    await get_me(server, ada.metadata)
    turn(server, 1)
    await refused(get_me(server, ada.metadata), *REVOKED)
    pair = (await refresh(server, ada.tokens.tokens.refresh_token)).tokens
    await get_me(server, bearer(pair.access_token))


async def test_an_unused_session_ends_by_its_setting(serve: object) -> None:
    server: Greenroom = await serve(session_sliding_days=2)  # type: ignore[operator]
    ada = await server.person("Ada")
    assert ada.tokens.session.expire_time.ToDatetime(_now(server).tzinfo) == _now(
        server
    ) + timedelta(days=2)
    turn(server, 2 * DAY - 1)
    pair = (await refresh(server, ada.tokens.tokens.refresh_token)).tokens
    turn(server, 2 * DAY - 1)
    pair = (await refresh(server, pair.refresh_token)).tokens
    turn(server, 2 * DAY)
    await refused(refresh(server, pair.refresh_token), *VOID)
    await refused(get_me(server, bearer(pair.access_token)), *REVOKED)


async def test_no_use_keeps_a_session_past_its_absolute_end(serve: object) -> None:
    server: Greenroom = await serve(session_sliding_days=2, session_absolute_days=5)  # type: ignore[operator]
    ada = await server.person("Ada")
    end = _now(server) + timedelta(days=5)
    token = ada.tokens.tokens.refresh_token
    for _ in range(4):
        turn(server, DAY)
        pair = (await refresh(server, token)).tokens
        token = pair.refresh_token
    assert pair.refresh_expire_time.ToDatetime(end.tzinfo) == end
    turn(server, DAY - 60)
    pair = (await refresh(server, token)).tokens
    # The access token ends with the session, and not a quarter of an hour from now.
    assert pair.access_expire_time.ToDatetime(end.tzinfo) == end.replace(microsecond=0)
    turn(server, 60)
    await refused(get_me(server, bearer(pair.access_token)), *REVOKED)
    await refused(refresh(server, pair.refresh_token), *VOID)


async def test_a_refresh_token_has_a_grace_by_its_setting(serve: object) -> None:
    server: Greenroom = await serve(refresh_grace_seconds=30)  # type: ignore[operator]
    ada = await server.person("Ada")
    first = ada.tokens.tokens.refresh_token
    second = (await refresh(server, first)).tokens.refresh_token
    turn(server, 29)
    assert (await refresh(server, first)).tokens.refresh_token == second
    turn(server, 2)
    await refused(
        refresh(server, first),
        StatusCode.UNAUTHENTICATED,
        "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED",
    )


async def test_one_session_too_many_ends_the_longest_unused(serve: object) -> None:
    server: Greenroom = await serve(session_limit=3)  # type: ignore[operator]
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    held = [ada]
    for _ in range(2):
        turn(server, 60)
        held.append(await server.log_in(ada.email))
    turn(server, 60)
    pair = (await refresh(server, ada.tokens.tokens.refresh_token)).tokens
    fourth = await server.log_in(ada.email)
    await refused(get_me(server, held[1].metadata), *REVOKED)
    assert (await _row(server, held[1].session_id)).revoked_reason == "LIMIT"
    for kept in (bearer(pair.access_token), held[2].metadata, fourth.metadata, bob.metadata):
        await get_me(server, kept)


async def test_parallel_log_ins_stay_within_the_limit(serve: object) -> None:
    server: Greenroom = await serve(session_limit=2)  # type: ignore[operator]
    ada = await server.person("Ada")
    for _ in range(3):
        # More at once would be refused: a try counts as failed until its password is found right.
        await asyncio.gather(*(server.log_in(ada.email) for _ in range(4)))

    def count(unit: Unit) -> int:
        return Session.open_for(ada.id, unit.now).count()

    assert await in_unit(server, count) == 2


async def test_only_sessions_that_may_be_used_are_open(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for _ in range(4):
        await server.log_in(ada.email)

    def work(unit: Unit) -> None:
        sessions = list(Session.select().where(Session.user == ada.id).order_by(Session.id))
        for number, session in enumerate(sessions):
            session.ip = f"192.0.2.{number}"
        sessions[1].is_revoked, sessions[1].revoked_at = True, unit.now
        sessions[2].expires_at = unit.now
        sessions[3].absolute_expires_at = unit.now
        for session in sessions:
            session.save()
        listed = Session.open_for(ada.id, unit.now)
        assert {session.ip for session in listed} == {"192.0.2.0", "192.0.2.4"}
        assert set(Session.open_addresses(ada.id, unit.now)) == {"192.0.2.0", "192.0.2.4"}
        assert Session.open_count(ada.id, unit.now) == 2
        assert Session.open_addresses("nobody", unit.now) == []

    await server.running.parts.database.run(work, write=True)


async def test_tokens_are_kept_as_hashes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = ada.tokens.tokens.refresh_token
    pair = (await refresh(server, token)).tokens

    def everything(_unit: Unit) -> str:
        return repr([list(model.select().dicts()) for model in (Session, RefreshToken)])

    text = await in_unit(server, everything)
    assert hash_of(pair.refresh_token) in text
    for secret in (token, pair.refresh_token, pair.access_token):
        assert secret not in text
    assert isinstance(server.clock, ManualClock)

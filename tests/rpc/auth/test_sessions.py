"""Who sees and ends which session (one, all others, the own by logging out), and how soon it bites."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import session_service_pb2 as session_pb
from server.auth.models import Role, Session, UserRole
from server.core.caller import Caller
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.scenes import (
    audit_rows,
    get_me,
    in_unit,
    module_of,
    refresh,
    refused_after,
    turn,
)
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, reason_of, refused

REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")
MISSING = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_SESSION_NOT_FOUND")


async def _list(
    server: Greenroom, person: Person, page_size: int = 0, page_token: str = ""
) -> session_pb.ListSessionsResponse:
    request = session_pb.ListSessionsRequest(page_size=page_size, page_token=page_token)
    return await server.sessions.ListSessions(request, metadata=person.metadata)


async def _revoke(server: Greenroom, person: Person, session_id: str) -> None:
    request = session_pb.RevokeSessionRequest(session_id=session_id)
    await server.sessions.RevokeSession(request, metadata=person.metadata)


async def _revoke_others(server: Greenroom, person: Person) -> int:
    request = session_pb.RevokeOtherSessionsRequest()
    return (
        await server.sessions.RevokeOtherSessions(request, metadata=person.metadata)
    ).ended_count


async def _reason(server: Greenroom, session_id: str) -> str | None:
    return await in_unit(server, lambda _unit: Session.get_by_id(session_id).revoked_reason)


def _end(unit: Unit, session_id: str) -> None:
    Session.update(is_revoked=True, revoked_at=unit.now, revoked_reason="ADMIN").where(
        Session.id == session_id
    ).execute()


async def _grant(server: Greenroom, person: Person, role: str) -> None:
    def grant(unit: Unit) -> None:
        held = Role.get(Role.name == role)
        UserRole.create(user=person.id, role=held.id, create_time=unit.now)

    await in_unit(server, grant, write=True)


async def test_the_list_holds_the_open_sessions_last_used_first(server: Greenroom) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    devices = []
    for number in range(5):
        turn(server, 60)
        request = pb.LogInRequest(email=ada.email, device_name=f"device {number}")
        request.password = "correct horse battery staple"
        devices.append((await server.auth.LogIn(request)).signed_in)
    await _revoke(server, ada, devices[2].session.id)
    listed = (await _list(server, ada)).sessions
    assert [session.device_name for session in listed] == [
        "device 4",
        "device 3",
        "device 1",
        "device 0",
        "",
    ]
    assert [session.current for session in listed] == [False] * 4 + [True]
    assert listed[0].user_agent.startswith("grpc-python") and listed[0].ip_address == "127.0.0.1"
    assert [session.id for session in (await _list(server, bob)).sessions] == [bob.session_id]
    turn(server, 31 * 86_400)
    back = await server.log_in(ada.email)
    assert [session.id for session in (await _list(server, back)).sessions] == [back.session_id]


async def test_the_list_comes_in_pages(server: Greenroom) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    for _ in range(6):
        await server.log_in(ada.email)
    found, token, pages = [], "", 0
    while True:
        page = await _list(server, ada, 3, token)
        found += [session.id for session in page.sessions]
        token, pages = page.next_page_token, pages + 1
        if not token:
            break
    assert pages == 3 and len(found) == len(set(found)) == 7
    first = (await _list(server, ada, 3)).next_page_token
    for person, bad in ((bob, first), (ada, first[:-1]), (ada, "x")):
        await refused(
            _list(server, person, 3, bad),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN",
        )
    for size in (-1, 201):
        await refused(
            _list(server, ada, size),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )


async def test_a_revoked_session_is_refused_from_the_reply_on(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for _ in range(20):
        other = await server.log_in(ada.email)
        await get_me(server, other.metadata)
        await _revoke(server, ada, other.session_id)
        await refused(get_me(server, other.metadata), *REVOKED)
    await refused(
        refresh(server, other.tokens.tokens.refresh_token),
        StatusCode.UNAUTHENTICATED,
        "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID",
    )
    await _revoke(server, ada, other.session_id)
    assert await _reason(server, other.session_id) == "REVOKED"
    await get_me(server, ada.metadata)


async def test_a_session_that_ends_while_it_is_looked_up_is_not_remembered(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    authenticator = module_of(server).authenticator
    database = server.running.parts.database
    run = database.run
    looked_up = 0

    async def overtaken(work: Any, **options: Any) -> Any:
        nonlocal looked_up
        result = await run(work, **options)
        if isinstance(result, Caller):
            looked_up += 1
            if looked_up == 1:
                await _revoke(server, ada, other.session_id)
        return result

    await get_me(server, ada.metadata)
    monkeypatch.setattr(database, "run", overtaken)
    await refused(get_me(server, other.metadata), *REVOKED)
    assert authenticator.authenticate_cached(other.tokens.tokens.access_token) is None
    assert looked_up == 1


async def test_a_foreign_session_looks_absent(server: Greenroom) -> None:
    ada = await server.person("Ada")
    mallory = await server.person("Mallory")
    foreign = await refused(_revoke(server, mallory, ada.session_id), *NOT_FOUND)
    absent_id = new_id()
    absent = await refused(_revoke(server, mallory, absent_id), *NOT_FOUND)
    assert (foreign.details() or "").replace(ada.session_id, absent_id) == absent.details()
    await get_me(server, ada.metadata)
    assert not [row for row in await audit_rows(server) if row[0] == "session.revoke"]
    for wrong in ("", "x", "0190", ada.session_id + "0"):
        await refused(
            _revoke(server, ada, wrong),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )


async def test_an_administrator_ends_any_session(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for role in ("admin", "super_admin"):
        staff = await server.person(role)
        await _grant(server, staff, role)
        victim = await server.log_in(ada.email)
        await _revoke(server, staff, victim.session_id)
        await refused(get_me(server, victim.metadata), *REVOKED)
        assert await _reason(server, victim.session_id) == "ADMIN"
    agent = await server.person("agent")
    await _grant(server, agent, "agent")
    await refused(_revoke(server, agent, ada.session_id), *NOT_FOUND)
    assert [row for row in await audit_rows(server) if row[0] == "session.revoke"] == [
        ("session.revoke", "OK")
    ] * 2


async def test_all_sessions_but_the_calling_one_are_ended(server: Greenroom) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    others = [await server.log_in(ada.email) for _ in range(3)]
    await _revoke(server, ada, others[0].session_id)
    for person in (ada, bob, *others[1:]):
        await get_me(server, person.metadata)
    assert await _revoke_others(server, ada) == 2
    for other in others:
        await refused(get_me(server, other.metadata), *REVOKED)
        await refused(
            refresh(server, other.tokens.tokens.refresh_token),
            StatusCode.UNAUTHENTICATED,
            "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID",
        )
        assert await _reason(server, other.session_id) == "REVOKED"
    for person in (ada, bob):
        await get_me(server, person.metadata)
        assert [held.id for held in (await _list(server, person)).sessions] == [person.session_id]
    assert await _revoke_others(server, ada) == 0
    assert [row for row in await audit_rows(server) if row[0] == "session.revoke_others"] == [
        ("session.revoke_others", "OK")
    ] * 2


async def test_an_administrator_ends_their_own_other_sessions_only(server: Greenroom) -> None:
    ada = await server.person("Ada")
    staff = await server.person("admin")
    await _grant(server, staff, "admin")
    again = await server.log_in(staff.email)
    assert await _revoke_others(server, again) == 1
    await refused(get_me(server, staff.metadata), *REVOKED)
    await get_me(server, ada.metadata)


async def test_logging_out_ends_the_own_session_only(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    await server.auth.LogOut(pb.LogOutRequest(), metadata=other.metadata)
    await refused(get_me(server, other.metadata), *REVOKED)
    await refused(server.auth.LogOut(pb.LogOutRequest(), metadata=other.metadata), *REVOKED)
    await get_me(server, ada.metadata)
    assert [row for row in await audit_rows(server) if row[0] == "session.log_out"] == [
        ("session.log_out", "OK")
    ]


async def test_parallel_log_outs_leave_one_trace(server: Greenroom) -> None:
    ada = await server.person("Ada")
    calls = [server.auth.LogOut(pb.LogOutRequest(), metadata=ada.metadata) for _ in range(8)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for outcome in outcomes:
        assert not isinstance(outcome, aio.AioRpcError) or reason_of(outcome) == REVOKED[1]
    rows = [row for row in await audit_rows(server) if row[0] == "session.log_out"]
    assert len(rows) == 1


async def test_what_another_process_ends_is_refused_within_a_second(server: Greenroom) -> None:
    """Rows changed behind the server's back, as by another process whose message was lost."""
    ada = await server.person("Ada")
    ended: list[str] = []
    module_of(server).authenticator.on_revoked(ended.append)
    for _ in range(3):
        other = await server.log_in(ada.email)
        await get_me(server, other.metadata)

        await in_unit(server, partial(_end, session_id=other.session_id), write=True)
        began = time.monotonic()
        assert await refused_after(server, other.metadata) < 1.0
        while other.session_id not in ended:
            # Refused already where the token had to be looked up anew; streams hear of it by a look.
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.02)
        turn(server, 1)


async def test_activity_is_written_to_the_minute(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    turn(server, 150)
    await get_me(server, ada.metadata)
    await module_of(server).authenticator.write_activity()
    listed = {session.id: session for session in (await _list(server, ada)).sessions}
    used = listed[ada.session_id].last_active_time.seconds
    assert used == int(server.clock.now().timestamp()) // 60 * 60
    assert listed[other.session_id].last_active_time.seconds == used - 120


async def test_nobody_signed_in_gets_nowhere(server: Greenroom) -> None:
    calls: list[Callable[..., Any]] = [
        lambda metadata: server.auth.GetMe(pb.GetMeRequest(), metadata=metadata),
        lambda metadata: server.auth.LogOut(pb.LogOutRequest(), metadata=metadata),
        lambda metadata: server.sessions.ListSessions(
            session_pb.ListSessionsRequest(), metadata=metadata
        ),
        lambda metadata: server.sessions.RevokeSession(
            session_pb.RevokeSessionRequest(session_id=new_id()), metadata=metadata
        ),
        lambda metadata: server.sessions.RevokeOtherSessions(
            session_pb.RevokeOtherSessionsRequest(), metadata=metadata
        ),
    ]
    for call in calls:
        assert reason_of(await failure_of(call(()))) == MISSING[1]
        for wrong in ("Bearer x", "Bearer a.b.c", "Bearer grr_" + "A" * 43):
            error = await failure_of(call((("authorization", wrong),)))
            assert (error.code(), reason_of(error)) == REVOKED

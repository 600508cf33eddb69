"""What is taken away bites at once: calls are refused within a second, streams end within five
(A-4), whoever takes it away and however the server hears of it."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import session_service_pb2 as session_pb
from greenroom.auth.v1 import user_service_pb2 as user_pb
from greenroom.chat.v1 import event_service_pb2 as events
from server.auth.models import Session, User, UserRole
from server.core.unit import Unit
from tests.rpc.auth.scenes import get_me, in_unit, turn
from tests.rpc.auth.staff import ban, give, list_users, member_of_staff, set_roles, suspend
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of

TRIALS = int(os.environ.get("REVOCATIONS", "9"))
"""Revocations in all; 500 in the long run (make soak-revocation)."""

AT_ONCE = 3
UNARY_SECONDS, STREAM_SECONDS = 1.0, 5.0

Call = Callable[[], Awaitable[object]]
Revoke = Callable[[Greenroom, Person, Person], Awaitable[object]]


async def _by_its_user(server: Greenroom, _staff: Person, victim: Person) -> None:
    other = await server.log_in(victim.email)
    request = session_pb.RevokeSessionRequest(session_id=victim.session_id)
    await server.sessions.RevokeSession(request, metadata=other.metadata)


async def _by_staff(server: Greenroom, staff: Person, victim: Person) -> None:
    request = session_pb.RevokeSessionRequest(session_id=victim.session_id)
    await server.sessions.RevokeSession(request, metadata=staff.metadata)


async def _with_all_others(server: Greenroom, _staff: Person, victim: Person) -> None:
    other = await server.log_in(victim.email)
    request = session_pb.RevokeOtherSessionsRequest()
    await server.sessions.RevokeOtherSessions(request, metadata=other.metadata)


async def _by_log_out(server: Greenroom, _staff: Person, victim: Person) -> None:
    await server.auth.LogOut(auth_pb.LogOutRequest(), metadata=victim.metadata)


async def _by_suspension(server: Greenroom, staff: Person, victim: Person) -> None:
    await suspend(server, staff, victim.id)


async def _by_ban(server: Greenroom, staff: Person, victim: Person) -> None:
    await ban(server, staff, victim.id)


async def _by_deletion(server: Greenroom, staff: Person, victim: Person) -> None:
    request = user_pb.DeleteUserRequest(user_id=victim.id)
    await server.users.DeleteUser(request, metadata=staff.metadata)


async def _behind_the_back(server: Greenroom, _staff: Person, victim: Person) -> None:
    """As another process does whose message is lost."""

    def end(unit: Unit) -> None:
        Session.update(is_revoked=True, revoked_at=unit.now, revoked_reason="ADMIN").where(
            Session.id == victim.session_id
        ).execute()

    await in_unit(server, end, write=True)


async def _by_taking_the_role(server: Greenroom, staff: Person, victim: Person) -> None:
    await set_roles(server, staff, victim.id, "creator")


async def _role_behind_the_back(server: Greenroom, _staff: Person, victim: Person) -> None:
    def take(unit: Unit) -> None:
        UserRole.delete().where(UserRole.user == victim.id).execute()
        User.update(update_time=unit.now).where(User.id == victim.id).execute()

    await in_unit(server, take, write=True)


ENDS: dict[str, Revoke] = {
    "its user": _by_its_user,
    "staff": _by_staff,
    "all others": _with_all_others,
    "log-out": _by_log_out,
    "suspension": _by_suspension,
    "ban": _by_ban,
    "deletion": _by_deletion,
    "another process": _behind_the_back,
}
GRANTS: dict[str, Revoke] = {"SetUserRoles": _by_taking_the_role}


@dataclass
class _Trial:
    """One revocation while the victim calls and listens."""

    kind: str
    unary: float = field(default=-1.0)
    stream: float = field(default=-1.0)

    async def run(
        self, server: Greenroom, revoke: Revoke, staff: Person, victim: Person, call: Call
    ) -> None:
        refused = asyncio.create_task(self._calls(call))
        closed = asyncio.create_task(self._listens(server, victim))
        await asyncio.sleep(0.05)
        self._began = time.monotonic()
        await revoke(server, staff, victim)
        async with asyncio.timeout(30):
            await asyncio.gather(refused, closed)

    async def _calls(self, call: Call) -> None:
        while await code_of(call()) is StatusCode.OK:
            await asyncio.sleep(0.01)
        self.unary = time.monotonic() - self._began

    async def _listens(self, server: Greenroom, victim: Person) -> None:
        stream = server.events.WatchEvents(events.WatchEventsRequest(), metadata=victim.metadata)
        try:
            while await stream.read() is not aio.EOF:
                pass
        except aio.AioRpcError:
            pass
        self.stream = time.monotonic() - self._began


@dataclass
class _Lag:
    """How long the busiest moment of the machine holds up a read of nothing: on one that does other
    things at the same time, nobody is refused sooner than that."""

    worst: float = 0.0

    async def watch(self, server: Greenroom) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.05)
            await in_unit(server, lambda _unit: None)
            self.worst = max(self.worst, time.monotonic() - began - 0.05)


@asynccontextmanager
async def _lag(server: Greenroom) -> AsyncIterator[_Lag]:
    lag = _Lag()
    watching = asyncio.create_task(lag.watch(server))
    try:
        yield lag
    finally:
        watching.cancel()


async def _storm(
    server: Greenroom, kinds: dict[str, Revoke], trials: int, role: str = ""
) -> list[_Trial]:
    staff = await member_of_staff(server, "super_admin", "Staff")
    room = asyncio.Semaphore(AT_ONCE)
    done: list[_Trial] = []

    async def one(kind: str, revoke: Revoke) -> None:
        async with room:
            victim = await server.person("Victim")
            if role:
                await give(server, victim, role)

            async def call() -> object:
                if role:
                    return await list_users(server, victim, page_size=1)
                return await get_me(server, victim.metadata)

            assert await code_of(call()) is StatusCode.OK
            trial = _Trial(kind)
            await trial.run(server, revoke, staff, victim, call)
            done.append(trial)

    rounds = itertools.islice(itertools.cycle(kinds.items()), trials)
    await asyncio.gather(*(one(kind, revoke) for kind, revoke in rounds))
    return done


def _late(done: list[_Trial], lag: _Lag) -> list[_Trial]:
    return [
        one
        for one in done
        if one.unary > UNARY_SECONDS + lag.worst or one.stream > STREAM_SECONDS + lag.worst
    ]


@pytest.mark.timeout(3600)
async def test_an_ended_session_is_refused_and_its_streams_end(server: Greenroom) -> None:
    async with _lag(server) as lag:
        done = await _storm(server, ENDS, max(TRIALS, len(ENDS)))
    print(_figures(done, lag))
    assert len(done) == max(TRIALS, len(ENDS)) and _late(done, lag) == []
    assert min(one.unary for one in done) >= 0


@pytest.mark.timeout(3600)
async def test_a_grant_that_is_taken_back_is_gone(server: Greenroom) -> None:
    trials = max(TRIALS // 4, len(GRANTS))
    async with _lag(server) as lag:
        done = await _storm(server, GRANTS, trials, role="admin")
    print(_figures(done, lag))
    assert len(done) == trials and _late(done, lag) == []


async def test_a_grant_that_another_process_takes_back_is_gone(server: Greenroom) -> None:
    victim = await member_of_staff(server, "admin", "Victim")
    await list_users(server, victim, page_size=1)
    turn(
        server, 1
    )  # The look knows a change by its instant, and this clock does not move by itself.
    await _role_behind_the_back(server, victim, victim)
    async with _lag(server) as lag:
        began = time.monotonic()
        while await code_of(list_users(server, victim, page_size=1)) is StatusCode.OK:
            assert time.monotonic() - began < UNARY_SECONDS + lag.worst
            await asyncio.sleep(0.01)


def _figures(done: list[_Trial], lag: _Lag) -> str:
    unary, stream = (max(getattr(one, name) for one in done) for name in ("unary", "stream"))
    return (
        f"{len(done)} revocations: calls refused after {unary:.3f} s, streams after {stream:.3f} s, "
        f"a read of nothing up to {lag.worst:.3f} s late"
    )

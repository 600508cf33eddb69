"""The memory of the authenticator: bounded, emptied in time, shared between processes by the bus."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from server.auth import authenticator as subject
from server.auth.authenticator import SessionAuthenticator
from server.auth.events import PrivilegeChanged, RightsChanged, SessionRevoked
from server.auth.tokens import AccessClaims
from server.core.caller import Caller
from server.core.clock import ManualClock
from server.core.errors import CredentialsInvalid


class FakeTokens:
    """Takes ``user/session`` for a token of that session."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def verify(self, token: str) -> AccessClaims:
        user, _, session = token.partition("/")
        if not session:
            raise CredentialsInvalid
        session = session.partition("#")[0]
        now = self.clock.now()
        return AccessClaims(user, session, token, 1, now, now + timedelta(minutes=15))


class FakeDatabase:
    """Every session is open."""

    def __init__(self) -> None:
        self.reads = 0

    async def run(self, work: Callable[..., Any], *, write: bool) -> Any:
        self.reads += 1
        return work(None)


class SharedBus:
    """Two processes on one thread."""

    is_shared = True

    def __init__(self) -> None:
        self.listeners: defaultdict[str, list[Callable[[bytes], object]]] = defaultdict(list)

    def publish(self, topic: str, payload: bytes) -> None:
        for listener in self.listeners[topic]:
            listener(payload)

    def subscribe(self, topic: str, listener: Callable[[bytes], object]) -> Callable[[], None]:
        self.listeners[topic].append(listener)
        return lambda: self.listeners[topic].remove(listener)


class Process:
    """An authenticator and what it told of ended sessions."""

    def __init__(self, bus: SharedBus) -> None:
        self.clock = ManualClock()
        self.database = FakeDatabase()
        self.told: list[str] = []
        self.authenticator = SessionAuthenticator(
            FakeTokens(self.clock),  # type: ignore[arg-type]
            self.database,  # type: ignore[arg-type]
            self.clock,
            bus,  # type: ignore[arg-type]
        )
        self.authenticator.on_revoked(self.told.append)
        self.stop = self.authenticator.start(asyncio.get_running_loop())

    async def knows(self, *tokens: str) -> None:
        for token in tokens:
            await self.authenticator.authenticate(token)

    def known(self, *tokens: str) -> list[bool]:
        return [self.authenticator.authenticate_cached(token) is not None for token in tokens]


@pytest.fixture(autouse=True)
def _open_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    def caller_of(_unit: object, claims: AccessClaims) -> Caller:
        return Caller("user", claims.user_id, claims.session_id, expires=claims.expires)

    monkeypatch.setattr(subject, "caller_of", caller_of)


async def test_an_ended_session_is_forgotten_by_all_processes() -> None:
    bus = SharedBus()
    here, there = Process(bus), Process(bus)
    for process in (here, there):
        await process.knows("ada/1", "ada/1#2", "ada/2", "bob/3")
    here.authenticator.on_session_revoked(SessionRevoked("1", "ada", "LOGOUT"))
    for process in (here, there):
        assert process.known("ada/1", "ada/1#2", "ada/2", "bob/3") == [False, False, True, True]
    await asyncio.sleep(0)
    assert "1" in here.told and there.told == ["1"]


async def test_changed_rights_are_forgotten_by_all_processes_and_end_streams() -> None:
    bus = SharedBus()
    here, there = Process(bus), Process(bus)
    await there.knows("ada/1", "ada/2", "bob/3")
    here.authenticator.on_rights_changed(RightsChanged("ada", ("1", "2", "5")))
    assert there.known("ada/1", "ada/2", "bob/3") == [False, False, True]
    await asyncio.sleep(0)
    assert there.told == ["1", "2", "5"]
    there.stop()
    here.authenticator.on_session_revoked(SessionRevoked("3", "bob", "LOGOUT"))
    assert there.known("bob/3") == [True]


async def test_a_raised_session_is_read_anew_by_all_processes_and_its_streams_go_on() -> None:
    bus = SharedBus()
    here, there = Process(bus), Process(bus)
    for process in (here, there):
        await process.knows("ada/1", "ada/1#2", "ada/2", "bob/3")
    here.authenticator.on_privilege_changed(PrivilegeChanged("1", "ada"))
    for process in (here, there):
        assert process.known("ada/1", "ada/1#2", "ada/2", "bob/3") == [False, False, True, True]
    await asyncio.sleep(0)
    assert here.told == there.told == []


async def test_a_token_is_looked_up_once_and_forgotten_with_its_time() -> None:
    process = Process(SharedBus())
    await process.knows("ada/1")
    assert process.known(*["ada/1"] * 100) == [True] * 100
    assert process.database.reads == 1
    process.clock.advance(900)
    assert process.known("ada/1") == [False]
    assert process.authenticator._callers == {} and process.authenticator._users == {}


async def test_what_is_refused_is_not_remembered() -> None:
    process = Process(SharedBus())
    with pytest.raises(CredentialsInvalid):
        await process.authenticator.authenticate("forged")
    assert process.known("forged") == [False] and process.database.reads == 0


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_TOKENS", 10)
    process = Process(SharedBus())
    await process.knows(*(f"ada/{number}" for number in range(50)))
    authenticator = process.authenticator
    assert len(authenticator._callers) == 10
    assert process.known("ada/0", "ada/39", "ada/40", "ada/49") == [False, False, True, True]
    assert sum(len(tokens) for tokens in authenticator._users["ada"].tokens.values()) == 10
    for number in range(50):
        authenticator.on_session_revoked(SessionRevoked(str(number), "ada", "LOGOUT"))
    assert authenticator._callers == {} and authenticator._users == {}

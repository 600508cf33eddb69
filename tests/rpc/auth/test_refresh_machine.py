"""Refresh tokens against a model of them (A-7): sign-ins, refreshes, lost replies, thieves, log-outs,
changed passwords and time, in any order, through the stubs on the real server; and 32 callers with
one token at the same time."""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from grpc import StatusCode, aio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from greenroom.auth.v1 import session_pb2
from greenroom.auth.v1 import session_service_pb2 as sessions_pb
from server.auth.issuing import hash_of
from server.auth.models import RefreshToken, Session
from server.core.unit import Unit
from tests.rpc.auth.scenes import bearer, get_me, in_unit, refresh, turn
from tests.support.databases import drop_database, fresh_database
from tests.support.serve import PASSWORD, Greenroom, Person, serving
from tests.support.statuses import code_of, reason_of

EXAMPLES = int(os.environ.get("REFRESH_EXAMPLES", "12"))
STEPS = int(os.environ.get("REFRESH_STEPS", "25"))
ROUNDS = int(os.environ.get("REFRESH_RACES", "5"))
"""Long runs (make soak-refresh): 5,000 examples of 50 steps, 10,000 races."""

WIDTH = 32
GRACE = 10.0
ACCESS = 900.0
INVALID = "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID"
REUSED = "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED"
OTHER_PASSWORD = "quite another correct horse"

T = TypeVar("T")


@dataclass
class Family:
    """What is known of one session: every token it ever had, oldest first."""

    person: Person
    tokens: list[str]
    ends: list[float]
    """When each of them ends."""
    access: str
    access_until: float
    used_at: dict[int, float] = field(default_factory=dict)
    held: int = 0
    """Which token the honest client has."""
    dead: bool = False


class Machine(RuleBasedStateMachine):
    """One user with several devices, and a thief who may have any token that was ever issued."""

    server: Greenroom
    loop: asyncio.AbstractEventLoop
    owner: Person

    families = Bundle("families")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Family] = []
        self.password = PASSWORD

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the server's loop, which is another thread's."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    @property
    def now(self) -> float:
        """The server's time in seconds."""
        return self.server.clock.now().timestamp()

    def teardown(self) -> None:
        """Leaves the user as the next example expects it."""
        if self.password != PASSWORD:
            family = self._signed_in()
            self._change_password(family, PASSWORD)

    def _signed_in(self) -> Family:
        person = self.do(self.server.log_in(self.owner.email, self.password))
        tokens = person.tokens.tokens
        ends: list[float] = [tokens.refresh_expire_time.seconds]
        return Family(person, [tokens.refresh_token], ends, tokens.access_token, self.now + ACCESS)

    @initialize(target=families)
    def first(self) -> Family:
        """Nobody begins with nothing."""
        return self.log_in()

    @rule(target=families)
    def log_in(self) -> Family:
        """A new device."""
        family = self._signed_in()
        self.known.append(family)
        return family

    def _present(self, family: Family, index: int) -> str:
        """Presents a token and holds the outcome to the model; the reason, empty for a success."""
        leaf = len(family.tokens) - 1
        pair, reason = self.do(_refreshed(self.server, family.tokens[index]))
        if family.dead:
            assert reason == INVALID, "a dead family came back"
        elif self.now >= family.ends[index]:
            assert reason == INVALID, "a token outlived its end"
        elif index == leaf:
            assert pair is not None, f"the live token was refused: {reason}"
            assert pair.refresh_token not in family.tokens
            family.used_at[leaf] = self.now
            family.tokens.append(pair.refresh_token)
            family.ends.append(pair.refresh_expire_time.seconds)
        elif self.now < family.used_at[index] + GRACE:
            assert pair is not None, f"a repeat within the grace was refused: {reason}"
            assert pair.refresh_token == family.tokens[leaf], "the family has forked"
        else:
            assert reason == REUSED
            family.dead = True
        if pair is not None:
            family.access, family.access_until = pair.access_token, self.now + ACCESS
        return reason

    @rule(family=families)
    def refreshes(self, family: Family) -> None:
        """The honest client gets a reply and keeps it."""
        if not self._present(family, family.held):
            family.held = len(family.tokens) - 1

    @rule(family=families)
    def loses_the_reply(self, family: Family) -> None:
        """The server has answered, the client does not know."""
        self._present(family, family.held)

    @rule(family=families, seconds=st.sampled_from([0.0, 1.0, 9.0]))
    def retries_in_time(self, family: Family, seconds: float) -> None:
        """A reply is lost and the client asks again within the grace: it goes on, whatever a thief
        has done meanwhile that was not a late reuse."""
        if family.dead or family.held != len(family.tokens) - 1:
            return
        self._present(family, family.held)
        turn(self.server, seconds)
        assert self._present(family, family.held) == "", "logged out by an honest retry"
        family.held = len(family.tokens) - 1

    @rule(family=families, data=st.data())
    def replays(self, family: Family, data: st.DataObject) -> None:
        """A thief presents a token of any age."""
        self._present(family, data.draw(st.integers(0, len(family.tokens) - 1)))

    @rule(family=families, data=st.data())
    def replays_after_the_grace(self, family: Family, data: st.DataObject) -> None:
        """A thief comes later than any honest repeat: it is the end of the family."""
        if family.used_at:
            turn(self.server, GRACE + 1)
            index = data.draw(st.sampled_from(sorted(family.used_at)))
            self._present(family, index)
            assert family.dead or self.now >= family.ends[index]

    @rule(family=families)
    def uses_the_access_token(self, family: Family) -> None:
        """It is good while its session is, and for its time."""
        code = self.do(code_of(get_me(self.server, bearer(family.access))))
        good = not family.dead and self.now < family.access_until
        assert code is (StatusCode.OK if good else StatusCode.UNAUTHENTICATED)

    @rule(family=families)
    def logs_out(self, family: Family) -> None:
        """Ends the one session."""
        if not family.dead and self.now < family.access_until:
            self._succeeds(self.server.auth.LogOut, pb.LogOutRequest(), family)
            family.dead = True

    @rule(family=families)
    def ends_the_others(self, family: Family) -> None:
        """Ends all but the one session."""
        if not family.dead and self.now < family.access_until:
            request = sessions_pb.RevokeOtherSessionsRequest()
            self._succeeds(self.server.sessions.RevokeOtherSessions, request, family)
            self._only(family)

    @rule(family=families)
    def changes_the_password(self, family: Family) -> None:
        """Ends all but the one session too."""
        if not family.dead and self.now < family.access_until:
            other = PASSWORD if self.password == OTHER_PASSWORD else OTHER_PASSWORD
            self._change_password(family, other)
            self._only(family)

    def _change_password(self, family: Family, new: str) -> None:
        request = password_pb.ChangePasswordRequest(old_password=self.password, new_password=new)
        self._succeeds(self.server.passwords.ChangePassword, request, family)
        self.password = new

    def _succeeds(self, method: Any, request: object, family: Family) -> None:
        async def call() -> StatusCode:
            return await code_of(method(request, metadata=bearer(family.access)))

        assert self.do(call()) is StatusCode.OK

    def _only(self, kept: Family) -> None:
        for family in self.known:
            family.dead = family.dead or family is not kept

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 9.9, 10.0, 10.1, 60.0, 901.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        """At most a day at once: idleness ends sessions after thirty."""
        turn(self.server, seconds)

    @precondition(lambda self: any(not family.dead for family in self.known))
    @rule()
    def a_month_passes(self) -> None:
        """Whatever was not used is over."""
        turn(self.server, 31 * 86_400)
        for family in self.known:
            family.dead = True

    @invariant()
    def every_family_has_its_one_leaf(self) -> None:
        """As the database has it, after every step."""
        rows = self.do(in_unit(self.server, lambda unit: _leaves(unit, self.known)))
        for family, (is_open, leaves) in zip(self.known, rows, strict=True):
            assert is_open is not family.dead
            assert len(leaves) <= 1, "two live tokens in one family"
            if not family.dead:
                assert leaves == [hash_of(family.tokens[-1])]


def _leaves(unit: Unit, families: list[Family]) -> list[tuple[bool, list[str]]]:
    ids = [family.person.session_id for family in families]
    sessions = {session.id: session for session in Session.select().where(Session.id.in_(ids))}
    live = defaultdict(list)
    for token in RefreshToken.select().where(
        RefreshToken.session.in_(ids) & RefreshToken.used_at.is_null()
    ):
        live[token.session_id].append(token.token_hash)
    found = []
    for session_id in ids:
        session = sessions.get(session_id)
        # Without a row it has ended long ago, and was cleaned up.
        is_open = session is not None and not session.is_revoked and session.expires_at > unit.now
        found.append((is_open, live[session_id]))
    return found


async def _refreshed(server: Greenroom, token: str) -> tuple[session_pb2.TokenPair | None, str]:
    try:
        return (await refresh(server, token)).tokens, ""
    except aio.AioRpcError as error:
        return None, reason_of(error)


@pytest.fixture
async def modelled(tmp_path: Path) -> AsyncIterator[Greenroom]:
    """A server on SQLite; the machine asks nothing of the database that differs."""
    url = fresh_database("sqlite")
    async with serving(url, tmp_path, refresh_grace_seconds=GRACE) as server:
        yield server
    drop_database(url)


@pytest.mark.timeout(14_400)
async def test_the_model_holds(modelled: Greenroom) -> None:
    owner = await modelled.person("Ada")
    running = asyncio.get_running_loop()

    class Bound(Machine):
        server = modelled
        loop = running

    Bound.owner = owner
    # Months pass in seconds: the jobs of each of their hours would cost many times what the steps do.
    async with modelled.jobs_at_rest():
        await asyncio.to_thread(
            run_state_machine_as_test,
            Bound,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.fixture
async def server(serve: Callable[..., Any]) -> Greenroom:
    """A server that lets everybody wait for the database, however many want it."""
    served: Greenroom = await serve(
        database_wait_seconds=60, database_pool_size=16, refresh_grace_seconds=GRACE
    )
    return served


async def _race(server: Greenroom, person: Person, *tokens: str) -> list[tuple[Any, str]]:
    """All calls at once."""
    return await asyncio.gather(*(_refreshed(server, token) for token in tokens))


async def _live(server: Greenroom, person: Person) -> list[str]:
    family = Family(person, [], [], "", 0)
    ((_, leaves),) = await in_unit(server, lambda unit: _leaves(unit, [family]))
    return leaves


@pytest.mark.timeout(14_400)
async def test_all_callers_with_one_token_get_the_same_successor(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = ada.tokens.tokens.refresh_token
    for _ in range(ROUNDS):
        outcomes = await _race(server, ada, *[token] * WIDTH)
        successors = {pair.refresh_token for pair, _ in outcomes if pair is not None}
        assert [reason for _, reason in outcomes] == [""] * WIDTH
        (successor,) = successors
        assert await _live(server, ada) == [hash_of(successor)]
        token = successor
        turn(server, 60)


@pytest.mark.timeout(14_400)
async def test_once_a_reuse_is_told_of_nothing_of_the_family_works(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for _ in range(ROUNDS):
        person = await server.log_in(ada.email)
        stolen = person.tokens.tokens.refresh_token
        leaf = (await refresh(server, stolen)).tokens.refresh_token
        turn(server, GRACE + timedelta(seconds=1).total_seconds())
        outcomes = await _race(server, person, *[stolen, leaf] * (WIDTH // 2))
        assert {reason for _, reason in outcomes} <= {"", INVALID, REUSED}
        assert sum(reason == REUSED for _, reason in outcomes) == 1
        descendants = {pair.refresh_token for pair, _ in outcomes if pair is not None}
        assert len(descendants) <= 1
        for token in (stolen, leaf, *descendants):
            assert (await _refreshed(server, token))[1] == INVALID
        for pair, _ in outcomes:
            if pair is not None:
                code = await code_of(get_me(server, bearer(pair.access_token)))
                assert code is StatusCode.UNAUTHENTICATED


@pytest.mark.timeout(14_400)
async def test_a_log_out_amid_refreshes_is_final(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for _ in range(ROUNDS):
        person = await server.log_in(ada.email)
        token = person.tokens.tokens.refresh_token
        leaving = server.auth.LogOut(pb.LogOutRequest(), metadata=person.metadata)
        *outcomes, _ = await asyncio.gather(
            *(_refreshed(server, token) for _ in range(WIDTH)), leaving
        )
        tokens = {token} | {pair.refresh_token for pair, _ in outcomes if pair is not None}
        assert len(tokens) <= 2
        for one in tokens:
            assert (await _refreshed(server, one))[1] == INVALID

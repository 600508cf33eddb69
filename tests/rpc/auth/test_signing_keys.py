"""Signing keys are exchanged while people work: nobody is signed out by a rotation, and a revoked
key is worth nothing within seconds (A-11)."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.chat.v1 import event_service_pb2 as events
from server.auth.key_rotation import AHEAD, SHORTEST_AHEAD, revoke, rotate
from server.auth.key_watch import KEYS_SECONDS, KeyWatch
from server.auth.keys import read_keys
from server.core.clock import ManualClock, SystemClock
from tests.rpc.auth.scenes import audit_rows, bearer, get_me, in_unit, module_of, refresh, turn
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused

ROOT = Path(__file__).parents[3]
ROTATIONS = int(os.environ.get("KEY_ROTATIONS", "10"))
REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")


def _watch(server: Greenroom) -> KeyWatch:
    return module_of(server).key_watch


def _folder(server: Greenroom) -> Path:
    return server.settings.keys_dir


def _ticker(server: Greenroom, name: str) -> Any:
    return next(ticker for ticker in module_of(server)._tickers if ticker._name == name)


class _Honest:
    """A client that refreshes before its token ends and counts how often it was turned away."""

    def __init__(self, server: Greenroom, person: Person) -> None:
        self.server = server
        self.pair = person.tokens.tokens
        self.calls = 0
        self.failures: list[str] = []

    async def call(self) -> None:
        try:
            if self._left() < 60:
                await self._renew()
            await get_me(self.server, bearer(self.pair.access_token))
            self.calls += 1
        except aio.AioRpcError as error:
            # When the clock was moved past its end while the call was on its way, the token ended.
            if self._left() > 0:
                self.failures.append(f"{error.code()}: {error.details()}")

    def _left(self) -> float:
        return self.pair.access_expire_time.seconds - self.server.clock.now().timestamp()

    async def _renew(self) -> None:
        try:
            self.pair = (await refresh(self.server, self.pair.refresh_token)).tokens
        except aio.AioRpcError as error:
            self.failures.append(f"refresh: {error.code()}: {error.details()}")
            raise

    async def work(self, until: asyncio.Event) -> None:
        while not until.is_set():
            await self.call()


@asynccontextmanager
async def _load(server: Greenroom, people: int) -> AsyncIterator[list[_Honest]]:
    clients = [_Honest(server, await server.person("Ada")) for _ in range(people)]
    ended = asyncio.Event()
    tasks = [asyncio.create_task(client.work(ended)) for client in clients]
    try:
        yield clients
    finally:
        ended.set()
        await asyncio.gather(*tasks)


async def _some_calls(clients: list[_Honest]) -> None:
    before = [client.calls + len(client.failures) for client in clients]
    while any(
        client.calls + len(client.failures) < count + 3
        for client, count in zip(clients, before, strict=True)
    ):
        await asyncio.sleep(0.005)


def _forget_all(server: Greenroom) -> None:
    """Every token is verified by its key again, as in a process that has just started."""
    keys = module_of(server).key_watch._keys.all
    module_of(server).authenticator.forget_signed_by(frozenset(key.kid for key in keys))


@pytest.mark.timeout(1800)
async def test_rotations_under_load_turn_nobody_away(serve: Callable[..., Any]) -> None:
    # A day passes with every rotation, and the sessions have to outlast them.
    days = 90 + 2 * ROTATIONS
    server: Greenroom = await serve(access_token_seconds=900, session_absolute_days=days)
    signed_by: set[str] = set()
    async with _load(server, 4) as clients:
        for _ in range(ROTATIONS):
            made = rotate(_folder(server), server.clock.now(), SHORTEST_AHEAD)
            await _some_calls(clients)
            await _watch(server).look()
            # Before, around and long after the change of keys; each token is used until it ends.
            for seconds in (15, 14, 1, 1, 600, 900, 86_000):
                turn(server, seconds)
                _forget_all(server)
                await _some_calls(clients)
            signed_by.add(made.kid)
            present = module_of(server).key_watch._keys.signing(server.clock.now())
            assert present.kid == made.kid
    assert [client.failures for client in clients] == [[]] * 4
    assert len(signed_by) == ROTATIONS
    assert len(read_keys(_folder(server))) <= 3


async def test_a_key_is_published_before_it_signs(server: Greenroom) -> None:
    turn(server, 1)
    made = rotate(_folder(server), server.clock.now())
    await _watch(server).look()
    shown = (await server.auth.GetJwks(pb.GetJwksRequest())).keys
    assert made.kid in {key.kid for key in shown} and len(shown) == 2
    ada = await server.person("Ada")
    caller = module_of(server).authenticator.authenticate_cached
    await get_me(server, ada.metadata)
    seen = caller(ada.tokens.tokens.access_token)
    assert seen is not None and seen.signed_by != made.kid
    turn(server, AHEAD.total_seconds())
    bob = await server.person("Bob")
    await get_me(server, bob.metadata)
    seen = caller(bob.tokens.tokens.access_token)
    assert seen is not None and seen.signed_by == made.kid


async def test_a_token_of_a_key_that_was_not_seen_yet_is_no_false_alarm(
    server: Greenroom, tmp_path: Path
) -> None:
    """As when another process reads the folder first and signs with the new key."""
    ada = await server.person("Ada")
    claims = module_of(server).authenticator._tokens.verify(ada.tokens.tokens.access_token)
    made = rotate(_folder(server), server.clock.now(), SHORTEST_AHEAD)
    turn(server, SHORTEST_AHEAD.total_seconds())
    from server.auth.keys import SigningKeys
    from server.auth.tokens import AccessTokens

    other = AccessTokens(
        SigningKeys([made]), issuer="greenroom", audience="greenroom", clock=server.clock
    )
    token = other.sign(claims)
    outcomes = await asyncio.gather(
        *(get_me(server, bearer(token)) for _ in range(8)), return_exceptions=True
    )
    assert [one for one in outcomes if isinstance(one, BaseException)] == []


async def test_a_revoked_key_is_worth_nothing_after_one_look(server: Greenroom) -> None:
    people = [await server.person("Ada") for _ in range(3)]
    for person in people:
        await get_me(server, person.metadata)
    (leaked,) = read_keys(_folder(server))
    heir = revoke(_folder(server), leaked.kid, server.clock.now())
    await _ticker(server, "auth.look_for_keys").tick()
    for person in people:
        await refused(get_me(server, person.metadata), *REVOKED)
        pair = (await refresh(server, person.tokens.tokens.refresh_token)).tokens
        await get_me(server, bearer(pair.access_token))
        seen = module_of(server).authenticator.authenticate_cached(pair.access_token)
        assert seen is not None and seen.signed_by == heir.kid
    shown = (await server.auth.GetJwks(pb.GetJwksRequest())).keys
    assert [key.kid for key in shown] == [heir.kid]


async def test_streams_of_a_revoked_key_end_and_others_go_on(server: Greenroom) -> None:
    ada = await server.person("Ada")
    (leaked,) = read_keys(_folder(server))
    rotate(_folder(server), server.clock.now(), SHORTEST_AHEAD)
    await _watch(server).look()
    turn(server, SHORTEST_AHEAD.total_seconds())
    bob = await server.person("Bob")
    streams = [
        server.events.WatchEvents(events.WatchEventsRequest(), metadata=person.metadata)
        for person in (ada, bob)
    ]
    for stream in streams:
        await stream.read()
    revoke(_folder(server), leaked.kid, server.clock.now())
    await _watch(server).look()
    async with asyncio.timeout(5):
        while (event := await streams[0].read()) is not aio.EOF:
            assert event is not None
    assert len(server.running.streams) == 1
    streams[1].cancel()


async def test_a_key_that_is_revoked_during_a_look_up_is_not_remembered(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    (leaked,) = read_keys(_folder(server))
    database = server.running.parts.database
    run = database.run
    overtaken = False

    async def slow(work: Any, **options: Any) -> Any:
        nonlocal overtaken
        result = await run(work, **options)
        if hasattr(result, "signed_by") and not overtaken:
            overtaken = True
            revoke(_folder(server), leaked.kid, server.clock.now())
            await _watch(server).look()
        return result

    monkeypatch.setattr(database, "run", slow)
    await refused(get_me(server, ada.metadata), *REVOKED)
    assert overtaken
    await refused(get_me(server, ada.metadata), *REVOKED)


async def test_running_servers_look_by_themselves(serve: Callable[..., Any]) -> None:
    assert KEYS_SECONDS <= 5
    server: Greenroom = await serve(clock=SystemClock())
    ada = await server.person("Ada")
    (leaked,) = read_keys(_folder(server))
    revoke(_folder(server), leaked.kid, server.clock.now())
    async with asyncio.timeout(KEYS_SECONDS + 5):
        while await code_of(get_me(server, ada.metadata)) is not StatusCode.UNAUTHENTICATED:
            await asyncio.sleep(0.1)


def _run(server: Greenroom, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    settings = server.settings
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python/src'}",
        "DATABASE_URL": settings.database_url,
        "STATE_DIR": str(settings.state_dir),
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "server", "keys", *arguments],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_the_command_line(server: Greenroom) -> None:
    assert isinstance(server.clock, ManualClock)
    (first,) = read_keys(_folder(server))
    made = _run(server, "rotate", "--after", "60")
    assert made.returncode == 0 and "signs from" in made.stdout, made.stderr
    kid = made.stdout.split()[1].rstrip(";")
    listed = _run(server, "list").stdout.splitlines()
    assert listed[0].startswith(f"WAITS     {kid}  until ")
    assert listed[1].startswith(f"SIGNS     {first.kid}")
    revoked = _run(server, "revoke", first.kid)
    assert revoked.returncode == 0 and kid in revoked.stdout, revoked.stderr
    assert f"REVOKED   {first.kid}" in _run(server, "list").stdout
    unknown = _run(server, "revoke", "nobody")
    assert unknown.returncode == 1 and "nobody" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    rows = [row for row in await audit_rows(server) if row[0].startswith("key.")]
    assert rows == [("key.rotate", "OK"), ("key.revoke", "OK")]
    texts = made.stdout + revoked.stdout + "".join(listed)
    assert '"d"' not in texts


async def test_a_key_is_revoked_without_a_database(server: Greenroom, tmp_path: Path) -> None:
    (leaked,) = read_keys(_folder(server))
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    done = _run(server, "revoke", leaked.kid, DATABASE_URL=url)
    assert done.returncode == 0 and "no audit row" in done.stderr, done.stderr
    assert leaked.kid not in {key.kid for key in read_keys(_folder(server))}
    await in_unit(server, lambda _unit: None)


async def test_a_key_from_the_setting_is_not_rotated_here(server: Greenroom) -> None:
    text = next(_folder(server).glob("signing-*.json")).read_text()
    for arguments in (("list",), ("rotate",), ("revoke", "x")):
        done = _run(server, *arguments, SIGNING_KEY=text)
        assert done.returncode == 1 and "SIGNING_KEY" in done.stderr

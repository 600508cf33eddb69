"""Who is there, when several processes serve: their rows, the bus between them, what the dead leave."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from greenroom.chat.v1 import event_service_pb2
from server.auth.directory import UserDirectory
from server.auth.models import User
from server.chat.convert.presence import presence_event
from server.chat.hub import Hub
from server.chat.models import Presence
from server.chat.ports import NobodyHides
from server.chat.presence import GRACE_SECONDS, RENEW_SECONDS, TRUSTED_SECONDS
from server.chat.presence_keeper import SWEEP_SECONDS, TOPIC, PresenceKeeper
from server.chat.subscriber import Place
from server.chat.usecases.presence import KEPT_SECONDS, PresenceDoors, get_presence
from server.core.clock import ManualClock
from server.core.errors import Unavailable
from tests.rpc.chat.store import Store, store_on
from tests.rpc.chat.test_relay import SharedBus


class Process:
    """The part of a process that keeps who is there. Nothing in it moves by itself."""

    def __init__(self, store: Store, bus: SharedBus, channel: str) -> None:
        self.store = store
        self.channel = channel
        self.hub = Hub(store.history)
        # Somebody watches, so that what is told can be seen.
        self.hub.attach(self.hub.subscribe("watcher"), channel, Place(1, 0, 1))
        doors = PresenceDoors(UserDirectory(), NobodyHides())
        self.keeper = PresenceKeeper(
            store.database, store.clock, self.hub, bus, doors, presence_event
        )
        bus.subscribe(TOPIC, self.keeper._on_bus)

    async def open(self, user_id: str) -> None:
        self.keeper.opened(user_id)
        await self.keeper.step()

    def shows(self, user_id: str) -> bool | None:
        """What was told last of somebody; ``None`` when nothing was."""
        note = self.hub._rings[self.channel].notes.get(("presence", user_id))
        if note is None:
            return None
        reply = event_service_pb2.WatchEventsResponse.FromString(note.frame)
        return reply.events[0].presence.online

    def versions(self) -> int:
        """How much was told."""
        return self.hub._rings[self.channel].version


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[Store]:
    with store_on(database_url, tmp_path) as opened:
        opened.database.clock = opened.clock
        await opened.people()
        yield opened


@pytest.fixture
async def bus() -> SharedBus:
    return SharedBus()


@pytest.fixture
async def pair(store: Store, bus: SharedBus) -> tuple[Process, Process]:
    channel = await store.channel(store.bob)
    return Process(store, bus, channel), Process(store, bus, channel)


Pair = tuple[Process, Process]


async def looks(store: Store) -> tuple[bool, float | None]:
    """Whether Ann sees Bob online, and else how long ago he was."""
    doors = PresenceDoors(UserDirectory(), NobodyHides())
    [seen] = await store.database.run(
        lambda unit: get_presence(unit, doors, store.ann, [store.bob]), write=False
    )
    ago = None if seen.last_online is None else store.clock.now() - seen.last_online
    return seen.online, None if ago is None else ago.total_seconds()


async def pass_time(store: Store, seconds: float, *alive: Process) -> None:
    """Time passes, a second at a time, in which those who live do what is due."""
    for _ in range(int(seconds)):
        store.clock.advance(1)
        for process in alive:
            await process.keeper.step()


async def test_both_processes_tell_what_one_has_seen(store: Store, pair: Pair) -> None:
    one, two = pair
    await one.open(store.bob)
    assert (one.shows(store.bob), two.shows(store.bob)) == (True, True)
    one.keeper.closed(store.bob)
    await pass_time(store, GRACE_SECONDS, one, two)
    assert (one.shows(store.bob), two.shows(store.bob)) == (False, False)
    assert await looks(store) == (False, 0.0)


async def test_a_stream_at_each_of_them_counts(store: Store, pair: Pair) -> None:
    one, two = pair
    await one.open(store.bob)
    await two.open(store.bob)
    one.keeper.closed(store.bob)
    await pass_time(store, 3 * TRUSTED_SECONDS, one, two)
    assert (one.shows(store.bob), two.versions()) == (True, 1)
    assert await looks(store) == (True, None)
    two.keeper.closed(store.bob)
    await pass_time(store, GRACE_SECONDS, one, two)
    assert (one.shows(store.bob), two.shows(store.bob)) == (False, False)


async def test_a_stream_that_moves_to_another_process_is_not_shown(
    store: Store, pair: Pair
) -> None:
    one, two = pair
    await one.open(store.bob)
    one.keeper.closed(store.bob)
    await pass_time(store, GRACE_SECONDS - 1, one, two)
    await two.open(store.bob)
    await pass_time(store, 60, one, two)
    assert (one.versions(), two.versions()) == (1, 1)


async def test_lost_news_are_found_in_the_rows(store: Store, bus: SharedBus, pair: Pair) -> None:
    one, two = pair
    bus.broken = True
    await one.open(store.bob)
    assert two.shows(store.bob) is None
    await pass_time(store, 2, one, two)
    assert two.shows(store.bob) is True
    one.keeper.closed(store.bob)
    await pass_time(store, GRACE_SECONDS + 2, one, two)
    assert two.shows(store.bob) is False
    told = one.versions(), two.versions()
    await pass_time(store, 2 * KEPT_SECONDS, one, two)
    assert (one.versions(), two.versions()) == told


async def test_a_bus_that_is_back_makes_them_look_at_once(
    store: Store, bus: SharedBus, pair: Pair
) -> None:
    one, two = pair
    bus.broken = True
    await one.open(store.bob)
    two.keeper._on_gap()
    await two.keeper.step()
    assert two.shows(store.bob) is True


async def test_who_was_at_a_process_that_died_is_offline_in_time(store: Store, pair: Pair) -> None:
    one, two = pair
    await one.open(store.bob)
    await pass_time(store, 2 * RENEW_SECONDS, one, two)
    died = store.clock.now()
    await pass_time(store, TRUSTED_SECONDS, two)
    await pass_time(store, SWEEP_SECONDS + 1, two)
    assert two.shows(store.bob) is False
    online, ago = await looks(store)
    assert not online
    assert ago is not None
    assert store.clock.now() - timedelta(seconds=ago) == died
    await pass_time(store, KEPT_SECONDS + SWEEP_SECONDS + 1, two)
    assert await store.database.run(lambda _unit: Presence.select().count(), write=False) == 0


async def test_nobody_needs_to_sweep_for_the_dead_to_be_offline(store: Store, pair: Pair) -> None:
    await pair[0].open(store.bob)
    store.clock.advance(TRUSTED_SECONDS)
    assert (await looks(store))[0]
    store.clock.advance(1)
    assert not (await looks(store))[0]


async def test_a_process_that_was_only_held_up_comes_back(store: Store, pair: Pair) -> None:
    one, two = pair
    await one.open(store.bob)
    await pass_time(store, TRUSTED_SECONDS + SWEEP_SECONDS + 1, two)
    assert two.shows(store.bob) is False
    await one.keeper.step()
    assert (one.shows(store.bob), two.shows(store.bob)) == (True, True)
    assert await looks(store) == (True, None)


async def test_a_process_that_drains_vouches_for_a_moment(store: Store, pair: Pair) -> None:
    one, two = pair
    await one.open(store.bob)
    await one.open(store.ann)
    await one.keeper.stop()
    assert (await looks(store))[0]
    await two.open(store.bob)
    await pass_time(store, 20, two)
    assert (await looks(store))[0]
    assert two.shows(store.bob) is True, "Bob was there all the time"
    assert two.shows(store.ann) is False, "Ann did not come back"


async def test_sweepers_at_once_tell_it_once(store: Store, bus: SharedBus, pair: Pair) -> None:
    one, two = pair
    dead = Process(store, bus, one.channel)
    await dead.open(store.bob)
    store.clock.advance(TRUSTED_SECONDS + 1)
    before = one.versions()
    await asyncio.gather(one.keeper._sweep(), two.keeper._sweep())
    assert one.versions() == before + 1
    assert one.shows(store.bob) is False


async def test_closing_everywhere_at_once_is_not_missed(store: Store, pair: Pair) -> None:
    for _ in range(5):
        for process in pair:
            await process.open(store.bob)
        for process in pair:
            process.keeper.closed(store.bob)
        store.clock.advance(GRACE_SECONDS)
        await asyncio.gather(*(process.keeper.step() for process in pair))
        await pass_time(store, 2, *pair)
        assert [process.shows(store.bob) for process in pair] == [False, False]
        assert not (await looks(store))[0]


async def test_a_clock_that_was_put_back_leaves_nobody_online(store: Store, pair: Pair) -> None:
    """The rows of a dead process lie in the future then."""
    one, two = pair
    good = store.clock._now
    store.clock._now = good + timedelta(days=1)
    await one.open(store.bob)
    store.clock._now = good
    assert not (await looks(store))[0]
    await pass_time(store, SWEEP_SECONDS + 1, two)
    store.clock._now = good + timedelta(days=1)
    assert not (await looks(store))[0]


async def test_a_clock_that_jumps_leaves_the_living_online(store: Store, pair: Pair) -> None:
    one, two = pair
    await one.open(store.bob)
    for jump in (timedelta(hours=1), timedelta(hours=-2)):
        store.clock._now += jump
        await pass_time(store, RENEW_SECONDS + 2, one, two)
        assert (await looks(store))[0]
        assert (one.shows(store.bob), two.shows(store.bob)) == (True, True)


async def test_a_database_that_is_away_delays_it(
    store: Store, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = pair
    run = store.database.run

    async def away(*_args: object, **_more: object) -> object:
        raise Unavailable

    monkeypatch.setattr(store.database, "run", away)
    one.keeper.opened(store.bob)
    await one.keeper._guarded(one.keeper.step())
    monkeypatch.setattr(store.database, "run", run)
    assert not (await looks(store))[0]
    await one.keeper.step()
    assert (await looks(store))[0]


async def test_a_user_who_is_gone_hinders_nobody(store: Store, pair: Pair) -> None:
    one, _ = pair
    one.keeper.opened("00000000-0000-7000-8000-000000000000")
    await one.open(store.bob)
    assert (await looks(store))[0]
    await store.database.run(
        lambda _unit: User.delete().where(User.id == store.bob).execute(), write=True
    )
    await pass_time(store, 2 * RENEW_SECONDS, one)
    assert list(one.keeper.attendance.written) == []


async def test_the_loop_does_it_by_itself(store: Store, pair: Pair) -> None:
    one, _ = pair
    one.keeper.start()
    one.keeper.opened(store.bob)
    async with asyncio.timeout(15):
        while one.shows(store.bob) is not True:
            await asyncio.sleep(0.01)
    await one.keeper.stop()
    assert isinstance(store.clock, ManualClock)

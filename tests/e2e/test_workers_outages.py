"""Two servers whose bus or database goes away for a while."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc import aio

from tests.e2e.pair import Stubs, calling, client_of, eventually, meet, reading, two_servers
from tests.support.own_postgres import OwnPostgres, restartable_postgres
from tests.support.postgres import PostgresMissing
from tests.support.valkey import ValkeyServer, valkey

__all__ = ["valkey"]

AT_ONCE_SECONDS = 0.3
"""Without the bus the heads are compared every two seconds: of five messages one takes longer than this."""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[OwnPostgres]:
    """A PostgreSQL of the test's own, that may be ended."""
    try:
        with restartable_postgres(tmp_path / "database") as server:
            yield server
    except PostgresMissing as reason:
        pytest.skip(str(reason))


async def test_without_the_bus_messages_come_late_and_all_of_them(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    with two_servers(tmp_path, bus_url=valkey.url) as pair:
        people = await meet(pair.site)
        one, other = pair.servers
        async with calling((one.address, people.ann), (other.address, people.bob)) as (ann, bob):
            await talk_without(valkey, ann, bob, people.room)
        assert pair.site.stop() == 0, pair.site.output


async def talk_without(valkey: ValkeyServer, ann: Stubs, bob: Stubs, room: str) -> None:
    texts: list[str] = []
    live = asyncio.Event()
    call = bob.watch()

    async def read() -> None:
        async for reply in call:
            if reply.HasField("heartbeat"):
                live.set()
            texts.extend(each.message.text for each in reply.events if each.HasField("message"))

    async def delay(text: str) -> float:
        await ann.send(room, text)
        return await eventually(lambda: text in texts)

    reader = asyncio.create_task(read())
    await asyncio.wait_for(live.wait(), 40)  # What is sent before that, it has not to tell of.
    with_news = [await delay(f"with {number}") for number in range(5)]
    assert min(with_news) < AT_ONCE_SECONDS, with_news
    valkey.kill()
    late = [await delay(f"without {number}") for number in range(5)]
    assert max(late) > AT_ONCE_SECONDS, "they came too soon to have come without the bus"
    valkey.start()
    # It is looked for every few seconds; until then the heads are compared.
    soon = 0
    for number in range(60):
        soon = soon + 1 if await delay(f"again {number}") < AT_ONCE_SECONDS else 0
        if soon == 5:
            break
    assert soon == 5, "the bus is not used again"
    call.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    assert len(texts) == len(set(texts))


async def test_without_the_database_calls_are_unavailable_and_work_again(
    tmp_path: Path, postgres: OwnPostgres
) -> None:
    with two_servers(tmp_path, database_url=postgres.url) as pair:
        people = await meet(pair.site)
        addresses = [server.address for server in pair.servers]
        async with (
            client_of(pair.site, people.bob) as bob,
            reading(bob, 4) as readers,
            calling(*[(address, people.ann) for address in addresses] * 2) as stubs,
        ):
            sent = await send_through_restarts(postgres, stubs, people.room)
            for reader in readers:
                await reader.has(len(sent))
                assert set(sent) <= set(reader.texts)
                assert len(reader.texts) == len(set(reader.texts))
        assert pair.site.stop() == 0, pair.site.output


async def send_through_restarts(postgres: OwnPostgres, stubs: list[Stubs], room: str) -> list[str]:
    """What was acknowledged while PostgreSQL was ended in good order, and then broken off."""
    outcomes: Counter[str] = Counter()
    sent: list[str] = []
    done = asyncio.Event()

    async def send(each: Stubs, sender: int) -> None:
        for number in itertools.count():
            if done.is_set():
                return
            try:
                await each.send(room, f"{sender}-{number}")
                sent.append(f"{sender}-{number}")
                outcomes["OK"] += 1
            except aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(send(each, sender)) for sender, each in enumerate(stubs)]
    await eventually(lambda: outcomes["OK"] > 20)
    for at_once in (False, True):
        await asyncio.to_thread(postgres.stop, at_once=at_once)
        refused = outcomes["UNAVAILABLE"]
        await eventually(lambda seen=refused: outcomes["UNAVAILABLE"] > seen + 10)
        await asyncio.to_thread(postgres.start)
        done_before = outcomes["OK"]
        assert await eventually(lambda seen=done_before: outcomes["OK"] > seen + 20) < 5
    done.set()
    await asyncio.gather(*tasks)
    # On a busy machine calls wait so long for a connection that they are told so.
    assert outcomes.keys() - {"RESOURCE_EXHAUSTED"} == {"OK", "UNAVAILABLE"}, outcomes
    return sent

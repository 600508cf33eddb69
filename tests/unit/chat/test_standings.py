"""Many ask where channels stand; few statements answer."""

import asyncio
from collections.abc import Collection

import pytest

from server.chat.rules import Standing
from server.chat.standings import BATCH_LIMIT, Asked, Standings
from server.core.errors import Unavailable

ROOM = Standing("room", 1, 5, 0, 0, 0)


class Table:
    """A statement that ends when it is told to."""

    def __init__(self) -> None:
        self.groups: list[set[Asked]] = []
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, asked: Collection[Asked]) -> dict[Asked, Standing]:
        self.groups.append(set(asked))
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return {each: ROOM for each in asked if each[1] != "stranger"}


async def asked() -> tuple[Table, Standings, "asyncio.Task[Standing | None]"]:
    """A question of Ann's whose statement is on its way."""
    table = Table()
    standings = Standings(table.read)
    first = asyncio.create_task(standings.of("ann", "room"))
    while not table.groups:
        await asyncio.sleep(0)
    return table, standings, first


async def test_those_who_ask_meanwhile_share_the_next_statement() -> None:
    table, standings, first = await asked()
    more = [asyncio.create_task(standings.of(who, "room")) for who in ("ann", "bob", "stranger")]
    await asyncio.sleep(0)
    table.go_on.set()
    assert await first == ROOM
    # Ann's second question is not answered by the statement that was on its way when she asked it.
    assert await asyncio.gather(*more) == [ROOM, ROOM, None]
    assert table.groups == [
        {("room", "ann")},
        {("room", "ann"), ("room", "bob"), ("room", "stranger")},
    ]


async def test_a_group_has_its_limit() -> None:
    table = Table()
    table.go_on.set()
    standings = Standings(table.read)
    calls = [standings.of(f"user {number}", "room") for number in range(BATCH_LIMIT + 1)]
    assert await asyncio.gather(*calls) == [ROOM] * (BATCH_LIMIT + 1)
    assert [len(group) for group in table.groups] == [BATCH_LIMIT, 1]


async def test_an_error_reaches_everybody_of_its_group_and_nobody_else() -> None:
    table = Table()
    table.error = Unavailable()
    table.go_on.set()
    standings = Standings(table.read)
    failed = await asyncio.gather(
        *(standings.of(who, "room") for who in ("ann", "bob")), return_exceptions=True
    )
    assert [type(error) for error in failed] == [Unavailable, Unavailable]
    table.error = None
    assert await standings.of("ann", "room") == ROOM


async def test_who_gives_up_is_not_asked_for_and_stops_nobody() -> None:
    table, standings, first = await asked()
    gone, stays = (asyncio.create_task(standings.of(who, "room")) for who in ("bob", "cem"))
    await asyncio.sleep(0)
    first.cancel()
    gone.cancel()
    table.go_on.set()
    assert await stays == ROOM
    for task in (first, gone):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert table.groups[1:] == [{("room", "cem")}]

"""Looking for messages by their words."""

import asyncio
import time
from typing import Any

import pytest
from grpc import StatusCode

from server.chat.models import Channel, Member, Message
from server.chat.sending import SendCommand
from server.core.ids import new_id
from server.core.text_search import folded
from server.core.unit import Unit
from tests.rpc.chat.scenes import Room, chat_of, direct, in_unit
from tests.rpc.chat.talk import (
    archive,
    delete,
    edit,
    found,
    group_of,
    leave,
    pass_time,
    search,
    send,
    set_channel,
)
from tests.support.serve import Person
from tests.support.statuses import failure_of, refused

EMPTY = (StatusCode.INVALID_ARGUMENT, "CHAT_ERROR_REASON_QUERY_EMPTY")
NO_CHANNEL = (StatusCode.NOT_FOUND, "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND")
NO_PAGE = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN")

CORPUS = [
    "Good morning, everybody!",
    "Die Straße nach München ist gesperrt",
    "MÜNCHEN is Munich",
    "snake_case and camelCase",
    "see https://example.com/docs?page=2#top",
    "invoice 2026-11-21 over 1,299.00 €",
    "日本語のメッセージです",
    "本日は晴天なり",
    "привет, Ёлка",
    "party 🎉🎉 tonight 👍🏽",
    "café crème",
    "naïve façade",
    "résumé.pdf attached",
    "it's 5 o'clock",
    "C++ and C#",
    "שלום עולם",
    "مَرحَبا بالعالم",
    "हिन्दी में संदेश",
    "한국어 메시지",
    "ｆｕｌｌ　ｗｉｄｔｈ",
]
QUERIES = {
    "morning": [0],
    "good every": [0],
    "every good": [0],
    "good evening": [],
    "munchen": [2, 1],
    "Münch": [2, 1],
    "mün is": [2, 1],
    "strasse": [1],
    "snake": [3],
    "case": [3],
    "snake_case": [3],
    "camel": [3],
    "docs": [4],
    "example.com": [4],
    "https://example.com/docs": [4],
    "2026-11": [5],
    "1,299": [5],
    "299": [5],
    "日本": [6],
    "本日": [7],
    "日": [7, 6],
    "本語 日本": [6],
    "елка": [8],
    "ПРИВЕТ": [8],
    "🎉": [9],
    "👍": [9],
    "party🎉": [9],
    "cafe creme": [10],
    "cafe\u0301": [10],
    "facade": [11],
    "resume pdf": [12],
    "5 clock": [13],
    "c": [14, 13, 10, 4, 3],
    "שלום": [15],
    "مرحبا": [16],
    "हिन्दी": [17],
    "한국": [18],
    "full WIDTH": [19],
}


async def test_the_same_is_found_on_both_databases(room: Room) -> None:
    for text in CORPUS:
        await send(room, text)
    assert {query: await found(room, query) for query in QUERIES} == {
        query: [CORPUS[place] for place in places] for query, places in QUERIES.items()
    }


@pytest.mark.parametrize("query", [" ", "?!", "_", "\u200b", "…"], ids=ascii)
async def test_a_query_without_words(room: Room, query: str) -> None:
    await refused(search(room, query), *EMPTY)


async def test_a_query_has_its_size(room: Room) -> None:
    for query in ("", "x" * 201):
        error = await failure_of(search(room, query))
        assert (error.code(), "query" in str(error.trailing_metadata())) == (
            StatusCode.INVALID_ARGUMENT,
            True,
        )
    for query in ("\U00020000" * 200, "a " * 100, '"' * 199 + "a", "﷽" * 200, "'' OR ('a':*"):
        assert await found(room, query) == []


async def test_only_in_ones_own_channels(room: Room) -> None:
    cid = await room.server.person("Cid")
    other = Room(room.server, cid, room.bob, await direct(room.server, cid, room.bob.id))
    await send(room, "needle for ann")
    await send(other, "needle for cid")
    group = await group_of(room, cid)
    await send(group, "needle for all")
    assert await found(room, "needle") == ["needle for all", "needle for ann"]
    assert await found(room, "needle", by=cid) == ["needle for all", "needle for cid"]
    assert len(await found(room, "needle", by=room.bob)) == 3
    await leave(group, cid)
    assert await found(room, "needle", by=cid) == ["needle for cid"]
    await refused(search(room, "needle", by=cid, channel_id=group.channel.id), *NO_CHANNEL)
    await refused(search(room, "needle", channel_id=new_id()), *NO_CHANNEL)
    nobody = await room.server.person("Dan")
    assert await found(room, "needle", by=nobody) == []


async def test_channels_whose_words_look_alike_are_told_apart(room: Room) -> None:
    """The index knows of a channel the end of its id only."""
    await send(room, "needle")
    twin = new_id()[:-8] + room.channel.id[-8:]

    def make(unit: Unit) -> None:
        Channel.create(id=twin, type="GROUP", last_seq=1)
        Message.create(
            channel_id=twin, seq=1, sender_id=new_id(), client_id="x", text="needle of others"
        )
        assert unit.write

    await in_unit(room.server, make)
    assert await found(room, "needle") == ["needle"]


async def test_filters(room: Room) -> None:
    group = await group_of(room)
    start = room.server.clock.now()
    for place, (where, who) in enumerate([(room, room.ann), (room, room.bob), (group, room.bob)]):
        await send(where, f"word {place}", by=who)
        pass_time(room, 10)
    assert await found(room, "word", sender_id=room.bob.id) == ["word 2", "word 1"]
    assert await found(room, "word", channel_id=room.channel.id) == ["word 1", "word 0"]
    assert await found(room, "word", sender_id=new_id()) == []

    def at(seconds: int) -> Any:
        return start.fromtimestamp(start.timestamp() + seconds, start.tzinfo)

    assert await found(room, "word", start_time=at(10)) == ["word 2", "word 1"]
    assert await found(room, "word", end_time=at(20)) == ["word 1", "word 0"]
    assert await found(room, "word", start_time=at(10), end_time=at(20)) == ["word 1"]
    assert await found(room, "word", start_time=at(20), end_time=at(10)) == []


async def test_edits_and_deletions_are_followed_at_once(room: Room) -> None:
    message, gone = await send(room, "alpha beta"), await send(room, "alpha gone")
    await edit(room, message.id, "gamma délta")
    await delete(room, gone.id)
    assert await found(room, "alpha") == []
    assert await found(room, "delta gamma") == ["gamma délta"]
    await edit(room, message.id, "alpha again")
    assert await found(room, "gamma") == []
    assert await found(room, "alpha") == ["alpha again"]


async def test_an_archived_channel_is_searched(room: Room) -> None:
    await send(room, "kept")
    await archive(room)
    assert await found(room, "kept") == ["kept"]
    await set_channel(room, blocked=True)
    assert await found(room, "kept", by=room.bob) == ["kept"]


async def test_pages_go_on_where_they_ended(room: Room) -> None:
    group = await group_of(room)
    for number in range(12):
        await send((room, group)[number % 2], f"word {number}")
        pass_time(room, number % 3)
    seen: list[str] = []
    token = ""
    for page in range(10):
        reply = await search(room, "word", page_size=5, page_token=token)
        seen += [message.text for message in reply.messages]
        token = reply.next_page_token
        if not token:
            break
        # What comes between the pages is not among them.
        await send(room, f"word between {page}")
    assert seen == [f"word {number}" for number in reversed(range(12))]
    reply = await search(room, "word", page_size=5)
    for other in ({"query": "words"}, {"sender_id": room.ann.id}, {"channel_id": room.channel.id}):
        await refused(
            search(room, **{"query": "word", "page_token": reply.next_page_token, **other}),
            *NO_PAGE,
        )
    await refused(search(room, "word", by=room.bob, page_token=reply.next_page_token), *NO_PAGE)
    await refused(search(room, "word", page_token="x"), *NO_PAGE)


async def test_somebody_in_hundreds_of_channels(room: Room) -> None:
    """More than one statement looks into."""
    channel_ids = [new_id() for _ in range(450)]

    def make(unit: Unit) -> None:
        for place, channel_id in enumerate(channel_ids):
            Channel.create(id=channel_id, type="GROUP", last_seq=1)
            _add(unit, channel_id, room.ann)
            Message.create(
                channel_id=channel_id,
                seq=1,
                sender_id=room.bob.id,
                client_id=str(place),
                text="hay",
            )

    await in_unit(room.server, make)
    seen: list[str] = []
    token = ""
    while True:
        reply = await search(room, "hay", page_size=200, page_token=token)
        seen += [message.channel_id for message in reply.messages]
        token = reply.next_page_token
        if not token:
            break
    assert seen == channel_ids[::-1]
    # As many words as count, none of which is there: every one of them is looked for everywhere.
    nothing = " ".join("abcdefghijklmnopqrstuvwxyz"[:16])
    assert not (await search(room, nothing)).messages


def _add(unit: Unit, channel_id: str, person: Person) -> None:
    Member.insert(
        channel_id=channel_id, user_id=person.id, create_time=unit.now, update_time=unit.now
    ).execute()


async def test_what_others_write_costs_nothing(room: Room) -> None:
    """100,000 messages elsewhere that all match: the search takes as long as without them."""
    cid = await room.server.person("Cid")
    other = await direct(room.server, cid, room.bob.id)
    await send(room, "common needle")
    alone = await _seconds(room)
    lane = chat_of(room.server).lane
    for begin in range(0, 100_000, 4000):
        await asyncio.gather(
            *(
                lane.send(SendCommand(other.id, cid.id, f"{begin + n}", f"common needle {n % 97}"))
                for n in range(4000)
            )
        )
    assert await found(room, "common needle") == ["common needle"]
    assert await found(room, "c n") == ["common needle"]
    beside = await _seconds(room)
    # To walk through the matches of others takes from 50 ms on.
    assert beside < 5 * alone + 0.02, (alone, beside)
    assert len((await search(room, "common", by=cid, page_size=200)).messages) == 200


async def _seconds(room: Room) -> float:
    """The median of some searches."""
    times = []
    for _ in range(15):
        began = time.perf_counter()
        assert await found(room, "comm nee") == ["common needle"]
        times.append(time.perf_counter() - began)
    return sorted(times)[7]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("".join(chr(0x20000 + number) for number in range(4000)), chr(0x20000 + 3999)),
        ("\U0001f980" * 4000, "\U0001f980"),
        ("\U00010400" * 4000, "\U00010428" * 200),
        ("x" * 4000, "x" * 200),
        ("\u202eمرحبا\u202c \u2067שלום\u2069", "שלום مرحبا"),
        ("ﷺ" * 4000, "الله"),
        ("e" + "\u0301" * 3999, "é"),
        ("\u0001 \x7f\ufffe needle", "needle"),
        ("%s %d {} $1 \\ ' \" ; -- needle", "needle %s d"),
    ],
    ids=["signs", "emoji", "case", "long", "rtl", "ligatures", "accents", "controls", "quotes"],
)
async def test_whatever_can_be_said_is_found(room: Room, text: str, query: str) -> None:
    message = await send(room, text)
    assert message.text == text
    assert await found(room, query, by=room.bob) == [text]
    await delete(room, message.id)
    assert await found(room, query) == []


async def test_the_words_of_a_message_are_made_once(room: Room) -> None:
    """What the lane and the edits store is what the index is made of."""
    message = await send(room, "Straße, Straße!")
    plain = await send(room, "street")

    def read(_unit: Unit) -> list[str | None]:
        rows = [Message.get_by_id(one.id) for one in (message, plain)]
        return [row.folded for row in rows]

    assert await in_unit(room.server, read) == [folded("Straße, Straße!"), None]

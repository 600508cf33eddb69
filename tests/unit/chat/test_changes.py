"""Changes on their way to subscribers: each once, in order, however the news of them travels."""

import asyncio

from server.chat.hub import FILL_CHANGES
from server.chat.ring import NOTES
from server.chat.subscriber import Subscriber
from server.core.errors import Unavailable
from tests.unit.chat.conftest import Bench, frame_of


def change_of(channel: str, seq: int, change: int) -> str:
    return f"{channel}{seq}={change};"


async def settled() -> None:
    """Lets what the hub has begun to read come to its end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def edit(bench: Bench, channel: str, seq: int) -> int:
    change = bench.history.edit(channel, seq)
    bench.hub.touched(channel, 1, change)
    await settled()
    return change


async def caught_up(bench: Bench, subscriber: Subscriber) -> str:
    """What a stream reads from the database when changes are owed to it, as ``stream.py`` does."""
    written = b""
    for ring, position in subscriber.positions.items():
        while position.owed:
            reached = ring.known_change
            changes = await bench.history.changes(ring.channel_id, 1, position.change, 16)
            position.owed = len(changes) == 16
            last = changes[-1].change if changes else 0
            position.change = max(position.change, last, 0 if position.owed else reached)
            written += b"".join(change.frame for change in changes)
    return written.decode()


async def test_a_change_reaches_all_who_watch(bench: Bench) -> None:
    bench.history.put("a", 3)
    subscribers = [bench.watch(user, "a") for user in ("u", "v")]
    for subscriber in subscribers:
        await bench.read(subscriber)
    await edit(bench, "a", 2)
    for subscriber in subscribers:
        assert await bench.read(subscriber) == change_of("a", 2, 1)
        assert subscriber.positions[next(iter(subscriber.positions))].change == 1
    assert bench.history.change_reads == 1


async def test_two_changes_of_one_message_are_one(bench: Bench) -> None:
    bench.history.put("a", 3)
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.edit("a", 2)
    await edit(bench, "a", 2)
    assert await bench.read(subscriber) == change_of("a", 2, 2)


async def test_news_of_a_change_may_come_twice_late_or_never(bench: Bench) -> None:
    bench.history.put("a", 3)
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.edit("a", 1)
    bench.history.edit("a", 2)
    await bench.hub.check()
    await settled()
    assert await bench.read(subscriber) == change_of("a", 1, 1) + change_of("a", 2, 2)
    bench.hub.touched("a", 1, 1)
    bench.hub.touched("a", 1, 2)
    bench.hub.touched("a", 7, 99)
    await settled()
    assert await bench.read(subscriber) == ""


async def test_messages_come_before_their_changes(bench: Bench) -> None:
    bench.history.put("a", 3)
    subscriber = bench.watch("u", "a", after=0)
    await edit(bench, "a", 2)
    text = await bench.read(subscriber)
    assert text.endswith(change_of("a", 2, 1))
    assert text.count("a2") == 2


async def test_what_is_in_memory_is_replaced_by_what_it_is_now(bench: Bench) -> None:
    watcher = bench.watch("u", "a")
    for _ in range(3):
        bench.send("a")
    await edit(bench, "a", 2)
    assert await bench.read(watcher) == (
        frame_of("a", 1).decode() + "a2*1;" + frame_of("a", 3).decode() + change_of("a", 2, 1)
    )
    # A longer frame moves the ends of those after it.
    other = bench.watch("v", "a", after=1, change=1)
    assert await bench.read(other) == "a2*1;" + frame_of("a", 3).decode()


async def test_pages_of_the_history_are_read_again_after_a_change(bench: Bench) -> None:
    bench.history.put("a", 600)
    await bench.read(bench.watch("u", "a", after=0))
    reads = bench.history.reads
    await bench.read(bench.watch("v", "a", after=0))
    assert bench.history.reads < 2 * reads
    await edit(bench, "a", 5)
    reads = bench.history.reads
    await bench.read(bench.watch("w", "a", after=0))
    assert bench.history.reads > reads


async def test_who_comes_back_is_owed_what_has_changed_and_gets_it_in_order(bench: Bench) -> None:
    bench.history.put("a", 40)
    for seq in range(1, 31):
        bench.history.edit("a", seq)
    subscriber = bench.watch("u", "a", change=5)
    assert subscriber.marks_due
    await edit(bench, "a", 31)
    assert await bench.read(subscriber) == ""
    expected = "".join(change_of("a", seq, seq) for seq in range(6, 32))
    assert await caught_up(bench, subscriber) == expected
    await edit(bench, "a", 1)
    assert await bench.read(subscriber) == change_of("a", 1, 32)


async def test_more_changes_than_notes_are_read_from_the_database(bench: Bench) -> None:
    count = NOTES + 10
    bench.history.put("a", count)
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    for seq in range(1, count + 1):
        await edit(bench, "a", seq)
    text = await bench.read(subscriber)
    assert subscriber.marks_due
    text += await caught_up(bench, subscriber)
    assert text == "".join(change_of("a", seq, seq) for seq in range(1, count + 1))


async def test_a_hole_too_large_for_notes_is_left_to_the_readers(bench: Bench) -> None:
    count = FILL_CHANGES + 50
    bench.history.put("a", count)
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    for seq in range(1, count + 1):
        bench.history.edit("a", seq)
    await bench.hub.check()
    await settled()
    assert bench.history.change_reads == 0
    assert await bench.read(subscriber) == ""
    assert subscriber.marks_due
    expected = "".join(change_of("a", seq, seq) for seq in range(1, count + 1))
    assert await caught_up(bench, subscriber) == expected


async def test_a_failed_read_is_made_up_for_by_the_next_check(bench: Bench) -> None:
    bench.history.put("a", 3)
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.error = Unavailable()
    await edit(bench, "a", 2)
    assert await bench.read(subscriber) == ""
    bench.history.error = None
    await bench.hub.check()
    await settled()
    assert await bench.read(subscriber) == change_of("a", 2, 1)


async def test_who_has_left_gets_nothing_more_of_the_channel(bench: Bench) -> None:
    leaver, stays = bench.watch("u", "a"), bench.watch("v", "a")
    for subscriber in (leaver, stays):
        await bench.read(subscriber)
    bench.hub.left("a", ["u", "nobody"])
    assert leaver.ended == [("a", 1)]
    bench.send("a")
    assert await bench.read(leaver) == ""
    assert await bench.read(stays) == frame_of("a", 1).decode()
    bench.hub.unsubscribe(stays)
    assert not bench.hub.watches("a")
    bench.hub.unsubscribe(leaver)


async def test_a_departure_of_which_the_news_was_lost_is_found(bench: Bench) -> None:
    leaver = bench.watch("u", "a")
    bench.history.departures = [("a", "u")]
    await bench.hub.check_all()
    assert leaver.ended == [("a", 1)]
    assert not bench.hub.watches("a")

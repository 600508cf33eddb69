"""The hub: nothing lost, nothing doubled, whatever it is told and in whichever order."""

import asyncio
import random

from server.chat.hub import FILL_EVENTS, REST_SECONDS
from server.chat.pace import COALESCE_SECONDS, MOST_COALESCE_SECONDS
from server.chat.page_cache import PAGE_EVENTS
from server.chat.ring import RING_EVENTS
from server.chat.subscriber import Place
from server.core.errors import Unavailable
from tests.unit.chat.conftest import Bench, frame_of


def frames(channel: str, first: int, last: int) -> str:
    return "".join(frame_of(channel, seq).decode() for seq in range(first, last + 1))


async def settle() -> None:
    """Lets the hub's tasks come to their end."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_live_events_come_in_order(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    assert await bench.read(subscriber) == ""
    for _ in range(3):
        bench.send("a")
    assert await bench.read(subscriber) == frames("a", 1, 3)
    assert await bench.read(subscriber) == ""


async def test_what_was_missed_is_read_from_the_database_then_live(bench: Bench) -> None:
    bench.history.put("a", PAGE_EVENTS * 3 + 7)
    subscriber = bench.watch("u", "a", after=5)
    bench.send("a")
    assert await bench.read(subscriber) == frames("a", 6, PAGE_EVENTS * 3 + 8)


async def test_stored_between_reading_the_standing_and_attaching(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    bench.history.put("a", 2)
    await bench.hub.check(["a"])
    await settle()
    assert await bench.read(subscriber) == frames("a", 1, 2)


async def test_lost_news_are_healed_by_the_check(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.put("a", 3)
    assert await bench.read(subscriber) == ""
    await bench.hub.check_all()
    await settle()
    assert await bench.read(subscriber) == frames("a", 1, 3)


async def test_a_hole_is_filled_before_what_follows_it(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.put("a")
    bench.send("a")
    assert await bench.read(subscriber) == ""
    await settle()
    assert await bench.read(subscriber) == frames("a", 1, 2)


async def test_events_during_a_fill_are_neither_lost_nor_doubled(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.gate = asyncio.Event()
    bench.history.put("a", 2)
    bench.hub.heard("a", 1, 2)
    await settle()
    bench.send("a")
    bench.send("a")
    bench.history.gate.set()
    await settle()
    assert await bench.read(subscriber) == frames("a", 1, 4)


async def test_a_failed_fill_is_begun_again_by_the_check(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.error = Unavailable()
    bench.history.put("a")
    bench.hub.heard("a", 1, 1)
    await settle()
    assert await bench.read(subscriber) == ""
    bench.history.error = None
    await bench.hub.check()
    await settle()
    assert await bench.read(subscriber) == frames("a", 1, 1)


async def test_a_large_hole_is_left_to_the_database(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    bench.history.put("a", FILL_EVENTS + 50)
    await bench.hub.check()
    assert await bench.read(subscriber) == frames("a", 1, FILL_EVENTS + 50)
    bench.send("a")
    assert await bench.read(subscriber) == frames("a", FILL_EVENTS + 51, FILL_EVENTS + 51)


async def test_who_falls_out_of_the_ring_goes_on_from_the_database(bench: Bench) -> None:
    slow, fast = bench.watch("u", "a"), bench.watch("v", "a")
    await bench.read(slow)
    for _ in range(RING_EVENTS + 100):
        bench.send("a")
        bench.timers.advance(1.0)
        await bench.read(fast)
    assert bench.history.reads == 0
    assert await bench.read(slow) == frames("a", 1, RING_EVENTS + 100)
    assert bench.history.reads > 0


async def test_those_on_the_way_through_one_history_share_its_pages(bench: Bench) -> None:
    bench.history.put("a", PAGE_EVENTS * 4)
    subscribers = [bench.watch(str(number), "a", after=0) for number in range(10)]
    everything = frames("a", 1, PAGE_EVENTS * 4)
    got = await asyncio.gather(*map(bench.read, subscribers))
    assert set(got) == {everything}
    assert bench.history.reads <= 5


async def test_random_news_lose_and_double_nothing(bench: Bench) -> None:
    """Losses, repetitions, other processes' sends, checks and readers in any order."""
    chance = random.Random(7)
    subscribers = {bench.watch(str(number), "a"): "" for number in range(5)}
    for _ in range(3000):
        match chance.randrange(6):
            case 0 | 1:
                bench.send("a")
            case 2:
                bench.history.put("a")
            case 3:
                bench.hub.heard("a", 1, chance.randint(0, bench.history.channels["a"][1]))
            case 4:
                head = bench.history.channels["a"][1]
                if head:
                    bench.hub.append("a", 1, head, "s", frame_of("a", head))
            case 5:
                await settle()
                reader = chance.choice(list(subscribers))
                subscribers[reader] += await bench.read(reader)
    await bench.hub.check()
    await settle()
    everything = frames("a", 1, bench.history.channels["a"][1])
    for reader, got in subscribers.items():
        assert got + await bench.read(reader) == everything


async def test_a_new_epoch_is_a_gap_and_goes_on_from_its_head(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    bench.send("a")
    await bench.read(subscriber)
    bench.history.channels["a"] = (2, 40)
    await bench.hub.check()
    assert subscriber.positions[next(iter(subscriber.positions))].seen() == (1, 1)
    assert await bench.read(subscriber) == "gap-a-2-41;"
    bench.send("a")
    assert await bench.read(subscriber) == frames("a", 41, 41)


async def test_history_that_is_pruned_meanwhile_is_a_gap(bench: Bench) -> None:
    bench.history.put("a", 600)
    subscriber = bench.watch("u", "a", after=10)
    bench.history.start["a"] = 500
    assert await bench.read(subscriber) == "gap-a-1-501;" + frames("a", 501, 600)
    other = bench.watch("u", "a", after=10)
    bench.history.start["a"] = 600
    bench.hub._pages._pages.clear()
    assert await bench.read(other) == "gap-a-1-601;"


async def test_one_long_history_does_not_hold_other_channels_up(bench: Bench) -> None:
    bench.history.put("a", PAGE_EVENTS * 2)
    subscriber = bench.watch("u", "a", after=0)
    bench.hub.attach(subscriber, "b", Place(1, 0, 1))
    bench.history.channels["b"] = (1, 0)
    bench.send("b")
    assert subscriber.take(lambda *_: b"") == frame_of("b", 1)
    assert subscriber.behind


async def test_the_first_event_is_written_at_once_and_the_next_ones_together(
    bench: Bench,
) -> None:
    subscriber = bench.watch("u", "a")
    await bench.read(subscriber)
    ready = asyncio.ensure_future(subscriber.ready())
    await settle()
    bench.send("a")
    await settle()
    assert ready.done()
    assert await bench.read(subscriber) == frames("a", 1, 1)
    ready = asyncio.ensure_future(subscriber.ready())
    await settle()
    for _ in range(5):
        bench.send("a")
        await settle()
    assert not ready.done()
    assert bench.timers.pending == 1
    bench.timers.advance(COALESCE_SECONDS)
    await settle()
    assert ready.done()
    assert await bench.read(subscriber) == frames("a", 2, 6)
    bench.timers.advance(1.0)
    ready = asyncio.ensure_future(subscriber.ready())
    await settle()
    bench.send("a")
    await settle()
    assert ready.done()


async def test_one_tick_wakes_all_and_they_share_the_bytes(bench: Bench) -> None:
    subscribers = [bench.watch(str(number), "a") for number in range(50)]
    for subscriber in subscribers:
        await bench.read(subscriber)
    bench.send("a")
    for subscriber in subscribers:
        await bench.read(subscriber)
    waiting = [asyncio.ensure_future(subscriber.ready()) for subscriber in subscribers]
    await settle()
    for _ in range(10):
        bench.send("a")
    assert bench.timers.pending == 1
    bench.timers.advance(COALESCE_SECONDS)
    await settle()
    assert all(future.done() for future in waiting)
    replies = {id(subscriber.take(lambda *_: b"")) for subscriber in subscribers}
    assert len(replies) == 1


async def test_ticks_come_at_the_pace(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    for seconds in (COALESCE_SECONDS, MOST_COALESCE_SECONDS, COALESCE_SECONDS):
        bench.pace.seconds = seconds
        began = bench.timers.now
        bench.send("a")
        await bench.read(subscriber)
        bench.send("a")
        ready = asyncio.ensure_future(subscriber.ready())
        await settle()
        while not ready.done():
            bench.timers.advance(0.001)
            await settle()
        await bench.read(subscriber)
        assert bench.timers.now - began <= seconds + 0.002
        bench.timers.advance(1.0)


async def test_a_signal_does_not_wait_for_the_tick(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    bench.send("a")
    await bench.read(subscriber)
    bench.send("a")
    ready = asyncio.ensure_future(subscriber.ready())
    await settle()
    assert not ready.done()
    subscriber.signal()
    await settle()
    assert ready.done()


async def test_a_lagging_reader_is_not_slowed_down_further(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    bench.history.channels["a"] = (1, 0)
    for number in range(1, 20):
        bench.history.put("a")
        bench.hub.append("a", 1, number, "s", bytes(10_000))
    taken = subscriber.take(lambda *_: b"")
    assert len(taken) < 80_000
    await asyncio.wait_for(subscriber.ready(), 1)


async def test_typing_is_not_for_its_author_and_ends_with_a_message(bench: Bench) -> None:
    author, other = bench.watch("s", "a"), bench.watch("u", "a")
    bench.hub.note("a", "typing", "s", b"typing;", seconds=5, not_for="s")
    assert await bench.read(author) == ""
    assert await bench.read(other) == "typing;"
    bench.hub.note("a", "typing", "s", b"typing;", seconds=5, not_for="s")
    bench.send("a", sender="s")
    assert await bench.read(other) == frames("a", 1, 1)


async def test_read_marks_come_after_the_messages_they_may_speak_of(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    bench.hub.note("a", "read", "s", b"read;", rank=1)
    bench.send("a")
    assert await bench.read(subscriber) == frames("a", 1, 1) + "read;"


async def test_followers_hear_of_channels_they_join_once(bench: Bench) -> None:
    subscriber = bench.watch("u", "a")
    bench.hub.follow(subscriber)
    bench.hub.joined("b", ["u", "x"])
    bench.hub.joined("b", ["u"])
    bench.hub.joined("a", ["u"])
    bench.history.members = [("a", "u"), ("c", "u"), ("d", "x")]
    await bench.hub.check_all()
    assert subscriber.joins == ["b", "c"]


async def test_rings_live_as_long_as_somebody_watches(bench: Bench) -> None:
    one, two = bench.watch("u", "a"), bench.watch("v", "a")
    bench.hub.unsubscribe(one)
    assert bench.hub.watches("a")
    bench.hub.unsubscribe(two)
    assert not bench.hub.watches("a")
    bench.send("a")


async def test_a_quiet_ring_gives_its_memory_back_unless_somebody_is_behind(
    bench: Bench,
) -> None:
    subscriber = bench.watch("u", "a")
    bench.send("a")
    [ring] = subscriber.positions
    bench.timers.advance(REST_SECONDS + 1)
    await bench.hub.check_all()
    assert len(ring) == 1
    await bench.read(subscriber)
    await bench.hub.check_all()
    assert len(ring) == 0
    bench.send("a")
    assert await bench.read(subscriber) == frames("a", 2, 2)

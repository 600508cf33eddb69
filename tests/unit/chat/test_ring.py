"""Rings: bounded, contiguous, shared."""

import math

from hypothesis import given
from hypothesis import strategies as st

from server.chat.ring import NOTES, REPLY_BYTES, RING_BYTES, RING_EVENTS, Ring


def ring_of(*frames: bytes, head: int = 0) -> Ring:
    ring = Ring("c")
    ring.restart(1, head)
    for frame in frames:
        ring.push(frame)
    return ring


def test_chunks_join_what_follows_a_position() -> None:
    ring = ring_of(b"a", b"bb", b"ccc", head=10)
    assert (ring.first, ring.head, ring.size) == (11, 13, 6)
    assert ring.chunk(11) == (14, b"abbccc")
    assert ring.chunk(13) == (14, b"ccc")


def test_those_at_one_position_share_one_object() -> None:
    ring = ring_of(b"a", b"b")
    assert ring.chunk(1)[1] is ring.chunk(1)[1]
    ring.push(b"c")
    assert ring.chunk(1) == (4, b"abc")


def test_a_chunk_is_bounded_but_never_empty() -> None:
    half = b"x" * (REPLY_BYTES // 2)
    ring = ring_of(half, half, b"y", b"z" * (2 * REPLY_BYTES))
    assert ring.chunk(1) == (3, half + half)
    assert ring.chunk(3) == (4, b"y")
    assert ring.chunk(4)[0] == 5


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=400))
def test_chunks_in_a_row_are_the_whole(sizes: list[int]) -> None:
    frames = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    ring = ring_of(*frames, head=5)
    seq, got = ring.first, []
    while seq <= ring.head:
        following, joined = ring.chunk(seq)
        assert following > seq
        got.append(joined)
        seq = following
    assert b"".join(got) == b"".join(frames[ring.first - 6 :])


def test_a_ring_is_bounded_in_events_and_bytes() -> None:
    many = ring_of(*[b"x"] * (RING_EVENTS * 3))
    assert len(many) <= RING_EVENTS
    assert many.head == RING_EVENTS * 3
    assert many.head - many.first + 1 == len(many)
    assert many.chunk(many.head) == (many.head + 1, b"x")
    large = ring_of(*[b"y" * 100_000] * 50)
    assert large.size <= RING_BYTES
    assert large.head - large.first + 1 == len(large) > 0


def note(ring: Ring, user: str, frame: bytes, rank: int = 0, not_for: str = "") -> bool:
    return ring.note("read", user, frame, rank=rank, expires=math.inf, not_for=not_for)


def test_only_the_last_value_of_a_user_is_kept() -> None:
    ring = ring_of()
    note(ring, "u", b"1")
    seen = ring.version
    note(ring, "v", b"2")
    note(ring, "u", b"3")
    assert ring.notes_after(0, "w", 0.0, 0) == [b"2", b"3"]
    assert ring.notes_after(seen, "w", 0.0, 0) == [b"2", b"3"]
    assert ring.notes_after(ring.version, "w", 0.0, 0) == []


def test_a_value_that_comes_late_does_not_undo_a_later_one() -> None:
    ring = ring_of()
    assert note(ring, "u", b"7", rank=7)
    assert not note(ring, "u", b"5", rank=5)
    assert ring.notes_after(0, "w", 0.0, 0) == [b"7"]


def test_notes_expire_and_are_not_for_their_author() -> None:
    ring = ring_of()
    ring.note("typing", "u", b"t", rank=0, expires=5.0, not_for="u")
    assert ring.notes_after(0, "w", 4.9, 0) == [b"t"]
    assert ring.notes_after(0, "w", 5.0, 0) == []
    assert ring.notes_after(0, "u", 4.9, 0) == []


def test_notes_are_bounded_and_it_is_known_what_was_dropped() -> None:
    ring = ring_of()
    for number in range(NOTES + 3):
        note(ring, str(number), b"n")
    assert len(ring.notes) == NOTES
    assert ring.forgotten == 3


def test_a_note_for_one_is_not_told_to_others() -> None:
    ring = ring_of()
    ring.note("unread", "u", b"x", rank=0, expires=5.0, only_for="u")
    assert ring.notes_after(0, "u", 0.0, 0) == [b"x"]
    assert ring.notes_after(0, "v", 0.0, 0) == []


def test_changes_that_were_seen_are_left_out() -> None:
    ring = ring_of()
    for change in (3, 4):
        ring.note("message", str(change), b"%d" % change, rank=change, expires=5.0, change=change)
    ring.note("read", "u", b"r", rank=1, expires=5.0)
    assert ring.notes_after(0, "v", 0.0, 3) == [b"4", b"r"]


def test_a_replaced_event_keeps_the_others_in_their_places() -> None:
    ring = ring_of()
    ring.restart(1, 0)
    for frame in (b"a", b"b", b"c"):
        ring.push(frame)
    ring.replace(2, b"long")
    ring.replace(9, b"gone")
    assert ring.chunk(1) == (4, b"alongc")
    assert ring.chunk(3) == (4, b"c")
    assert ring.size == 6

"""From where streams start, and what is not stored."""

import pytest

from server.chat.errors import ChannelNotFound, CursorAhead, TextNotStorable, TooManyChannels
from server.chat.rules import (
    RETRY_SECONDS,
    STREAM_CHANNELS,
    Cursor,
    Resumed,
    Standing,
    Wish,
    check_storable,
    departed,
    direct_key,
    retry_delay,
    starts,
)

A = Standing("a", epoch=2, last_seq=10, history_start_seq=3, joined_seq=4, last_change=5)
B = Standing("b", epoch=1, last_seq=7, history_start_seq=0, joined_seq=0, last_change=0)


def test_direct_key_is_the_same_for_both() -> None:
    assert direct_key("x", "y") == direct_key("y", "x")
    assert direct_key("x", "y") != direct_key("x", "z")


def test_without_a_position_a_channel_starts_live() -> None:
    [start] = starts(Wish(), None, [A])
    assert (start.after, start.missed) == (10, None)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_cursor_of_the_present_epoch_is_where_it_starts(epoch: int) -> None:
    [start] = starts(Wish(cursors={"a": Cursor(epoch, 5)}), None, [A])
    assert (start.after, start.missed) == (5, None)


def test_a_cursor_at_the_head_and_at_the_start_of_the_history_misses_nothing() -> None:
    for seq in (3, 10):
        [start] = starts(Wish(cursors={"a": Cursor(2, seq)}), None, [A])
        assert (start.after, start.missed) == (seq, None)


def test_a_cursor_before_the_history_misses_something() -> None:
    [start] = starts(Wish(cursors={"a": Cursor(2, 2)}), None, [A])
    assert (start.after, start.missed) == (3, Cursor(2, 2))


def test_a_cursor_of_another_epoch_starts_live_and_misses_something() -> None:
    [start] = starts(Wish(cursors={"a": Cursor(1, 500)}), None, [A])
    assert (start.after, start.missed) == (10, Cursor(1, 500))


def test_a_cursor_from_the_future_is_refused_with_its_field() -> None:
    with pytest.raises(CursorAhead) as caught:
        starts(Wish(cursors={"a": Cursor(2, 11)}), None, [A])
    assert caught.value.violations[0].field == "cursors"
    with pytest.raises(CursorAhead) as caught:
        starts(Wish(), Resumed({"a": Cursor(2, 11)}, follows=True), [A])
    assert caught.value.violations[0].field == "resume_token"


def test_a_cursor_wins_over_the_token() -> None:
    wish = Wish(cursors={"a": Cursor(2, 9)})
    resumed = Resumed({"a": Cursor(2, 5), "b": Cursor(1, 6)}, follows=True)
    assert [start.after for start in starts(wish, resumed, [A, B])] == [9, 6]


def test_a_channel_that_a_following_token_does_not_know_was_joined_after_it() -> None:
    [start] = starts(Wish(), Resumed({}, follows=True), [A])
    assert start.after == A.joined_seq
    [start] = starts(Wish(), Resumed({}, follows=False), [A])
    assert start.after == A.last_seq


def test_a_token_of_a_channel_that_was_left_is_no_error() -> None:
    [start] = starts(Wish(), Resumed({"gone": Cursor(1, 3), "b": Cursor(1, 7)}, True), [B])
    assert start.standing is B


@pytest.mark.parametrize(
    "wish",
    [Wish(channel_ids=("a", "x")), Wish(channel_ids=("a",), cursors={"x": Cursor(0, 0)})],
    ids=["id", "cursor"],
)
def test_a_channel_that_is_not_the_callers_is_not_found(wish: Wish) -> None:
    with pytest.raises(ChannelNotFound):
        starts(wish, None, [A])


def test_too_many_channels_are_refused() -> None:
    many = [B._replace(channel_id=str(index)) for index in range(STREAM_CHANNELS + 1)]
    assert len(starts(Wish(), None, many[:-1])) == STREAM_CHANNELS
    with pytest.raises(TooManyChannels):
        starts(Wish(), None, many)


def test_clients_come_back_spread_out_unless_their_session_ended() -> None:
    delays = [retry_delay("DRAINING") for _ in range(200)]
    assert all(0 <= delay <= RETRY_SECONDS for delay in delays)
    assert max(delays) - min(delays) > RETRY_SECONDS / 2
    assert retry_delay("SESSION_ENDED") == 0


def test_a_text_that_postgresql_cannot_hold_is_refused_with_its_field() -> None:
    check_storable("text", "fine \u0001 \U0001f600")
    with pytest.raises(TextNotStorable) as caught:
        check_storable("text", "not\0fine")
    assert caught.value.violations[0].field == "text"


def test_a_cursor_without_a_change_leaves_the_tokens() -> None:
    resumed = Resumed({"a": Cursor(2, 5, 3)}, follows=True)
    [start] = starts(Wish(cursors={"a": Cursor(2, 8)}), resumed, [A])
    assert (start.after, start.change) == (8, 3)
    [start] = starts(Wish(cursors={"a": Cursor(2, 8, 4)}), resumed, [A])
    assert (start.after, start.change) == (8, 4)
    [start] = starts(Wish(cursors={"a": Cursor(2, 8, 99)}), None, [A])
    assert start.change == A.last_change
    [start] = starts(Wish(cursors={"a": Cursor(2, 8)}), None, [A])
    assert start.change == A.last_change


def test_positions_of_channels_that_were_left_are_told_of_by_streams_that_follow_all() -> None:
    resumed = Resumed({"a": Cursor(2, 5), "gone": Cursor(1, 3)}, follows=True)
    wish = Wish(cursors={"left": Cursor(4, 1)})
    assert starts(wish, resumed, [A])[0].standing is A
    assert departed(wish, resumed, {"a"}) == [("gone", 1), ("left", 4)]
    assert departed(Wish(channel_ids=("a",)), resumed, {"a"}) == []
    assert departed(Wish(), None, set()) == []

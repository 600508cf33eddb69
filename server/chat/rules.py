"""What the chat decides without asking anybody."""

import random
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from server.chat.errors import ChannelNotFound, CursorAhead, TextNotStorable, TooManyChannels
from server.chat.subscriber import Place

STREAM_CHANNELS = 500
"""Channels that one stream carries: their positions fit into a resume token of 16,384 characters."""
RETRY_SECONDS = 5.0
"""Clients that a server sends away come back spread over this time."""


class Standing(NamedTuple):
    """Where a channel of which somebody is a member stands."""

    channel_id: str
    epoch: int
    last_seq: int
    history_start_seq: int
    joined_seq: int
    last_change: int
    member_change: int = 0
    """The change that made the membership what it is; 0 when the channel began with it."""

    @property
    def joining(self) -> int:
        """The last change before the one that tells of the membership itself: from there on a stream takes
        the channel up that did not have it."""
        return self.member_change - 1 if self.member_change else self.last_change


class Cursor(NamedTuple):
    """The last number that was seen in a channel; epoch 0 stands for the present one."""

    epoch: int
    seq: int
    change: int | None = None
    """The last change that was seen; ``None`` stands for the present one."""


class Wish(NamedTuple):
    """What a subscriber asks for."""

    resume_token: str = ""
    channel_ids: tuple[str, ...] = ()
    cursors: Mapping[str, Cursor] = {}

    @property
    def follows(self) -> bool:
        """True when all channels are meant, those joined later included."""
        return not self.channel_ids


class Resumed(NamedTuple):
    """What a resume token stands for."""

    positions: Mapping[str, Cursor]
    follows: bool
    made: int = 0
    """When the token was made, in seconds since 1970; 0 when that is not known."""


class Start(NamedTuple):
    """From where a channel is streamed."""

    standing: Standing
    after: int
    change: int
    """The last change that the reader has seen."""
    missed: Cursor | None = None
    """The cursor that was asked for, when not all after it is there and the reader has to be told."""

    def place(self) -> Place:
        """As the hub takes it."""
        standing = self.standing
        return Place(
            standing.epoch,
            standing.last_seq,
            self.after + 1,
            standing.last_change,
            self.change,
            None if self.missed is None else (self.missed.epoch, self.missed.seq),
        )


def direct_key(user_id: str, other_id: str) -> str:
    """The one key of the direct channel of two users, whoever asks."""
    return ":".join(sorted((user_id, other_id)))


def check_storable(field: str, text: str) -> None:
    """Raises ``TextNotStorable`` for a text that PostgreSQL cannot hold."""
    if "\0" in text:
        raise TextNotStorable(field=field)


def starts(wish: Wish, resumed: Resumed | None, standings: Iterable[Standing]) -> list[Start]:
    """From where each channel is streamed; ``standings`` are the caller's channels among those wished.

    A cursor of the request wins over the token. A channel without either starts live, unless the
    token's stream followed all channels: then this one was joined after it, and starts where the
    caller joined. A channel that was named has to be the caller's; one that a stream that follows all
    had a position of may have been left, see :func:`departed`.
    """
    found = {standing.channel_id: standing for standing in standings}
    if len(found) > STREAM_CHANNELS:
        raise TooManyChannels(field="channel_ids", limit=STREAM_CHANNELS)
    named = () if wish.follows else (*wish.channel_ids, *wish.cursors)
    for channel_id in named:
        if channel_id not in found:
            raise ChannelNotFound
    return [_start(wish, resumed, standing) for standing in found.values()]


def departed(wish: Wish, resumed: Resumed | None, present: Container[str]) -> list[tuple[str, int]]:
    """The channels, with their epochs, of which a stream that follows all had a position and of which its
    user is no member any more, or never was: both look the same."""
    if not wish.follows:
        return []
    held = {**(resumed.positions if resumed is not None else {}), **wish.cursors}
    return [(key, cursor.epoch) for key, cursor in held.items() if key not in present]


def _start(wish: Wish, resumed: Resumed | None, standing: Standing) -> Start:
    cursor = wish.cursors.get(standing.channel_id)
    field = "cursors"
    resumed_at = None if resumed is None else resumed.positions.get(standing.channel_id)
    if cursor is None and resumed is not None:
        field = "resume_token"
        cursor = resumed_at
        if cursor is None and resumed.follows:
            cursor = Cursor(standing.epoch, standing.joined_seq, standing.joining)
    elif cursor is not None and cursor.change is None and resumed_at is not None:
        # The cursor is newer, but says nothing of changes.
        cursor = cursor._replace(change=resumed_at.change)
    last_change = standing.last_change
    if cursor is None:
        return Start(standing, standing.last_seq, last_change)
    if cursor.epoch not in (0, standing.epoch):
        return Start(standing, standing.last_seq, last_change, missed=cursor)
    if cursor.seq > standing.last_seq:
        raise CursorAhead(field=field, channel_id=standing.channel_id, last_seq=standing.last_seq)
    change = last_change if cursor.change is None else min(cursor.change, last_change)
    if cursor.seq < standing.history_start_seq:
        return Start(standing, standing.history_start_seq, change, missed=cursor)
    return Start(standing, max(0, cursor.seq), change)


def retry_delay(reason: str) -> float:
    """Seconds after which a client comes back to a stream that ended for ``reason``."""
    return 0.0 if reason == "SESSION_ENDED" else random.uniform(0.0, RETRY_SECONDS)

"""What chat tells the rest of the process after a commit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """Users became members of a channel."""

    channel_id: str
    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """Users are no members of a channel any more."""

    channel_id: str
    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelTouched:
    """Something that was there before has changed: a message, the members, the channel itself.

    ``change`` is its number; see ``changes.py``.
    """

    channel_id: str
    epoch: int
    change: int


@dataclass(frozen=True, slots=True)
class MessagePosted:
    """A message was stored by a unit of work, not by the lane."""

    channel_id: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class ReadMarked:
    """A member's read mark moved forward to ``seq``."""

    channel_id: str
    epoch: int
    user_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class UnreadMarked:
    """A member has marked messages as unread from ``seq`` on; 0 when that ended. Theirs alone to see."""

    channel_id: str
    epoch: int
    user_id: str
    read_seq: int
    seq: int


@dataclass(frozen=True, slots=True)
class DeliveryMarked:
    """Messages have come to a member up to ``seq``."""

    channel_id: str
    epoch: int
    user_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class TypingStarted:
    """A member is typing. Not stored, so published without a commit."""

    channel_id: str
    epoch: int
    user_id: str

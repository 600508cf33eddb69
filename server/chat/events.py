"""What chat tells the rest of the process after a commit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """Users became members of a channel."""

    channel_id: str
    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadMarked:
    """A member's read mark moved forward to ``seq``."""

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

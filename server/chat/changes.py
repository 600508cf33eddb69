"""Changes to what was there before: edits, deletions, reactions, members, titles.

They are numbered 1, 2, 3, ... in each channel, apart from the messages. What has changed carries the
number of its newest change, so that whoever has seen the changes up to a number gets all that is different
now, each thing once and as it is now, however long they were away; nothing has to be kept for them.
"""

from typing import NamedTuple

from server.chat.errors import ChannelNotFound
from server.chat.events import ChannelTouched
from server.core.db import sql
from server.core.unit import Unit

_TOUCH = """
    UPDATE chat_channels SET last_change = last_change + 1 WHERE id = ? RETURNING epoch, last_change
"""


class Change(NamedTuple):
    """Something that changed, as it is now."""

    change: int
    kind: str
    """``message``, ``channel`` or ``member``."""
    key: str
    """Which message or user; empty for the channel."""
    frame: bytes
    """The event that tells of it."""
    seq: int = 0
    """The message's number."""
    message: bytes = b""
    """The event of the message itself, as it is now, for those who have not got it yet."""


def touch(unit: Unit, channel_id: str) -> int:
    """The number of a change that this unit makes; its streams are told after the commit.

    Locks the channel until the unit ends: numbers are committed in their order, and nothing is sent in
    between. A unit that touches several channels does so in the order of their ids.
    """
    rows = list(sql(_TOUCH, channel_id).fetchall())
    if not rows:
        raise ChannelNotFound
    epoch, change = rows[0]
    unit.emit(ChannelTouched(channel_id, epoch, change))
    return int(change)

"""What a message is made of, wherever it is on its way."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import orjson

TEXT = "TEXT"
IMAGE = "IMAGE"
VIDEO = "VIDEO"
AUDIO = "AUDIO"
FILE = "FILE"
SYSTEM = "SYSTEM"


class Rest(NamedTuple):
    """What plain messages have not; in the order in which ``statements.py`` reads it."""

    type: str
    attachments: Sequence[Sequence[Any]] | None = None
    """``[media_id, type, name, content_type, size]`` of each."""
    mentions: Sequence[str] | None = None
    reply_to_id: str | None = None
    thread_id: str | None = None
    reply_count: int = 0
    reactions: Sequence[Sequence[Any]] | None = None
    """``[emoji, count, [user_id, ...]]`` of each."""
    change: int = 0
    edit_time: int | None = None
    delete_time: int | None = None


class StoredMessage(NamedTuple):
    """A message as the database holds it; times are in microseconds since 1970."""

    message_id: str
    seq: int
    sender_id: str
    client_id: str
    text: str
    create_time: int
    rest: Sequence[Any] | None
    """The values of ``Rest``; ``None`` for a plain text."""


class EncodeMessage(Protocol):
    """Turns the values of a message (time in microseconds since 1970) into its wire bytes."""

    def __call__(
        self,
        message_id: str,
        channel_id: str,
        seq: int,
        sender_id: str,
        client_id: str,
        text: str,
        create_time: int,
        rest: Sequence[Any] | None = None,
        /,
    ) -> bytes: ...


class Extra(NamedTuple):
    """What a send adds to a text. All of it was looked up and found right before."""

    type: str
    attachments: tuple[tuple[str, str, str, str, int], ...] = ()
    """Media id, type, name, content type and size of each."""
    mentions: tuple[str, ...] = ()
    reply_to_id: str | None = None
    thread_id: str | None = None

    def rest(self) -> Rest:
        """As it is read back."""
        return Rest(
            self.type,
            self.attachments or None,
            self.mentions or None,
            self.reply_to_id,
            self.thread_id,
        )


def fingerprint(channel_id: str, text: str, extra: Extra | None) -> str:
    """What tells two sends with one client id apart once the row does not show any more what was sent."""
    sent: list[object] = [channel_id, text]
    if extra is not None:
        media = [attachment[0] for attachment in extra.attachments]
        sent += [extra.type, media, extra.mentions, extra.reply_to_id]
    return hashlib.blake2b(orjson.dumps(sent), digest_size=16).hexdigest()

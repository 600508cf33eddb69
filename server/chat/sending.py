"""Writes a batch of sends in one transaction, set-based."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import orjson

from server.chat.errors import Blocked, ChannelArchived, ChannelNotFound, ClientIdReused
from server.chat.message import EncodeMessage, Extra, Rest, fingerprint
from server.chat.statements import Statements
from server.core.errors import GreenroomError
from server.core.text_search import folded


@dataclass(slots=True)
class SendCommand:
    """A message to be added. ``client_id`` is the sender's own id of it."""

    channel_id: str
    sender_id: str
    client_id: str
    text: str
    extra: Extra | None = None


@dataclass(slots=True)
class Sent:
    """A message as stored, encoded once for its sender's reply and all events."""

    channel_id: str
    epoch: int
    seq: int
    sender_id: str
    encoded: bytes
    fresh: bool
    """False when an earlier send with the same client id had made it."""


Outcome = Sent | GreenroomError


class BatchWriter:
    """One transaction for many sends: lock, look up, number, insert, advance, commit.

    The channel rows are locked in the order of their ids, so two writers never wait for each other in
    a circle, and everything else is read after that: under READ COMMITTED each later statement sees
    what the previous holder of the lock has committed. ``seq`` is thereby gap-free, and a client id
    that another process has just stored is found.
    """

    def __init__(
        self,
        statements: Statements,
        *,
        encode: EncodeMessage,
        new_id: Callable[[], str],
        now: Callable[[], int],
    ) -> None:
        self._sql = statements
        self._encode = encode
        self._new_id = new_id
        self._now = now

    def write(self, connection: Any, commands: Sequence[SendCommand]) -> list[Outcome]:
        """The outcome of each command, in their order. Everything is on disk when this returns.

        A refused command does not hurt the others; an exception means that nothing was stored,
        unless it came from the COMMIT itself.
        """
        cursor = connection.cursor()
        if self._sql.begin:
            cursor.execute(self._sql.begin)
        outcomes = self._apply(cursor, commands)
        cursor.execute("COMMIT")
        cursor.close()
        return outcomes

    def _apply(self, cursor: Any, commands: Sequence[SendCommand]) -> list[Outcome]:
        sql = self._sql
        keys = sorted({command.channel_id for command in commands})
        cursor.execute(sql.lock_channels, sql.parameters([(key,) for key in keys]))
        heads = {key: (epoch, last, closed) for key, epoch, last, closed in sql.rows(cursor)}
        batch = _Batch(heads, self._encode, self._new_id, self._now())
        sends = [
            (number, command.channel_id, command.sender_id, command.client_id)
            for number, command in enumerate(commands)
        ]
        cursor.execute(sql.look_up_sends, sql.parameters(sends))
        found = sorted(sql.rows(cursor), key=itemgetter(0))
        outcomes: list[Outcome | None] = [None] * len(commands)
        # In the order in which they were queued: a sender's messages stay in theirs.
        for number, is_member, *stored in found:
            outcomes[number] = batch.take(commands[number], bool(is_member), stored)
        if batch.rows:
            # In the order of the channels, which is the order of an index.
            batch.rows.sort(key=lambda row: (row[1], row[2]))
            cursor.execute(sql.insert_messages, sql.parameters(batch.rows))
        if batch.special:
            cursor.execute(sql.insert_special, sql.parameters(batch.special))
        if batch.replies:
            cursor.execute(sql.count_replies, sql.parameters(sorted(batch.replies.items())))
        if batch.advanced:
            cursor.execute(sql.advance_channels, sql.parameters(batch.advances()))
        return outcomes  # type: ignore[return-value]


class _Batch:
    """What one batch is going to insert, and how far it has moved each channel."""

    def __init__(
        self,
        heads: dict[str, tuple[int, int, str | None]],
        encode: EncodeMessage,
        new_id: Callable[[], str],
        now: int,
    ) -> None:
        self.rows: list[tuple[str, str, int, str, str, str, int, str | None]] = []
        self.special: list[tuple[Any, ...]] = []
        self.replies: dict[str, int] = {}
        """How many more the messages that began a thread have."""
        self.advanced: dict[str, int] = {}
        self._heads = heads
        self._made: dict[tuple[str, str], tuple[SendCommand, Sent]] = {}
        self._encode = encode
        self._new_id = new_id
        self._now = now

    def take(self, command: SendCommand, is_member: bool, stored: Sequence[Any]) -> Outcome:
        """Decides one command; ``stored`` is the message that has its client id, or ``None``s."""
        if stored[0] is not None:
            if _is_same(command, stored):
                return self._repeated(command, stored)
            return ClientIdReused() if is_member else ChannelNotFound()
        if not is_member:
            return ChannelNotFound()
        key = (command.sender_id, command.client_id)
        made = self._made.get(key)
        if made is not None:
            first, sent = made
            return replace(sent, fresh=False) if first == command else ClientIdReused()
        closed = self._heads[command.channel_id][2]
        if closed is not None:
            return ChannelArchived() if closed == "ARCHIVED" else Blocked()
        sent = self._add(command)
        self._made[key] = (command, sent)
        return sent

    def _add(self, command: SendCommand) -> Sent:
        channel_id, extra = command.channel_id, command.extra
        seq = self.advanced.get(channel_id)
        seq = 1 + (self._heads[channel_id][1] if seq is None else seq)
        self.advanced[channel_id] = seq
        message_id = self._new_id()
        place = (message_id, channel_id, seq, command.sender_id, command.client_id)
        text = command.text
        if extra is None:
            self.rows.append((*place, text, self._now, folded(text)))
        else:
            self.special.append((*place, *self._special_row(command, extra)))
            if extra.thread_id is not None:
                self.replies[extra.thread_id] = self.replies.get(extra.thread_id, 0) + 1
        rest = None if extra is None else extra.rest()
        return self._sent(command, message_id, seq, text, self._now, rest, fresh=True)

    def _special_row(self, command: SendCommand, extra: Extra) -> tuple[Any, ...]:
        text = command.text
        return (
            extra.type,
            text,
            self._now,
            folded(text),
            fingerprint(command.channel_id, text, extra),
            orjson.dumps(extra.attachments).decode() if extra.attachments else None,
            orjson.dumps(extra.mentions).decode() if extra.mentions else None,
            extra.reply_to_id,
            extra.thread_id,
        )

    def _repeated(self, command: SendCommand, stored: Sequence[Any]) -> Sent:
        message_id, _channel_id, seq, text, create_time, _fingerprint, rest = stored
        return self._sent(command, message_id, seq, text, create_time, rest, fresh=False)

    def advances(self) -> list[tuple[str, int, int]]:
        """The channels' new last numbers."""
        return [(key, seq, self._now) for key, seq in sorted(self.advanced.items())]

    def _sent(
        self,
        command: SendCommand,
        message_id: str,
        seq: int,
        text: str,
        create_time: int,
        rest: Rest | Sequence[Any] | None,
        *,
        fresh: bool,
    ) -> Sent:
        channel_id, sender_id = command.channel_id, command.sender_id
        encoded = self._encode(
            message_id, channel_id, seq, sender_id, command.client_id, text, create_time, rest
        )
        return Sent(channel_id, self._heads[channel_id][0], seq, sender_id, encoded, fresh)


def _is_same(command: SendCommand, stored: Sequence[Any]) -> bool:
    """True when the stored message is what became of an earlier send of this very command."""
    _message_id, channel_id, _seq, text, _create_time, mark, _rest = stored
    if channel_id != command.channel_id:
        return False
    if mark is not None:
        return bool(mark == fingerprint(channel_id, command.text, command.extra))
    return command.extra is None and bool(text == command.text)

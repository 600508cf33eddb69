"""Writes a batch of sends in one transaction, set-based."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Protocol

from server.chat.errors import ChannelNotFound, ClientIdReused
from server.chat.statements import Statements
from server.core.errors import GreenroomError


@dataclass(slots=True)
class SendCommand:
    """A message to be added. ``client_id`` is the sender's own id of it."""

    channel_id: str
    sender_id: str
    client_id: str
    text: str


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
        /,
    ) -> bytes: ...


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
        heads = {key: (epoch, last_seq) for key, epoch, last_seq in sql.rows(cursor)}
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
            cursor.execute(sql.advance_channels, sql.parameters(batch.advances()))
        return outcomes  # type: ignore[return-value]


class _Batch:
    """What one batch is going to insert, and how far it has moved each channel."""

    def __init__(
        self,
        heads: dict[str, tuple[int, int]],
        encode: EncodeMessage,
        new_id: Callable[[], str],
        now: int,
    ) -> None:
        self.rows: list[tuple[str, str, int, str, str, str, int]] = []
        self._heads = heads
        self._advanced: dict[str, int] = {}
        self._made: dict[tuple[str, str], tuple[SendCommand, Sent]] = {}
        self._encode = encode
        self._new_id = new_id
        self._now = now

    def take(self, command: SendCommand, is_member: bool, stored: Sequence[Any]) -> Outcome:
        """Decides one command; ``stored`` is the message that has its client id, or ``None``s."""
        message_id, channel_id, seq, text, create_time = stored
        if message_id is not None:
            if channel_id == command.channel_id and text == command.text:
                return self._sent(command, message_id, seq, create_time, fresh=False)
            return ClientIdReused() if is_member else ChannelNotFound()
        if not is_member:
            return ChannelNotFound()
        key = (command.sender_id, command.client_id)
        made = self._made.get(key)
        if made is not None:
            first, sent = made
            same = first.channel_id == command.channel_id and first.text == command.text
            return replace(sent, fresh=False) if same else ClientIdReused()
        seq = self._advanced.get(command.channel_id)
        seq = 1 + (self._heads[command.channel_id][1] if seq is None else seq)
        self._advanced[command.channel_id] = seq
        message_id = self._new_id()
        self.rows.append(
            (
                message_id,
                command.channel_id,
                seq,
                command.sender_id,
                command.client_id,
                command.text,
                self._now,
            )
        )
        sent = self._sent(command, message_id, seq, self._now, fresh=True)
        self._made[key] = (command, sent)
        return sent

    def advances(self) -> list[tuple[str, int, int]]:
        """The channels' new last numbers."""
        return [(key, seq, self._now) for key, seq in sorted(self._advanced.items())]

    def _sent(
        self, command: SendCommand, message_id: str, seq: int, create_time: int, *, fresh: bool
    ) -> Sent:
        encoded = self._encode(
            message_id,
            command.channel_id,
            seq,
            command.sender_id,
            command.client_id,
            command.text,
            create_time,
        )
        return Sent(
            command.channel_id,
            self._heads[command.channel_id][0],
            seq,
            command.sender_id,
            encoded,
            fresh,
        )

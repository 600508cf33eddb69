"""What every stream that resumes has in common: where it stands, and what it does when it breaks."""

from collections.abc import Iterable
from typing import NamedTuple

import grpc
from grpc import aio

from greenroom.chat.v1 import channel_pb2, event_pb2
from greenroom_client.calls import Rhythm
from greenroom_client.tokens import Keeper

LONGEST_PAUSE_SECONDS = 2.0
"""Between two attempts to come back, so that a reader is back within three seconds of its server."""
MOST_CURSORS = 200
MOST_RENEWALS = 3

_AGAIN = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


class Place(NamedTuple):
    """Where a subscriber stands in one channel."""

    epoch: int
    seq: int
    change: int | None
    """``None`` while the server, or the token, knows better."""


class Position:
    """Where a subscriber stands in all its channels: the last token, and what came after it."""

    def __init__(
        self, resume_token: str = "", cursors: Iterable[channel_pb2.ChannelCursor] = ()
    ) -> None:
        self.resume_token = resume_token
        self._seen = {
            cursor.channel_id: Place(
                cursor.epoch, cursor.seq, cursor.change if cursor.HasField("change") else None
            )
            for cursor in cursors
        }
        self._since_token = dict(self._seen)

    @property
    def cursors(self) -> list[channel_pb2.ChannelCursor]:
        """Positions that are newer than the token. Those over the limit are left to the token; what
        it repeats is dropped by :meth:`take`."""
        return [
            channel_pb2.ChannelCursor(
                channel_id=channel_id, epoch=place.epoch, seq=place.seq, change=place.change
            )
            for channel_id, place in list(self._since_token.items())[-MOST_CURSORS:]
        ]

    def take(self, event: event_pb2.ChatEvent) -> bool:
        """Moves on to the event; False when it was seen before."""
        channel_id, epoch = event.channel_id, event.epoch
        seen = self._seen.get(channel_id)
        if event.HasField("gap"):
            self._move(channel_id, Place(epoch, event.gap.first_seq - 1, None))
            return True
        if event.HasField("ended"):
            self._seen.pop(channel_id, None)
            self._since_token.pop(channel_id, None)
            return True
        known = seen if seen is not None and seen.epoch in (0, epoch) else None
        if event.seq:
            if known is not None and event.seq <= known.seq:
                return False
            change = known.change if known is not None else None
            self._move(channel_id, Place(epoch, event.seq, change))
        elif event.change:
            if known is not None and known.change is not None and event.change <= known.change:
                return False
            if known is not None:
                self._move(channel_id, Place(epoch, known.seq, event.change))
        return True

    def renew(self, resume_token: str) -> None:
        """Takes a token that stands for everything up to now."""
        if resume_token:
            self.resume_token = resume_token
            self._since_token.clear()

    def distrust_token(self) -> None:
        """Goes on with the positions alone: the token was refused. Where only it knew which changes were
        seen, all are asked for."""
        self.resume_token = ""
        self._seen = {
            channel_id: place._replace(change=place.change or 0)
            for channel_id, place in self._seen.items()
        }
        self._since_token = dict(self._seen)

    def _move(self, channel_id: str, place: Place) -> None:
        self._seen[channel_id] = self._since_token[channel_id] = place


class Recovery:
    """Decides what follows when a stream breaks: a pause and another one, or an error."""

    def __init__(self, position: Position, rhythm: Rhythm, keeper: Keeper | None) -> None:
        self._position = position
        self._rhythm = rhythm
        self._keeper = keeper
        self._stale = ""
        self._failures = 0
        self._renewals = 0

    def opening(self) -> None:
        """Notes the credentials that the next connection goes out with."""
        tokens = self._keeper.tokens if self._keeper is not None else None
        self._stale = tokens.access if tokens is not None else ""

    def answered(self) -> None:
        """The server has said something: what failed before is forgotten."""
        self._failures = self._renewals = 0

    def pause(self) -> float:
        """Seconds until the next attempt, after one more failure."""
        self._failures += 1
        return self._rhythm.backoff(self._failures, LONGEST_PAUSE_SECONDS)

    async def after(
        self, error: Exception, code: grpc.StatusCode, reason: str, retry_after: float | None
    ) -> float:
        """Seconds until the next attempt; raises the error when another attempt cannot cure it."""
        if reason == "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID" and self._position.resume_token:
            self._position.distrust_token()
            return 0.0
        if reason == "WIRE_ERROR_REASON_CREDENTIALS_INVALID" and self._keeper is not None:
            return await self._renewed(error, self._keeper)
        if code in _AGAIN:
            return max(self.pause(), retry_after or 0.0)
        raise error

    async def _renewed(self, error: Exception, keeper: Keeper) -> float:
        """Renews the tokens; a server that is away now may be back for the next connection."""
        self._renewals += 1
        if self._renewals > MOST_RENEWALS:
            raise error
        try:
            await keeper.renewed(self._stale)
        except grpc.RpcError as failure:
            if not isinstance(failure, aio.AioRpcError) or failure.code() not in _AGAIN:
                raise
            self._renewals -= 1
            return self.pause()
        return 0.0

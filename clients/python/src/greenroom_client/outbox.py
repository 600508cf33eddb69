"""Messages on their way: kept, sent in order, and sent again until the server has answered for them."""

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import grpc
from grpc import aio

from greenroom.chat.v1 import channel_pb2, message_service_pb2
from greenroom_client.calls import Rhythm
from greenroom_client.contract import contract_of
from greenroom_client.errors import reason_of, retry_after_of
from greenroom_client.tokens import Keeper

LONGEST_PAUSE_SECONDS = 5.0
"""Between two attempts, unless the server asks for more."""
MOST_AT_ONCE = 8
MOST_DOUBTS = 8
MOST_RENEWALS = 3

_PATH = "/greenroom.chat.v1.MessageService/SendMessage"
_STALE = "WIRE_ERROR_REASON_CREDENTIALS_INVALID"
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}

State = Literal["waiting", "sent", "failed"]


class OutboxClosed(Exception):
    """The outbox was closed before the server answered; the message may be stored or not. It is among
    ``unsent``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to be sent, as plain data: ``dataclasses.asdict`` makes JSON of it, ``Outgoing(**…)``
    reads it again."""

    channel_id: str
    text: str = ""
    client_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    """Exactly one message comes of it, however often and from wherever it is sent."""
    type: "channel_pb2.MessageType.ValueType" = channel_pb2.MESSAGE_TYPE_UNSPECIFIED
    """Chosen by the server when it is not given."""
    attachment_media_ids: Sequence[str] = ()
    reply_to_id: str = ""
    mentioned_user_ids: Sequence[str] = ()


class Send(Protocol):
    """The stub's ``SendMessage``."""

    def __call__(
        self,
        request: message_service_pb2.SendMessageRequest,
        *,
        timeout: float | None = None,
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> Awaitable[message_service_pb2.SendMessageResponse]:
        """Sends it once, as far as the outbox knows."""
        ...


class Delivery:
    """What becomes of one message. ``await`` it for the message as stored, or for why there is none."""

    def __init__(
        self, outgoing: Outgoing, request: message_service_pb2.SendMessageRequest, end: float | None
    ) -> None:
        self.outgoing = outgoing
        self.state: State = "waiting"
        self.message: channel_pb2.Message | None = None
        """The message as stored, once it is sent."""
        self.error: Exception | None = None
        """Why it failed for good."""
        self._request = request
        self._end = end
        self._result: asyncio.Future[channel_pb2.Message] = (
            asyncio.get_running_loop().create_future()
        )
        # Whoever does not wait for it reads the state; asyncio need not complain.
        self._result.add_done_callback(lambda result: result.exception())

    @property
    def client_id(self) -> str:
        """What the message is known by from the start."""
        return self.outgoing.client_id

    def __await__(self) -> Generator[object, None, channel_pb2.Message]:
        # Whoever gives up waiting does not take the message back.
        return asyncio.shield(self._result).__await__()


class _SessionOver(Exception):
    """No message can be sent any more, whichever it is."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Outbox:
    """``outbox = client.outbox(); outbox.send(channel_id, "Hello!"); await outbox.flush()``

    Messages of one channel are sent one after the other, in the order in which they were given;
    channels do not wait for each other. What a server that is away, busy or being replaced leaves
    unanswered is sent again under the same client id. A message that the server refuses has failed,
    and those behind it go on. When the session is over the outbox ends, and ``unsent`` has what is
    left for another one of the same user.
    """

    def __init__(
        self,
        send: Send,
        *,
        keeper: Keeper,
        rhythm: Rhythm,
        unsent: Iterable[Outgoing] = (),
        give_up_after: float | None = None,
        on_change: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._send = send
        self._keeper = keeper
        self._rhythm = rhythm
        self._give_up_after = give_up_after
        self._on_change = on_change
        self._waiting: dict[str, Delivery] = {}
        self._failed: dict[str, Delivery] = {}
        self._queues: dict[str, deque[Delivery]] = {}
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._error: Exception | None = None
        for outgoing in unsent:
            self.add(outgoing)

    @property
    def unsent(self) -> list[Outgoing]:
        """What waits, in the order in which it was given; keep it to go on in another run."""
        return [delivery.outgoing for delivery in self._waiting.values()]

    @property
    def failed(self) -> list[Delivery]:
        """What the server refused, or what took too long, until it is forgotten or given again."""
        return list(self._failed.values())

    def send(
        self,
        channel_id: str,
        text: str = "",
        *,
        attachment_media_ids: Sequence[str] = (),
        reply_to_id: str = "",
        mentioned_user_ids: Sequence[str] = (),
    ) -> Delivery:
        """Takes a message and gives it a client id; returns at once."""
        return self.add(
            Outgoing(
                channel_id=channel_id,
                text=text,
                attachment_media_ids=attachment_media_ids,
                reply_to_id=reply_to_id,
                mentioned_user_ids=mentioned_user_ids,
            )
        )

    def add(self, outgoing: Outgoing) -> Delivery:
        """Takes a message that has its client id, such as one of another run or one that has failed.
        One that waits already is not taken twice."""
        if self._error is not None:
            raise self._error
        waiting = self._waiting.get(outgoing.client_id)
        request = request_of(outgoing)
        if waiting is not None:
            if waiting._request != request:
                raise ValueError(f"another message with the client id {outgoing.client_id} waits")
            return waiting
        limit = self._give_up_after
        end = None if limit is None else self._rhythm.monotonic() + limit
        delivery = Delivery(outgoing, request, end)
        channel_id = outgoing.channel_id
        queue = self._queues.setdefault(channel_id, deque())
        queue.append(delivery)
        self._failed.pop(outgoing.client_id, None)
        self._waiting[outgoing.client_id] = delivery
        if channel_id not in self._lanes:
            self._lanes[channel_id] = asyncio.create_task(self._lane(channel_id, queue))
        self._tell(delivery)
        return delivery

    def forget(self, client_id: str) -> None:
        """Drops a message that has failed."""
        self._failed.pop(client_id, None)

    async def flush(self) -> None:
        """Waits until all that was given by now is sent or has failed. Raises what has ended the
        outbox, such as ``SignedOut``."""
        waiting = [delivery._result for delivery in self._waiting.values()]
        if waiting:
            await asyncio.wait(waiting)
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Stops at once; what waits stays in ``unsent``. ``flush`` first to wait for it."""
        lanes = list(self._lanes.values())
        self._stop(OutboxClosed("the outbox was closed"))
        await asyncio.gather(*lanes, return_exceptions=True)

    async def __aenter__(self) -> "Outbox":
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _lane(self, channel_id: str, queue: deque[Delivery]) -> None:
        """Sends what one channel has, one after the other."""
        try:
            while queue:
                delivery = queue[0]
                try:
                    message = await self._stored(delivery)
                except (aio.AioRpcError, TimeoutError) as error:
                    queue.popleft()
                    self._settle(delivery, error)
                else:
                    queue.popleft()
                    self._settle(delivery, message)
        except asyncio.CancelledError:
            # A call ends like this too when its client is closed.
            self._stop(OutboxClosed("the client was closed"))
            raise
        except _SessionOver as over:
            self._stop(over.error)
        except Exception as error:
            self._stop(error)
        finally:
            del self._lanes[channel_id], self._queues[channel_id]

    async def _stored(self, delivery: Delivery) -> channel_pb2.Message:
        """The message as stored, after as many attempts as it takes; raises what cannot be cured."""
        trouble = _Trouble()
        while True:
            token = ""
            try:
                async with self._slots:
                    token = await self._token(trouble)
                    timeout = self._left(delivery, 0.0, trouble.last)
                    if token:
                        # Our own credentials: what comes back is then about this message alone.
                        metadata = (("authorization", f"Bearer {token}"),)
                        reply = await self._send(
                            delivery._request, timeout=timeout, metadata=metadata
                        )
                        return reply.message
            except aio.AioRpcError as error:
                if trouble.is_stale(error):
                    trouble.refused = token
                    continue
                trouble.note(error)
            pause = max(self._rhythm.backoff(trouble.failures, LONGEST_PAUSE_SECONDS), trouble.told)
            self._left(delivery, pause, trouble.last)
            await self._rhythm.sleep(pause)

    async def _token(self, trouble: "_Trouble") -> str:
        """A token for the next attempt; empty while the server cannot renew it."""
        try:
            if trouble.refused:
                renewed = await self._keeper.renewed(trouble.refused)
                trouble.refused = ""
                return renewed
            return await self._keeper.access_token()
        except aio.AioRpcError as error:
            if error.code() not in _PASSING:
                raise _SessionOver(error) from error
            trouble.note(error, of_message=False)
            return ""

    def _left(self, delivery: Delivery, pause: float, last: Exception | None) -> float | None:
        """Seconds that an attempt after a pause may take; ``None`` where the contract says it."""
        if delivery._end is None:
            return None
        left = delivery._end - self._rhythm.monotonic() - pause
        if left <= 0:
            raise TimeoutError(f"not sent within {self._give_up_after} seconds") from last
        return min(left, contract_of(_PATH).deadline)

    def _settle(self, delivery: Delivery, outcome: channel_pb2.Message | Exception) -> None:
        del self._waiting[delivery.client_id]
        if isinstance(outcome, Exception):
            delivery.state, delivery.error = "failed", outcome
            self._failed[delivery.client_id] = delivery
            delivery._result.set_exception(outcome)
        else:
            delivery.state, delivery.message = "sent", outcome
            delivery._result.set_result(outcome)
        self._tell(delivery)

    def _tell(self, delivery: Delivery) -> None:
        if self._on_change is not None:
            self._on_change(delivery)

    def _stop(self, error: Exception) -> None:
        """Ends the outbox; what waits keeps its state, for it can be sent by another one."""
        if self._error is not None:
            return
        self._error = error
        for delivery in self._waiting.values():
            delivery._result.set_exception(error)
        for lane in self._lanes.values():
            if lane is not asyncio.current_task():
                lane.cancel()


class _Trouble:
    """What has stood in the way of one message."""

    def __init__(self) -> None:
        self.last: aio.AioRpcError | None = None
        self.refused = ""
        """The token that the server would not take, which is to be renewed."""
        self.failures = 0
        self._doubts = 0
        self._renewals = 0

    @property
    def told(self) -> float:
        """Seconds to stay away, as the server has said."""
        return (retry_after_of(self.last) if self.last is not None else None) or 0.0

    def is_stale(self, error: aio.AioRpcError) -> bool:
        """Whether a renewed token may cure it; raises when it has not or no token does."""
        if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
            return False
        self._renewals += 1
        if reason_of(error) != _STALE or self._renewals > MOST_RENEWALS:
            raise _SessionOver(error) from error
        return True

    def note(self, error: aio.AioRpcError, *, of_message: bool = True) -> None:
        """One more failure; raises the error when another attempt cannot cure it."""
        if error.code() not in _PASSING:
            raise error
        self.last = error
        self.failures += 1
        if of_message:
            self._renewals = 0
        if of_message and _is_doubtful(error):
            self._doubts += 1
            if self._doubts >= MOST_DOUBTS:
                raise error


def _is_doubtful(error: aio.AioRpcError) -> bool:
    """Whether it may be the message's own fault, so that it must not hold up its channel for ever: the
    server stumbled over it, or it is too large for the way there."""
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return not reason_of(error) and retry_after_of(error) is None
    # Without Greenroom's reason these come from a connection that broke.
    return error.code() is grpc.StatusCode.INTERNAL and reason_of(error) != ""


def request_of(outgoing: Outgoing) -> message_service_pb2.SendMessageRequest:
    """The request; raises ``TypeError`` or ``ValueError`` where it cannot be written at all."""
    return message_service_pb2.SendMessageRequest(
        channel_id=outgoing.channel_id,
        client_id=outgoing.client_id,
        text=outgoing.text,
        type=outgoing.type,
        attachment_media_ids=outgoing.attachment_media_ids,
        reply_to_id=outgoing.reply_to_id,
        mentioned_user_ids=outgoing.mentioned_user_ids,
    )

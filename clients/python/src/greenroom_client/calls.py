"""What happens around every call: credentials, deadline, request id, retries."""

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import grpc
from grpc import aio

from greenroom_client.contract import MethodContract, contract_of
from greenroom_client.errors import reason_of, retry_after_of
from greenroom_client.tokens import Keeper

MAX_ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
_STALE = "WIRE_ERROR_REASON_CREDENTIALS_INVALID"


@dataclass
class Rhythm:
    """Time and chance, so that tests need neither."""

    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    silence: float = 65.0
    """Seconds without a word, three heartbeats, after which a stream is taken for dead."""

    def backoff(self, failures: int, longest: float) -> float:
        """Seconds before the next attempt: doubled with each failure, half of it left to chance."""
        pause = min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 30))
        return pause * (0.5 + self.random() / 2)


class RetryThrottle:
    """Keeps retries from adding to an outage: each failure costs one token, each success earns a
    tenth, and below half of ten nothing is retried (the rule of gRPC's own retries, gRFC A6)."""

    def __init__(self) -> None:
        self._tokens = 10.0

    @property
    def allows(self) -> bool:
        """Whether a retry may be made."""
        return self._tokens > 5.0

    def failed(self) -> None:
        """Notes a call that the server could not answer."""
        self._tokens = max(0.0, self._tokens - 1.0)

    def succeeded(self) -> None:
        """Notes a call that it did answer."""
        self._tokens = min(10.0, self._tokens + 0.1)


def _details(
    details: aio.ClientCallDetails, *, timeout: float | None, token: str
) -> aio.ClientCallDetails:
    metadata = aio.Metadata(*(details.metadata or ()))
    if token:
        metadata["authorization"] = f"Bearer {token}"
    return aio.ClientCallDetails(
        details.method, timeout, metadata, details.credentials, details.wait_for_ready
    )


def _path(details: aio.ClientCallDetails) -> str:
    method: str | bytes = details.method
    return method.decode() if isinstance(method, bytes) else method


def _has_credentials(details: aio.ClientCallDetails) -> bool:
    return any(key == "authorization" for key, _value in details.metadata or ())


class UnaryCalls(aio.UnaryUnaryClientInterceptor):
    """Completes a unary call from its contract, and repeats it where the contract says that it may."""

    def __init__(self, keeper: Callable[[], Keeper], rhythm: Rhythm) -> None:
        self._keeper = keeper
        self._rhythm = rhythm
        self._throttle = RetryThrottle()

    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        """Runs one call to its end."""
        contract = contract_of(_path(client_call_details))
        if contract.request_id and not request.request_id:
            completed = type(request)()
            completed.CopyFrom(request)
            completed.request_id = str(uuid.uuid4())
            request = completed
        limit = client_call_details.timeout
        end = self._rhythm.monotonic() + (contract.deadline if limit is None else limit)
        token = await self._token(contract, client_call_details, end)
        renewed = False
        for attempt in range(1, MAX_ATTEMPTS + 2):
            left = end - self._rhythm.monotonic()
            call = await continuation(
                _details(client_call_details, timeout=max(0.001, left), token=token), request
            )
            try:
                await call
            except aio.AioRpcError as error:
                if token and not renewed and reason_of(error) == _STALE:
                    renewed = True
                    token = await self._within(end, self._keeper().renewed(token))
                    continue
                pause = self._pause(contract, error, attempt)
                if pause is None or pause >= end - self._rhythm.monotonic():
                    return call
                await self._rhythm.sleep(pause)
            else:
                self._throttle.succeeded()
                return call
        return call

    async def _token(
        self, contract: MethodContract, details: aio.ClientCallDetails, end: float
    ) -> str:
        if contract.public or _has_credentials(details):
            return ""
        keeper = self._keeper()
        return keeper.good_token or await self._within(end, keeper.access_token())

    async def _within(self, end: float, renewal: Coroutine[None, None, str]) -> str:
        """The token of a renewal, which counts against the deadline of the call that waits for it."""
        try:
            async with asyncio.timeout(max(0.001, end - self._rhythm.monotonic())):
                return await renewal
        except TimeoutError:
            raise aio.AioRpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                aio.Metadata(),
                aio.Metadata(),
                details="The tokens were not renewed within the deadline of the call.",
            ) from None

    def _pause(
        self, contract: MethodContract, error: aio.AioRpcError, attempt: int
    ) -> float | None:
        """Seconds before the next attempt; ``None`` when there is none."""
        busy = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        if error.code() is not grpc.StatusCode.UNAVAILABLE and not busy:
            return None
        self._throttle.failed()
        told = retry_after_of(error)
        if not contract.repeatable or attempt >= MAX_ATTEMPTS or not self._throttle.allows:
            return None
        if busy and told is None:
            return None
        return max(self._rhythm.backoff(attempt, LONGEST_PAUSE_SECONDS), told or 0.0)


class _Streams:
    def __init__(self, keeper: Callable[[], Keeper]) -> None:
        self._keeper = keeper

    async def completed(self, details: aio.ClientCallDetails) -> aio.ClientCallDetails:
        """The details with credentials; streams have no deadline unless the caller sets one."""
        token = ""
        if not contract_of(_path(details)).public and not _has_credentials(details):
            token = await self._keeper().access_token()
        return _details(details, timeout=details.timeout, token=token)


class ServerStreams(_Streams, aio.UnaryStreamClientInterceptor):
    """Adds credentials to streams of replies."""

    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request: Any
    ) -> Any:
        """Opens the stream."""
        return await continuation(await self.completed(client_call_details), request)


class ClientStreams(_Streams, aio.StreamUnaryClientInterceptor):
    """Adds credentials to streams of requests."""

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        """Opens the stream."""
        return await continuation(await self.completed(client_call_details), request_iterator)


class DuplexStreams(_Streams, aio.StreamStreamClientInterceptor):
    """Adds credentials to streams in both directions."""

    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: aio.ClientCallDetails, request_iterator: Any
    ) -> Any:
        """Opens the stream."""
        return await continuation(await self.completed(client_call_details), request_iterator)

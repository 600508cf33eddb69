"""The client: stubs for every service over one connection, and the session they share."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import grpc
from grpc import aio

from greenroom.auth.v1 import (
    auth_service_pb2,
    auth_service_pb2_grpc,
    session_service_pb2_grpc,
    sign_in_pb2,
)
from greenroom.chat.v1 import (
    channel_pb2,
    channel_service_pb2_grpc,
    event_service_pb2_grpc,
    message_service_pb2_grpc,
)
from greenroom_client.calls import (
    ClientStreams,
    DuplexStreams,
    Rhythm,
    ServerStreams,
    UnaryCalls,
)
from greenroom_client.conversation import Conversation
from greenroom_client.events import EventStream
from greenroom_client.tokens import Keeper, MemoryTokenStore, SignedOut, TokenStore, tokens_from_pb


class Client:
    """Every service as a typed stub. Made by :func:`connect`; use it as an async context manager."""

    def __init__(
        self, channel: aio.Channel, store: TokenStore, now: Callable[[], float], rhythm: Rhythm
    ) -> None:
        self._channel = channel
        self._rhythm = rhythm
        self.auth = auth_service_pb2_grpc.AuthServiceStub(channel)
        self.sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        self.channels = channel_service_pb2_grpc.ChannelServiceStub(channel)
        self.messages = message_service_pb2_grpc.MessageServiceStub(channel)
        self.events = event_service_pb2_grpc.EventServiceStub(channel)
        self.keeper = Keeper(store, self.auth.RefreshToken, now)
        """The tokens of the session."""

    @property
    def is_signed_in(self) -> bool:
        """Whether there are tokens; the server may have ended their session."""
        return self.keeper.tokens is not None

    async def log_in(
        self,
        *,
        password: str,
        email: str = "",
        phone: str = "",
        username: str = "",
        device_name: str = "",
    ) -> sign_in_pb2.SignedIn:
        """Opens a session with one of the identifiers, and keeps its tokens."""
        request = auth_service_pb2.LogInRequest(password=password, device_name=device_name)
        if email:
            request.email = email
        elif phone:
            request.phone = phone
        else:
            request.username = username
        reply = await self.auth.LogIn(request)
        self.keeper.keep(tokens_from_pb(reply.signed_in.tokens))
        return reply.signed_in

    async def log_out(self) -> None:
        """Ends the session on the server and forgets its tokens, whatever the server says to it."""
        try:
            await self.auth.LogOut(auth_service_pb2.LogOutRequest())
        except SignedOut:
            pass  # It has ended already.
        finally:
            self.keeper.keep(None)

    def watch(
        self,
        *,
        channel_ids: Iterable[str] = (),
        resume_token: str = "",
        cursors: Iterable[channel_pb2.ChannelCursor] = (),
    ) -> EventStream:
        """The events of some channels, or of all of the caller's; survives cuts by itself."""
        return EventStream(
            self.events.WatchEvents,
            channel_ids=channel_ids,
            resume_token=resume_token,
            cursors=cursors,
            rhythm=self._rhythm,
            keeper=self.keeper,
        )

    def converse(
        self,
        *,
        channel_ids: Iterable[str] = (),
        resume_token: str = "",
        cursors: Iterable[channel_pb2.ChannelCursor] = (),
    ) -> Conversation:
        """Events and commands over one stream that is opened again when it breaks."""
        return Conversation(
            self.events.Connect,
            channel_ids=channel_ids,
            resume_token=resume_token,
            cursors=cursors,
            rhythm=self._rhythm,
            keeper=self.keeper,
        )

    async def close(self) -> None:
        """Closes the connection; the session stays open on the server."""
        await self.keeper.settle()
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def connect(
    address: str = "127.0.0.1:8080",
    *,
    token_store: TokenStore | None = None,
    tls: bool = False,
    now: Callable[[], float] = time.time,
    rhythm: Rhythm | None = None,
) -> Client:
    """A client of the server at ``host:port``; connects when it is first used.

    ``token_store`` keeps the session between runs (:class:`FileTokenStore`); memory by default.
    """
    rhythm = rhythm or Rhythm()
    made: list[Client] = []

    def keeper() -> Keeper:
        return made[0].keeper

    interceptors: list[aio.ClientInterceptor] = [
        UnaryCalls(keeper, rhythm),
        ServerStreams(keeper),
        ClientStreams(keeper),
        DuplexStreams(keeper),
    ]
    options = [
        # Retries are made here, where the contract is known; gRPC's own would count on top.
        ("grpc.enable_retries", 0),
        ("grpc.keepalive_time_ms", 30_000),
        # A server that was away for a while is found within a second; the default is two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    channel = (
        aio.secure_channel(
            address, grpc.ssl_channel_credentials(), options=options, interceptors=interceptors
        )
        if tls
        else aio.insecure_channel(address, options=options, interceptors=interceptors)
    )
    client = Client(channel, token_store or MemoryTokenStore(), now, rhythm)
    made.append(client)
    return client

"""The client: stubs for every service over one connection, and the session they share."""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import grpc
from grpc import aio

from greenroom.auth.v1 import (
    api_key_service_pb2_grpc,
    audit_service_pb2_grpc,
    auth_service_pb2,
    auth_service_pb2_grpc,
    email_service_pb2_grpc,
    identity_service_pb2_grpc,
    mfa_service_pb2,
    mfa_service_pb2_grpc,
    oauth_service_pb2,
    oauth_service_pb2_grpc,
    otp_service_pb2_grpc,
    passkey_service_pb2_grpc,
    password_service_pb2_grpc,
    registration_service_pb2_grpc,
    role_service_pb2_grpc,
    session_service_pb2_grpc,
    sign_in_pb2,
    token_service_pb2_grpc,
    user_service_pb2_grpc,
    web_account_service_pb2_grpc,
    web_authenticator_service_pb2_grpc,
    web_session_service_pb2_grpc,
    web_user_service_pb2_grpc,
    web_verification_service_pb2_grpc,
)
from greenroom.chat.v1 import (
    channel_pb2,
    channel_service_pb2_grpc,
    event_service_pb2_grpc,
    member_service_pb2_grpc,
    message_service_pb2_grpc,
    presence_service_pb2_grpc,
    reaction_service_pb2_grpc,
    read_service_pb2_grpc,
    sync_service_pb2_grpc,
)
from greenroom_client.calls import (
    ClientStreams,
    DuplexStreams,
    Rhythm,
    ServerStreams,
    UnaryCalls,
)
from greenroom_client.conversation import Conversation
from greenroom_client.errors import SecondFactorNeeded
from greenroom_client.events import EventStream
from greenroom_client.outbox import Delivery, Outbox, Outgoing
from greenroom_client.tokens import Keeper, MemoryTokenStore, SignedOut, TokenStore, tokens_from_pb


class Client:
    """Every service as a typed stub. Made by :func:`connect`; use it as an async context manager."""

    def __init__(
        self, channel: aio.Channel, store: TokenStore, now: Callable[[], float], rhythm: Rhythm
    ) -> None:
        self._channel = channel
        self._rhythm = rhythm
        self.auth = auth_service_pb2_grpc.AuthServiceStub(channel)
        self.oauth = oauth_service_pb2_grpc.OAuthServiceStub(channel)
        self.otps = otp_service_pb2_grpc.OtpServiceStub(channel)
        self.identities = identity_service_pb2_grpc.IdentityServiceStub(channel)
        self.mfa = mfa_service_pb2_grpc.MfaServiceStub(channel)
        self.audit = audit_service_pb2_grpc.AuditServiceStub(channel)
        self.sessions = session_service_pb2_grpc.SessionServiceStub(channel)
        self.passwords = password_service_pb2_grpc.PasswordServiceStub(channel)
        self.emails = email_service_pb2_grpc.EmailServiceStub(channel)
        self.passkeys = passkey_service_pb2_grpc.PasskeyServiceStub(channel)
        self.api_keys = api_key_service_pb2_grpc.ApiKeyServiceStub(channel)
        self.tokens = token_service_pb2_grpc.TokenServiceStub(channel)
        self.web_users = web_user_service_pb2_grpc.WebUserServiceStub(channel)
        self.web_accounts = web_account_service_pb2_grpc.WebAccountServiceStub(channel)
        self.web_sessions = web_session_service_pb2_grpc.WebSessionServiceStub(channel)
        self.web_verification = web_verification_service_pb2_grpc.WebVerificationServiceStub(
            channel
        )
        self.web_authenticators = web_authenticator_service_pb2_grpc.WebAuthenticatorServiceStub(
            channel
        )
        self.users = user_service_pb2_grpc.UserServiceStub(channel)
        self.roles = role_service_pb2_grpc.RoleServiceStub(channel)
        self.registrations = registration_service_pb2_grpc.RegistrationServiceStub(channel)
        self.channels = channel_service_pb2_grpc.ChannelServiceStub(channel)
        self.members = member_service_pb2_grpc.MemberServiceStub(channel)
        self.messages = message_service_pb2_grpc.MessageServiceStub(channel)
        self.reactions = reaction_service_pb2_grpc.ReactionServiceStub(channel)
        self.reads = read_service_pb2_grpc.ReadServiceStub(channel)
        self.sync = sync_service_pb2_grpc.SyncServiceStub(channel)
        self.presence = presence_service_pb2_grpc.PresenceServiceStub(channel)
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
        """Opens a session with one of the identifiers, and keeps its tokens. ``SecondFactorNeeded``
        where the account has a second factor: ``complete_mfa`` goes on."""
        request = auth_service_pb2.LogInRequest(password=password, device_name=device_name)
        if email:
            request.email = email
        elif phone:
            request.phone = phone
        else:
            request.username = username
        reply = await self.auth.LogIn(request)
        if reply.HasField("mfa_challenge"):
            raise SecondFactorNeeded(reply.mfa_challenge)
        return self.keep(reply.signed_in)

    async def complete_mfa(
        self, challenge: sign_in_pb2.MfaChallenge, *, totp: str = "", backup_code: str = ""
    ) -> sign_in_pb2.SignedIn:
        """Opens the session that a challenge stands before, by a code of an authenticator app or a
        backup code, and keeps its tokens. A wrong code leaves the challenge as it was."""
        request = mfa_service_pb2.CompleteMfaChallengeRequest(
            challenge_token=challenge.challenge_token
        )
        if backup_code:
            request.backup_code = backup_code
        else:
            request.totp_code = totp
        return self.keep((await self.mfa.CompleteMfaChallenge(request)).signed_in)

    async def complete_oauth(
        self, answer: oauth_service_pb2.CompleteOAuthRequest
    ) -> sign_in_pb2.SignedIn:
        """Opens a session by what a provider has answered, and keeps its tokens; ``oauth.StartOAuth``
        comes first. ``SecondFactorNeeded`` where the account has a second factor."""
        reply = await self.oauth.CompleteOAuth(answer)
        if reply.HasField("mfa_challenge"):
            raise SecondFactorNeeded(reply.mfa_challenge)
        return self.keep(reply.signed_in)

    def keep(self, signed_in: sign_in_pb2.SignedIn) -> sign_in_pb2.SignedIn:
        """Makes a session the client's that was opened by whatever way in (a one-time code, a
        provider, a passkey)."""
        self.keeper.keep(tokens_from_pb(signed_in.tokens))
        return signed_in

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

    def outbox(
        self,
        unsent: Iterable[Outgoing] = (),
        *,
        give_up_after: float | None = None,
        on_change: Callable[[Delivery], None] | None = None,
    ) -> Outbox:
        """Sends messages in order and again until they are stored; goes on with what another run has
        left unsent. ``give_up_after`` is how many seconds a message may take, as many as it needs by
        default; ``on_change`` hears of every message when it is taken and when it is sent or has failed.
        """
        return Outbox(
            self.messages.SendMessage,
            keeper=self.keeper,
            rhythm=self._rhythm,
            unsent=unsent,
            give_up_after=give_up_after,
            on_change=on_change,
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

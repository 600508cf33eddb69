"""The whole server in this process, on free ports of the loopback, and people who use it."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from grpc import aio

from greenroom.auth.v1 import api_key_service_pb2_grpc as api_key_grpc
from greenroom.auth.v1 import audit_service_pb2_grpc as audit_grpc
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from greenroom.auth.v1 import email_service_pb2_grpc as email_grpc
from greenroom.auth.v1 import identity_service_pb2_grpc as identity_grpc
from greenroom.auth.v1 import mfa_service_pb2_grpc as mfa_grpc
from greenroom.auth.v1 import oauth_service_pb2_grpc as oauth_grpc
from greenroom.auth.v1 import otp_service_pb2_grpc as otp_grpc
from greenroom.auth.v1 import passkey_service_pb2_grpc as passkey_grpc
from greenroom.auth.v1 import password_service_pb2_grpc as password_grpc
from greenroom.auth.v1 import registration_service_pb2_grpc as registration_grpc
from greenroom.auth.v1 import role_service_pb2_grpc as role_grpc
from greenroom.auth.v1 import session_service_pb2_grpc as session_grpc
from greenroom.auth.v1 import sign_in_pb2, user_pb2
from greenroom.auth.v1 import token_service_pb2_grpc as token_grpc
from greenroom.auth.v1 import user_service_pb2_grpc as user_grpc
from greenroom.auth.v1 import web_account_service_pb2_grpc as web_account_grpc
from greenroom.auth.v1 import web_authenticator_service_pb2_grpc as web_authenticator_grpc
from greenroom.auth.v1 import web_session_service_pb2_grpc as web_session_grpc
from greenroom.auth.v1 import web_user_service_pb2_grpc as web_user_grpc
from greenroom.auth.v1 import web_verification_service_pb2_grpc as web_verification_grpc
from greenroom.chat.v1 import (
    channel_service_pb2_grpc as channel_grpc,
)
from greenroom.chat.v1 import (
    event_service_pb2_grpc as event_grpc,
)
from greenroom.chat.v1 import (
    member_service_pb2_grpc as member_grpc,
)
from greenroom.chat.v1 import (
    message_service_pb2_grpc as message_grpc,
)
from greenroom.chat.v1 import presence_service_pb2_grpc as presence_grpc
from greenroom.chat.v1 import reaction_service_pb2_grpc as reaction_grpc
from greenroom.chat.v1 import read_service_pb2_grpc as read_grpc
from greenroom.chat.v1 import sync_service_pb2_grpc as sync_grpc
from server.auth.models import Session
from server.auth.usecases.privileges import change_privilege
from server.chat.ports import MediaShelf
from server.core.clock import Clock, ManualClock
from server.core.config import Settings, load_settings
from server.core.jobs import JobRunner
from server.core.unit import Unit
from server.main import Running, start
from tests.support.mails import mails_in, token_for

PASSWORD = "correct horse battery staple"
_people = itertools.count(1)

UNLIMITED = {
    f"LIMIT_{name}": "off"
    for name in (
        "ADDRESS",
        "READ",
        "WRITE",
        "LOGIN",
        "MAIL",
        "CHAT",
        "EPHEMERAL",
        "STREAM",
    )
}


@dataclass
class Person:
    """Somebody who is signed in."""

    id: str
    email: str
    tokens: sign_in_pb2.SignedIn
    metadata: tuple[tuple[str, str], ...]

    @property
    def session_id(self) -> str:
        """Id of the session that ``metadata`` belongs to."""
        return self.tokens.session.id


class Greenroom:
    """A running server with a stub for each of its services."""

    def __init__(self, running: Running, channel: aio.Channel, clock: Clock) -> None:
        self.running = running
        self.channel = channel
        self.clock = clock
        self.auth: auth_grpc.AuthServiceAsyncStub = (
            auth_grpc.AuthServiceStub(channel)  # type: ignore[assignment]
        )
        self.mfa: mfa_grpc.MfaServiceAsyncStub = mfa_grpc.MfaServiceStub(channel)  # type: ignore[assignment]
        self.otps: otp_grpc.OtpServiceAsyncStub = otp_grpc.OtpServiceStub(channel)  # type: ignore[assignment]
        self.oauth: oauth_grpc.OAuthServiceAsyncStub = (
            oauth_grpc.OAuthServiceStub(channel)  # type: ignore[assignment]
        )
        self.identities: identity_grpc.IdentityServiceAsyncStub = (
            identity_grpc.IdentityServiceStub(channel)  # type: ignore[assignment]
        )
        self.audit: audit_grpc.AuditServiceAsyncStub = (
            audit_grpc.AuditServiceStub(channel)  # type: ignore[assignment]
        )
        self.sessions: session_grpc.SessionServiceAsyncStub = session_grpc.SessionServiceStub(
            channel
        )  # type: ignore[assignment]
        self.passkeys: passkey_grpc.PasskeyServiceAsyncStub = passkey_grpc.PasskeyServiceStub(
            channel
        )  # type: ignore[assignment]
        self.api_keys: api_key_grpc.ApiKeyServiceAsyncStub = (
            api_key_grpc.ApiKeyServiceStub(channel)  # type: ignore[assignment]
        )
        self.tokens: token_grpc.TokenServiceAsyncStub = (
            token_grpc.TokenServiceStub(channel)  # type: ignore[assignment]
        )
        self.web_users: web_user_grpc.WebUserServiceAsyncStub = web_user_grpc.WebUserServiceStub(
            channel
        )  # type: ignore[assignment]
        self.web_accounts: web_account_grpc.WebAccountServiceAsyncStub = (
            web_account_grpc.WebAccountServiceStub(channel)
        )  # type: ignore[assignment]
        self.web_sessions: web_session_grpc.WebSessionServiceAsyncStub = (
            web_session_grpc.WebSessionServiceStub(channel)
        )  # type: ignore[assignment]
        self.web_verification: web_verification_grpc.WebVerificationServiceAsyncStub = (
            web_verification_grpc.WebVerificationServiceStub(channel)
        )  # type: ignore[assignment]
        self.web_authenticators: web_authenticator_grpc.WebAuthenticatorServiceAsyncStub = (
            web_authenticator_grpc.WebAuthenticatorServiceStub(channel)
        )  # type: ignore[assignment]
        self.passwords: password_grpc.PasswordServiceAsyncStub = password_grpc.PasswordServiceStub(
            channel
        )  # type: ignore[assignment]
        self.emails: email_grpc.EmailServiceAsyncStub = email_grpc.EmailServiceStub(channel)  # type: ignore[assignment]
        self.users: user_grpc.UserServiceAsyncStub = (
            user_grpc.UserServiceStub(channel)  # type: ignore[assignment]
        )
        self.roles: role_grpc.RoleServiceAsyncStub = (
            role_grpc.RoleServiceStub(channel)  # type: ignore[assignment]
        )
        self.registrations: registration_grpc.RegistrationServiceAsyncStub = (
            registration_grpc.RegistrationServiceStub(channel)  # type: ignore[assignment]
        )
        self.channels: channel_grpc.ChannelServiceAsyncStub = channel_grpc.ChannelServiceStub(
            channel
        )  # type: ignore[assignment]
        self.members: member_grpc.MemberServiceAsyncStub = member_grpc.MemberServiceStub(channel)  # type: ignore[assignment]
        self.messages: message_grpc.MessageServiceAsyncStub = message_grpc.MessageServiceStub(
            channel
        )  # type: ignore[assignment]
        self.reactions: reaction_grpc.ReactionServiceAsyncStub = (
            reaction_grpc.ReactionServiceStub(channel)  # type: ignore[assignment]
        )
        self.reads: read_grpc.ReadServiceAsyncStub = read_grpc.ReadServiceStub(channel)  # type: ignore[assignment]
        self.sync: sync_grpc.SyncServiceAsyncStub = sync_grpc.SyncServiceStub(channel)  # type: ignore[assignment]
        self.presence: presence_grpc.PresenceServiceAsyncStub = (
            presence_grpc.PresenceServiceStub(channel)  # type: ignore[assignment]
        )
        self.events: event_grpc.EventServiceAsyncStub = (
            event_grpc.EventServiceStub(channel)  # type: ignore[assignment]
        )

    @property
    def settings(self) -> Settings:
        """What the server runs with."""
        return self.running.parts.settings

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.running.port}"

    def mails(self, to: str = "") -> list[EmailMessage]:
        """Every mail to an address that has been sent so far, oldest first."""
        return mails_in(self.settings.mail_dir, to)

    async def mailed_token(self, to: str, count: int = 1) -> str:
        """The token of the newest mail to an address, once there are ``count`` of them."""
        return await token_for(self.settings.mail_dir, to, count)

    @asynccontextmanager
    async def jobs_at_rest(self) -> AsyncIterator[None]:
        """Whatever job is due has been run, and none is begun until the block is left."""
        parts = self.running.parts
        assert self.running.runner is not None
        await asyncio.to_thread(self.running.runner.stop)
        runner = JobRunner(parts.database, parts.jobs, parts.clock)

        def catch_up() -> None:
            runner.run_pending()
            parts.database.close_here()

        await asyncio.to_thread(catch_up)
        try:
            yield
        finally:
            runner.start()
            self.running.runner = runner

    async def sign_up(self, address: str, password: str = PASSWORD, name: str = "") -> None:
        """Opens an account and proves its address."""
        await self.auth.SignUp(
            auth_pb.SignUpRequest(
                email=address,
                password=password,
                display_name=name,
                persona=user_pb2.PERSONA_CREATOR,
            )
        )
        token = await self.mailed_token(address)
        await self.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))

    async def log_in(self, address: str, password: str = PASSWORD) -> Person:
        """Opens a session."""
        reply = await self.auth.LogIn(auth_pb.LogInRequest(email=address, password=password))
        signed_in = reply.signed_in
        return Person(
            signed_in.user.id,
            address,
            signed_in,
            (("authorization", f"Bearer {signed_in.tokens.access_token}"),),
        )

    async def stale(self, person: Person) -> None:
        """Lets the trust that came with a person's sign-in run out, as if its minutes were over: a
        method that demands a fresh factor refuses the session until Reauthenticate."""

        def lower(unit: Unit) -> None:
            change_privilege(unit, Session.get_by_id(person.session_id), None)

        await self.running.parts.database.run(lower, write=True)

    async def person(self, name: str = "person") -> Person:
        """Somebody new, signed up and logged in."""
        address = f"{name.lower()}-{next(_people)}-{os.getpid()}@example.com"
        await self.sign_up(address, name=name)
        return await self.log_in(address)


@asynccontextmanager
async def serving(
    database_url: str,
    state_dir: Path,
    *,
    clock: Clock | None = None,
    limited: bool = False,
    shelf: MediaShelf | None = None,
    **environ: object,
) -> AsyncIterator[Greenroom]:
    """Serves until the block is left. Settings are given in lower case; limits are off unless
    ``limited``, and passwords are hashed at the lowest cost. ``shelf`` has the media that can be sent."""
    clock = clock or ManualClock()
    settings = load_settings(
        {
            "DATABASE_URL": database_url,
            "STATE_DIR": str(state_dir),
            "GRPC_PORT": "0",
            "METRICS_PORT": "0",
            "BCRYPT_COST": "4",
            "LOG_LEVEL": "warning",
            **({} if limited else UNLIMITED),
            **{name.upper(): str(value) for name, value in environ.items()},
        }
    )
    running = await start(settings, clock=clock, shelf=shelf)
    channel = aio.insecure_channel(f"127.0.0.1:{running.port}")
    try:
        yield Greenroom(running, channel, clock)
    finally:
        await channel.close()
        await running.stop(2)

"""The whole server in this process, on free ports of the loopback, and people who use it."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from functools import partial
from pathlib import Path

import bcrypt
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
from server.auth import audit_actions as actions
from server.auth.issuing import hash_of
from server.auth.mails import WaitingSignUp, verification_mail
from server.auth.models import Session, VerificationToken
from server.auth.passwords import folded
from server.auth.rules import VERIFICATION_LIFE
from server.auth.usecases.privileges import change_privilege
from server.auth.usecases.registration import SIGN_UP, SignUp, open_registration, prove_sign_up
from server.auth.usecases.verification_tokens import issue_token
from server.chat.ports import MediaShelf
from server.core.clock import Clock, ManualClock
from server.core.config import Settings, load_settings
from server.core.jobs import JobRunner
from server.core.mail import Mail, open_mailer
from server.core.unit import Unit
from server.main import Running, start
from tests.support.mails import mails_in, token_for

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = bcrypt.hashpw(folded(PASSWORD), bcrypt.gensalt(4)).decode()
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
    """A running server with a stub for each of its services, as annotated here."""

    auth: "auth_grpc.AuthServiceAsyncStub"
    mfa: "mfa_grpc.MfaServiceAsyncStub"
    otps: "otp_grpc.OtpServiceAsyncStub"
    oauth: "oauth_grpc.OAuthServiceAsyncStub"
    identities: "identity_grpc.IdentityServiceAsyncStub"
    audit: "audit_grpc.AuditServiceAsyncStub"
    sessions: "session_grpc.SessionServiceAsyncStub"
    passkeys: "passkey_grpc.PasskeyServiceAsyncStub"
    api_keys: "api_key_grpc.ApiKeyServiceAsyncStub"
    tokens: "token_grpc.TokenServiceAsyncStub"
    web_users: "web_user_grpc.WebUserServiceAsyncStub"
    web_accounts: "web_account_grpc.WebAccountServiceAsyncStub"
    web_sessions: "web_session_grpc.WebSessionServiceAsyncStub"
    web_verification: "web_verification_grpc.WebVerificationServiceAsyncStub"
    web_authenticators: "web_authenticator_grpc.WebAuthenticatorServiceAsyncStub"
    passwords: "password_grpc.PasswordServiceAsyncStub"
    emails: "email_grpc.EmailServiceAsyncStub"
    users: "user_grpc.UserServiceAsyncStub"
    roles: "role_grpc.RoleServiceAsyncStub"
    registrations: "registration_grpc.RegistrationServiceAsyncStub"
    channels: "channel_grpc.ChannelServiceAsyncStub"
    members: "member_grpc.MemberServiceAsyncStub"
    messages: "message_grpc.MessageServiceAsyncStub"
    reactions: "reaction_grpc.ReactionServiceAsyncStub"
    reads: "read_grpc.ReadServiceAsyncStub"
    sync: "sync_grpc.SyncServiceAsyncStub"
    presence: "presence_grpc.PresenceServiceAsyncStub"
    events: "event_grpc.EventServiceAsyncStub"

    def __init__(self, running: Running, channel: aio.Channel, clock: Clock) -> None:
        self.running = running
        self.channel = channel
        self.clock = clock
        for name, kind in type(self).__annotations__.items():
            module, stub = kind.removesuffix("AsyncStub").split(".")
            setattr(self, name, getattr(globals()[module], stub + "Stub")(channel))

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
        """Somebody new, logged in: signed up, mailed to and proven by the same code as over the API, with
        none of its calls and waits."""
        address = f"{name.lower()}-{next(_people)}-{os.getpid()}@example.com"
        settle = partial(_settle, address, name, self.settings.public_url)
        mail = await self.running.parts.database.run(settle, write=True)
        await asyncio.to_thread(open_mailer(self.settings).send, mail)
        return await self.log_in(address)


def _settle(address: str, name: str, public_url: str, unit: Unit) -> Mail:
    """An account with a proven address. Returns the mail of its sign-up."""
    wanted = SignUp(
        email=address,
        phone="",
        display_name=name,
        username="",
        persona="creator",
        language="",
        info="",
    )
    waiting = open_registration(unit, wanted, PASSWORD_HASH)
    token = issue_token(unit, address, SIGN_UP, VERIFICATION_LIFE, registration=waiting.id)
    unit.audit(actions.SIGN_UP, result="ACCEPTED")
    prove_sign_up(unit, VerificationToken.get(VerificationToken.token_hash == hash_of(token)))
    sign_up = WaitingSignUp(token, waiting.name, waiting.ip, waiting.create_time)
    mail = verification_mail(address, "", public_url, [sign_up])
    return Mail(mail.to, mail.subject, mail.text, mail.html, waiting.id)


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

"""Puts the auth module together."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from greenroom.auth.v1 import auth_service_pb2, session_service_pb2
from server.auth import outbox as outgoing
from server.auth.audit import SEAL_SECONDS, AuditSealer, write_audit_row
from server.auth.authenticator import ACTIVITY_SECONDS, LOOK_SECONDS, SessionAuthenticator
from server.auth.directory import UserDirectory
from server.auth.events import RightsChanged, SessionRevoked, UserChanged
from server.auth.issuing import TokenIssuer
from server.auth.keys import load_signing_keys
from server.auth.me_cache import MeCache
from server.auth.outbox import Outbox
from server.auth.passwords import Passwords
from server.auth.rules import Lifetimes
from server.auth.servicers.auth import AuthServicer
from server.auth.servicers.sessions import SessionServicer
from server.auth.ticker import Ticker
from server.auth.tokens import AccessTokens
from server.auth.usecases import cleanup
from server.auth.usecases.registration import SignUpDesk
from server.auth.usecases.signing_in import SignInDesk
from server.core.config import Settings
from server.core.jobs import JobRun
from server.core.parts import Parts
from server.core.unit import AuditSink
from server.wire.service import Service

CLEANUP_JOB = "auth.cleanup"


@dataclass
class AuthModule:
    """What the composition root takes from this module."""

    services: list[Service]
    authenticator: SessionAuthenticator
    audit_sink: AuditSink
    directory: UserDirectory
    passwords: Passwords
    sealer: AuditSealer
    me: MeCache
    _tickers: list[Ticker]
    _unsubscribe: list[Callable[[], None]] = field(default_factory=list)

    async def start(self) -> None:
        """Begins to listen to other processes, to seal audit rows and to write activity."""
        loop = asyncio.get_running_loop()
        self.me.start(loop)
        self._unsubscribe.append(self.authenticator.start(loop))
        for ticker in self._tickers:
            ticker.start()

    async def stop(self) -> None:
        """Ends all that, after a last round of what is to be written."""
        for ticker in self._tickers:
            await ticker.stop()
            await ticker.tick()
        for unsubscribe in self._unsubscribe:
            unsubscribe()


def build(parts: Parts) -> AuthModule:
    """Makes the services of auth and subscribes to its events."""
    settings = parts.settings
    keys = load_signing_keys(settings, parts.clock.now())
    access = AccessTokens(
        keys, issuer=settings.token_issuer, audience=settings.token_audience, clock=parts.clock
    )
    lifetimes = lifetimes_of(settings)
    issuer = TokenIssuer(access, parts.keyring, lifetimes)
    outbox = Outbox(parts.keyring, parts.mailer)
    passwords = Passwords(parts.hash_pool, settings.bcrypt_cost, settings.hash_queue)
    authenticator = SessionAuthenticator(access, parts.database, parts.clock, parts.bus)
    me = MeCache(parts.clock, parts.bus)
    sealer = AuditSealer(parts.database)
    desk = SignUpDesk(parts.keyring, outbox, settings.public_url, settings.auto_activate)
    sign_in = SignInDesk(issuer, parts.keyring, outbox)
    servicer = AuthServicer(desk=desk, sign_in=sign_in, passwords=passwords, keys=keys, me=me)
    _subscribe(parts, authenticator, me)
    register_jobs(parts, outbox, lifetimes)
    services = [
        Service(auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"], servicer),
        Service(
            session_service_pb2.DESCRIPTOR.services_by_name["SessionService"],
            SessionServicer(parts.pages),
        ),
    ]
    tickers = [
        Ticker("auth.seal_audit_rows", SEAL_SECONDS, sealer.seal_all),
        Ticker("auth.look_for_ended_sessions", LOOK_SECONDS, authenticator.look),
        Ticker("auth.write_activity", ACTIVITY_SECONDS, authenticator.write_activity),
    ]
    return AuthModule(
        services=services,
        authenticator=authenticator,
        audit_sink=write_audit_row,
        directory=UserDirectory(),
        passwords=passwords,
        sealer=sealer,
        me=me,
        _tickers=tickers,
    )


def lifetimes_of(settings: Settings) -> Lifetimes:
    """How long tokens and sessions live, by the settings."""
    return Lifetimes(
        access=timedelta(seconds=settings.access_token_seconds),
        sliding=timedelta(days=settings.session_sliding_days),
        absolute=timedelta(days=settings.session_absolute_days),
        grace=timedelta(seconds=settings.refresh_grace_seconds),
    )


def register_jobs(parts: Parts, outbox: Outbox, lifetimes: Lifetimes) -> None:
    """Says what the jobs of auth do; also for a worker that serves no calls."""

    def clean_up(run: JobRun) -> None:
        for step in cleanup.steps(lifetimes.grace):
            while run.run(step) >= cleanup.BATCH:
                pass

    parts.jobs.register(outgoing.JOB, outbox.send)
    parts.jobs.register(CLEANUP_JOB, clean_up)
    parts.jobs.schedule(CLEANUP_JOB, "7 * * * *")


def _subscribe(parts: Parts, authenticator: SessionAuthenticator, me: MeCache) -> None:
    parts.events.subscribe(SessionRevoked, authenticator.on_session_revoked)
    parts.events.subscribe(RightsChanged, authenticator.on_rights_changed)
    parts.events.subscribe(UserChanged, me.on_user_changed)
    authenticator.on_user_changed(me.drop)

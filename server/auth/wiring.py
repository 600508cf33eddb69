"""Puts the auth module together."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from greenroom.auth.v1 import (
    api_key_service_pb2,
    audit_service_pb2,
    auth_service_pb2,
    email_service_pb2,
    identity_service_pb2,
    mfa_service_pb2,
    oauth_service_pb2,
    otp_service_pb2,
    passkey_service_pb2,
    password_service_pb2,
    registration_service_pb2,
    role_service_pb2,
    session_service_pb2,
    token_service_pb2,
    user_service_pb2,
    web_account_service_pb2,
    web_authenticator_service_pb2,
    web_session_service_pb2,
    web_user_service_pb2,
    web_verification_service_pb2,
)
from server.auth import audit_command, devices
from server.auth import courier as courier_of_codes
from server.auth import outbox as outgoing
from server.auth.audit import SEAL_SECONDS, AuditSealer, write_audit_row
from server.auth.authenticator import ACTIVITY_SECONDS, LOOK_SECONDS, SessionAuthenticator
from server.auth.ceremonies import RelyingParty
from server.auth.courier import OtpCourier
from server.auth.directory import UserDirectory
from server.auth.events import (
    ApiKeyRevoked,
    PrivilegeChanged,
    RightsChanged,
    SessionRevoked,
    UserChanged,
)
from server.auth.gateways.providers import open_providers
from server.auth.gateways.sms import open_sms
from server.auth.issuing import TokenIssuer
from server.auth.key_watch import KEYS_SECONDS, KeyWatch
from server.auth.keys import SigningKeys, load_signing_keys
from server.auth.me_cache import MeCache
from server.auth.outbox import Outbox
from server.auth.passwords import Passwords
from server.auth.provider_port import Providers
from server.auth.rules import Lifetimes
from server.auth.servicers.api_keys import ApiKeyServicer, TokenServicer
from server.auth.servicers.audit import AuditServicer
from server.auth.servicers.auth import AuthServicer
from server.auth.servicers.emails import EmailServicer
from server.auth.servicers.mfa import MfaServicer
from server.auth.servicers.oauth import IdentityServicer, OAuthServicer, ProviderCounter
from server.auth.servicers.otps import OtpServicer
from server.auth.servicers.passkeys import PasskeyServicer
from server.auth.servicers.passwords import PasswordServicer
from server.auth.servicers.registrations import RegistrationServicer
from server.auth.servicers.roles import RoleServicer
from server.auth.servicers.sessions import SessionServicer
from server.auth.servicers.users import UserServicer
from server.auth.servicers.web_sessions import (
    WebAuthenticatorServicer,
    WebSessionServicer,
    WebVerificationServicer,
)
from server.auth.servicers.web_users import WebAccountServicer, WebUserServicer
from server.auth.ticker import Ticker
from server.auth.tokens import AccessTokens
from server.auth.usecases import cleanup, password_resets, user_status
from server.auth.usecases.otp_checks import CodeChecker
from server.auth.usecases.passkeys import PasskeyDesk
from server.auth.usecases.password_resets import PasswordDesk
from server.auth.usecases.registration import SignUpDesk
from server.auth.usecases.signing_in import SignInDesk
from server.auth.usecases.user_status import StaffDesk
from server.auth.usecases.web_accounts import WebAccountDesk
from server.core.config import Settings
from server.core.jobs import JobRun
from server.core.parts import Parts
from server.core.unit import AuditSink
from server.wire.service import Service

CLEANUP_JOB = "auth.cleanup"
PURGE_JOB = "users.purge"


@dataclass
class AuthModule:
    """What the composition root takes from this module."""

    services: list[Service]
    authenticator: SessionAuthenticator
    audit_sink: AuditSink
    directory: UserDirectory
    passwords: Passwords
    codes: CodeChecker
    sealer: AuditSealer
    me: MeCache
    key_watch: KeyWatch
    _tickers: list[Ticker]
    _close: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _unsubscribe: list[Callable[[], None]] = field(default_factory=list)

    async def start(self) -> None:
        """Begins to listen to other processes, to seal audit rows and to write activity."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(devices.load)
        self.me.start(loop)
        self._unsubscribe.append(self.authenticator.start(loop))
        for ticker in self._tickers:
            ticker.start()

    async def stop(self) -> None:
        """Ends all that, after a last round of what is to be written."""
        for ticker in self._tickers:
            await ticker.stop()
            await ticker.tick()
        for close in self._close:
            await close()
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
    passwords = Passwords(parts.hash_pool, settings.bcrypt_cost)
    authenticator = SessionAuthenticator(access, parts.database, parts.clock, parts.bus)
    key_watch = _watch_keys(settings, keys, authenticator)
    me = MeCache(parts.clock, parts.bus)
    sealer = AuditSealer(parts.database)
    desk = SignUpDesk(parts.keyring, outbox, settings.public_url, settings.auto_activate)
    sign_in = SignInDesk(issuer, parts.keyring, outbox)
    providers = open_providers(settings, parts.clock)
    site = RelyingParty(settings.webauthn_rp_id, settings.webauthn_origins)
    passkey_desk = PasskeyDesk(site, sign_in)
    courier = OtpCourier(
        parts.keyring, outbox, settings.public_url, open_sms(settings, parts.clock)
    )
    codes = CodeChecker(parts.keyring, courier.sms)
    servicer = AuthServicer(
        desk=desk,
        courier=courier,
        sign_in=sign_in,
        passkeys=passkey_desk,
        passwords=passwords,
        keys=keys,
        me=me,
    )
    _subscribe(parts, authenticator, me)
    register_jobs(parts, outbox, lifetimes, courier)
    services = [
        Service.of(auth_service_pb2, servicer),
        *_factor_services(parts, sign_in, passkey_desk),
        Service.of(otp_service_pb2, OtpServicer(courier, codes, sign_in)),
        *_session_services(parts),
        *_password_services(PasswordDesk(parts.keyring, outbox, settings.public_url), passwords),
        *_staff_services(parts, desk),
        *_provider_services(parts, sign_in, providers),
        *_key_services(parts, access),
        *_web_services(parts, providers, authenticator),
    ]
    return AuthModule(
        services=services,
        authenticator=authenticator,
        audit_sink=write_audit_row,
        directory=UserDirectory(),
        passwords=passwords,
        codes=codes,
        sealer=sealer,
        me=me,
        key_watch=key_watch,
        _tickers=_tickers(sealer, authenticator, key_watch),
        _close=[providers.close],
    )


def _tickers(
    sealer: AuditSealer, authenticator: SessionAuthenticator, key_watch: KeyWatch
) -> list[Ticker]:
    """What is done every second or minute."""
    return [
        Ticker("auth.seal_audit_rows", SEAL_SECONDS, sealer.seal_all),
        Ticker("auth.look_for_ended_sessions", LOOK_SECONDS, authenticator.look),
        Ticker("auth.look_for_keys", KEYS_SECONDS, key_watch.look),
        Ticker("auth.write_activity", ACTIVITY_SECONDS, authenticator.write_activity),
    ]


def _factor_services(parts: Parts, sign_in: SignInDesk, passkeys: PasskeyDesk) -> list[Service]:
    """Second factors and passkeys."""
    return [
        Service.of(mfa_service_pb2, MfaServicer(sign_in, parts.pages)),
        Service.of(passkey_service_pb2, PasskeyServicer(passkeys, parts.pages)),
    ]


def _session_services(parts: Parts) -> list[Service]:
    """The services of signed-in devices and of the audit log."""
    return [
        Service.of(session_service_pb2, SessionServicer(parts.pages)),
        Service.of(audit_service_pb2, AuditServicer(parts.pages)),
    ]


def _password_services(desk: PasswordDesk, passwords: Passwords) -> list[Service]:
    """Forgotten and changed passwords, and changes of the address."""
    return [
        Service.of(password_service_pb2, PasswordServicer(desk, passwords)),
        Service.of(email_service_pb2, EmailServicer(desk)),
    ]


def _staff_services(parts: Parts, desk: SignUpDesk) -> list[Service]:
    """The services of accounts, roles and sign-ups."""
    grace = timedelta(days=parts.settings.user_grace_days)
    staff = StaffDesk(desk.outbox, desk.public_url, grace)
    return [
        Service.of(user_service_pb2, UserServicer(parts.pages, staff)),
        Service.of(role_service_pb2, RoleServicer(parts.pages)),
        Service.of(registration_service_pb2, RegistrationServicer(parts.pages, desk)),
    ]


def _provider_services(parts: Parts, sign_in: SignInDesk, providers: Providers) -> list[Service]:
    """Signing in with providers, and the identities that come of it."""
    counter = ProviderCounter(sign_in, providers)
    redirect_uris = frozenset(parts.settings.oauth_redirect_uris)
    return [
        Service.of(oauth_service_pb2, OAuthServicer(sign_in, providers, counter, redirect_uris)),
        Service.of(identity_service_pb2, IdentityServicer(sign_in, counter, parts.pages)),
    ]


def _key_services(parts: Parts, access: AccessTokens) -> list[Service]:
    """Keys of services, and what tokens are worth."""
    return [
        Service.of(api_key_service_pb2, ApiKeyServicer(parts.pages)),
        Service.of(token_service_pb2, TokenServicer(access)),
    ]


def _web_services(
    parts: Parts, providers: Providers, authenticator: SessionAuthenticator
) -> list[Service]:
    """What web frameworks keep here."""
    accounts = WebAccountDesk(parts.keyring, providers)
    sessions = WebSessionServicer(lifetimes_of(parts.settings), authenticator.saw)
    return [
        Service.of(web_user_service_pb2, WebUserServicer()),
        Service.of(web_account_service_pb2, WebAccountServicer(accounts)),
        Service.of(web_session_service_pb2, sessions),
        Service.of(web_verification_service_pb2, WebVerificationServicer()),
        Service.of(web_authenticator_service_pb2, WebAuthenticatorServicer(parts.pages)),
    ]


def _watch_keys(
    settings: Settings, keys: SigningKeys, authenticator: SessionAuthenticator
) -> KeyWatch:
    """Follows the folder of the keys; a key from SIGNING_KEY stays until the server restarts."""
    watch = KeyWatch(None if settings.signing_key else settings.keys_dir, keys)
    watch.on_withdrawn(authenticator.forget_signed_by)
    authenticator.look_for_keys = watch.look_soon
    return watch


def lifetimes_of(settings: Settings) -> Lifetimes:
    """How long tokens and sessions live, by the settings."""
    return Lifetimes(
        access=timedelta(seconds=settings.access_token_seconds),
        sliding=timedelta(days=settings.session_sliding_days),
        absolute=timedelta(days=settings.session_absolute_days),
        grace=timedelta(seconds=settings.refresh_grace_seconds),
        step_up=timedelta(seconds=settings.step_up_seconds),
        session_limit=settings.session_limit,
    )


def register_jobs(parts: Parts, outbox: Outbox, lifetimes: Lifetimes, courier: OtpCourier) -> None:
    """Says what the jobs of auth do; also for a worker that serves no calls."""

    def clean_up(run: JobRun) -> None:
        for step in cleanup.steps(lifetimes.grace):
            while run.run(step) >= cleanup.BATCH:
                pass

    passwords = PasswordDesk(parts.keyring, outbox, parts.settings.public_url)
    parts.jobs.register(outgoing.JOB, outbox.send)
    parts.jobs.register(courier_of_codes.JOB, courier.deliver)
    parts.jobs.register(password_resets.JOB, partial(password_resets.answer_ask, desk=passwords))
    parts.jobs.register(CLEANUP_JOB, clean_up)
    parts.jobs.schedule(CLEANUP_JOB, "7 * * * *")
    parts.jobs.register(
        audit_command.JOB, audit_command.verify_daily, lease_seconds=audit_command.LEASE_SECONDS
    )
    parts.jobs.schedule(audit_command.JOB, "13 4 * * *")
    parts.jobs.register(PURGE_JOB, _purge)
    parts.jobs.schedule(PURGE_JOB, "41 3 * * *")


def _purge(run: JobRun) -> None:
    """Purges every account whose grace is over, each in a unit of its own."""
    while user_ids := run.run(user_status.due_for_purge, write=False):
        for user_id in user_ids:
            run.run(partial(user_status.purge, user_id=user_id))


def _subscribe(parts: Parts, authenticator: SessionAuthenticator, me: MeCache) -> None:
    parts.events.subscribe(SessionRevoked, authenticator.on_session_revoked)
    parts.events.subscribe(RightsChanged, authenticator.on_rights_changed)
    parts.events.subscribe(ApiKeyRevoked, authenticator.on_api_key_revoked)
    parts.events.subscribe(PrivilegeChanged, authenticator.on_privilege_changed)
    parts.events.subscribe(UserChanged, me.on_user_changed)
    authenticator.on_user_changed(me.drop)

"""Signing in with a provider: what is kept while the user is there, and what follows from the
answer. The provider itself is asked between the units, by the servicer."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import (
    BadCredentials,
    LinkRequired,
    OAuthProofInvalid,
    OAuthStateInvalid,
)
from server.auth.events import EmailVerified, SignedUp
from server.auth.issuing import Device, hash_of
from server.auth.models import Identity, OAuthAuthorization, Registration, Role, User, UserRole
from server.auth.provider_port import Answer, Expectation, Opening
from server.auth.rules import (
    AUTHORIZATION_LIFE,
    Asking,
    Case,
    LinkingVerdict,
    Local,
    Owner,
    ProvenIdentity,
    Purpose,
    RegistrationStatus,
    Told,
    UserStatus,
    name_for,
    verdict_on,
)
from server.auth.usecases.provider_tokens import keep_identity, renew_identity
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.signing_in import SignInDesk, SignInOutcome, finish_sign_in
from server.auth.usecases.usernames import name_wanted, save_named
from server.auth.usecases.users import may_sign_in
from server.core.db import locked
from server.core.errors import Aborted, GreenroomError, Refused
from server.core.ids import new_id, new_secret
from server.core.sealing import Keyring, SealBroken
from server.core.unit import Unit

_VERIFIER_BYTES = 48
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Start:
    """What a client wants to begin. ``persona`` and ``language`` are for somebody who turns out to
    be new; both may be empty."""

    provider: str
    redirect_uri: str
    purpose: Purpose
    persona: str
    language: str


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one authorisation is recognised by; ``verifier`` never leaves the server."""

    state: str = field(repr=False)
    binding: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    def opening(self, redirect_uri: str) -> Opening:
        """What the provider is told of them."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return Opening(redirect_uri, self.state, self.nonce, challenge)


@dataclass(frozen=True, slots=True)
class Taken:
    """An authorisation that was used up by the right client."""

    provider: str
    persona: str
    language: str
    expected: Expectation


@dataclass(frozen=True, slots=True)
class SignedInBy:
    """What came of a provider's answer; ``signed_up`` says that the account is new."""

    outcome: SignInOutcome
    signed_up: bool


def new_secrets() -> Secrets:
    """256 random bits each, and more for the verifier (RFC 7636, section 4.1)."""
    return Secrets(new_secret(), "grb_" + new_secret(), new_secret(), new_secret(_VERIFIER_BYTES))


def begin(unit: Unit, start: Start, secrets: Secrets, *, keyring: Keyring) -> datetime:
    """Keeps what the answer will be checked against; until when."""
    row_id = new_id()
    expires = unit.now + AUTHORIZATION_LIFE
    OAuthAuthorization.create(
        id=row_id,
        provider=start.provider,
        purpose=start.purpose,
        state_hash=hash_of(secrets.state),
        binding_hash=hash_of(secrets.binding),
        nonce_hash=hash_of(secrets.nonce),
        verifier_enc=keyring.seal(secrets.verifier.encode(), _place_of(row_id)),
        redirect_uri=start.redirect_uri,
        persona=start.persona,
        language=start.language,
        ip=unit.address,
        expires_at=expires,
    )
    return expires


def take(unit: Unit, answer: Answer, purpose: Purpose, *, keyring: Keyring) -> Taken | Refused:
    """Uses up the authorisation that an answer belongs to, to be committed before the provider is
    asked: of parallel calls with one state, one goes on. A call that does not bring the client's
    own secret uses up nothing, so that nobody can spoil what others have begun."""
    row = _locked_row(answer.state)
    if (
        row is None
        or not hmac.compare_digest(row.binding_hash, hash_of(answer.binding_secret))
        or row.purpose != purpose
        or not row.is_open(unit.now)
    ):
        return refuse(unit, purpose, OAuthStateInvalid(field="state"))
    try:
        verifier = keyring.open(row.verifier_enc, _place_of(row.id)).decode()
    except SealBroken:
        # Sealed under a key that was withdrawn, or moved here from another row.
        return refuse(unit, purpose, OAuthStateInvalid(field="state"), by=row.provider)
    row.consumed_at = unit.now
    row.verifier_enc = ""
    if purpose is Purpose.LINK:
        row.user_id = unit.caller.user_id
        row.session_id = unit.caller.session_id
    row.save()
    if answer.kind == "error":
        return refuse(unit, purpose, OAuthProofInvalid(field="error"), by=row.provider)
    expected = Expectation(row.redirect_uri, verifier, row.nonce_hash)
    return Taken(row.provider, row.persona, row.language, expected)


def refuse(unit: Unit, purpose: Purpose, error: GreenroomError, **metadata: str) -> Refused:
    """The refusal of an answer, with its audit row."""
    action = actions.LOG_IN if purpose is Purpose.SIGN_IN else actions.IDENTITY_LINK
    result = error.reason.removeprefix("AUTH_ERROR_REASON_")
    unit.audit(action, result=result, **metadata)
    return Refused(error)


def complete_sign_in(
    unit: Unit, taken: Taken, proven: ProvenIdentity, device: Device, *, desk: SignInDesk
) -> SignedInBy | Refused:
    """Does what the table says for somebody who is not signed in."""
    for _ in range(_TRIES):
        # The address first: an account that is made this moment by the same identity is either not
        # seen here, or seen with its identity below.
        local = _account_with_address_of(proven)
        identity = Identity.at_provider(proven.provider, proven.subject).get_or_none()
        if identity is not None and identity.issuer != proven.issuer:
            # The provider's name stands for somebody else by now, whose subjects are not these.
            return refuse(unit, Purpose.SIGN_IN, OAuthProofInvalid(field="code"), by="issuer")
        verdict = verdict_on(_case_of(identity, proven, local))
        if verdict is LinkingVerdict.LINK_REQUIRED:
            error = LinkRequired(provider=proven.provider)
            return refuse(unit, Purpose.SIGN_IN, error, by=proven.provider)
        if verdict is LinkingVerdict.SIGN_IN:
            assert identity is not None, "the table signs in by an identity"
            done = _sign_in(unit, identity, proven, device, desk)
        else:
            bare = verdict is LinkingVerdict.SIGN_UP_BARE
            done = _sign_up(unit, taken, proven, device, desk, bare=bare)
        if done is not None:
            return done
    raise Aborted


def _account_with_address_of(proven: ProvenIdentity) -> Local:
    # An address that is not proven is not even looked up: nobody learns from it who has an account.
    account = User.get_or_none(User.email == proven.email) if proven.email_verified else None
    if account is None:
        return Local.NONE
    return Local.UNPROVEN if account.email_verified_at is None else Local.PROVEN


def _case_of(identity: Identity | None, proven: ProvenIdentity, local: Local) -> Case:
    owner = Owner.NONE if identity is None else Owner.OTHER
    told = Told.PROVEN if proven.email_verified else Told.UNPROVEN
    return Case(Asking.NOBODY, owner, told, local)


def _sign_in(
    unit: Unit, identity: Identity, proven: ProvenIdentity, device: Device, desk: SignInDesk
) -> SignedInBy | Refused | None:
    """``None`` when the identity was unlinked this moment."""
    user = locked_user(identity.user_id)
    still = Identity.get_or_none((Identity.id == identity.id) & (Identity.user == identity.user_id))
    if user is None or still is None:
        return None
    if not may_sign_in(user, unit.now):
        unit.audit(
            actions.LOG_IN,
            resource=f"users/{user.id}",
            result="BAD_CREDENTIALS",
            by=proven.provider,
        )
        return Refused(BadCredentials())
    renew_identity(unit, still, proven, keyring=desk.keyring)
    outcome = finish_sign_in(unit, user, device, desk=desk, method=proven.provider)
    return SignedInBy(outcome, signed_up=False)


def _sign_up(
    unit: Unit,
    taken: Taken,
    proven: ProvenIdentity,
    device: Device,
    desk: SignInDesk,
    *,
    bare: bool,
) -> SignedInBy | None:
    """``None`` when somebody took the address or the identity this moment."""
    try:
        with unit.savepoint():
            user = _create_user(unit, taken, proven, bare=bare)
            keep_identity(unit, user.id, proven, keyring=desk.keyring)
    except peewee.IntegrityError:
        return None
    unit.audit(actions.SIGN_UP, resource=f"users/{user.id}", actor_id=user.id, by=proven.provider)
    unit.emit(SignedUp(user.id, taken.persona, taken.language))
    if user.email is not None:
        unit.emit(EmailVerified(user.id, user.email))
    outcome = finish_sign_in(unit, user, device, desk=desk, method=proven.provider)
    return SignedInBy(outcome, signed_up=True)


def _create_user(unit: Unit, taken: Taken, proven: ProvenIdentity, *, bare: bool) -> User:
    email = None if bare else proven.email
    display_name = name_for(proven.name, email or proven.provider)
    user = User(
        email=email,
        email_verified_at=None if bare else unit.now,
        display_name=display_name,
        avatar_url=proven.avatar_url or None,
        status=UserStatus.ACTIVE,
        primary_role=taken.persona or None,
        signup_provider=proven.provider,
        language=taken.language,
    )
    save_named(unit, user, name_wanted(taken.persona, None, display_name), is_new=True)
    if taken.persona:
        role = Role.get(Role.name == taken.persona)
        UserRole.create(user=user.id, role=role.id, create_time=unit.now)
    if email is not None:
        # The address has its owner: no sign-up that waits for it can be proven any more.
        Registration.update(status=RegistrationStatus.SUPERSEDED, update_time=unit.now).where(
            (Registration.email == email) & (Registration.status == RegistrationStatus.PENDING)
        ).execute()
    return user


def _locked_row(state: str) -> OAuthAuthorization | None:
    waiting = OAuthAuthorization.select().where(OAuthAuthorization.state_hash == hash_of(state))
    found: OAuthAuthorization | None = locked(waiting).get_or_none()
    return found


def _place_of(row_id: str) -> str:
    return f"oauth_authorizations|verifier_enc|{row_id}"

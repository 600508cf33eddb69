"""Signing up: a sign-up waits with its own password until the token mailed for it is proven."""

from dataclasses import dataclass

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import VerificationTokenInvalid
from server.auth.events import EmailVerified, PhoneVerified, SignedUp, UserChanged
from server.auth.mails import WaitingSignUp, taken_mail, verification_mail
from server.auth.models import (
    Registration,
    Role,
    User,
    UserRole,
    VerificationToken,
)
from server.auth.outbox import Outbox
from server.auth.passwords import ALGORITHM
from server.auth.rules import (
    MOST_LISTED_REGISTRATIONS,
    REGISTRATION_LIFE,
    VERIFICATION_LIFE,
    RegistrationStatus,
    UserStatus,
    fold_email,
    fold_username,
    name_for,
    plain_text,
)
from server.auth.usecases.attempts import may_send
from server.auth.usecases.new_accounts import (
    InviteDesk,
    invite_again,
    store_password,
    void_invites,
    waits_for_its_person,
)
from server.auth.usecases.reclaiming import drop_ways_in
from server.auth.usecases.usernames import name_wanted, save_named
from server.auth.usecases.users import rights_of, tell_rights_changed
from server.auth.usecases.verification_tokens import issue_token
from server.core.db import locked, locked_one
from server.core.sealing import Keyring
from server.core.unit import Unit

SIGN_UP = "VERIFY_EMAIL"
"""Purpose of the tokens of sign-ups."""


@dataclass(frozen=True, slots=True)
class SignUp:
    """What somebody signs up with, by ``email`` or by ``phone`` (in E.164), the other one being
    empty; the password goes its own way, to the hash pool."""

    email: str
    phone: str
    display_name: str
    username: str
    persona: str
    language: str
    info: str

    @property
    def folded_email(self) -> str:
        """The address in the form it is stored in."""
        return fold_email(self.email)


@dataclass(frozen=True, slots=True)
class SignUpDesk:
    """What the sign-up use cases need beside the unit."""

    keyring: Keyring
    outbox: Outbox
    public_url: str
    auto_activate: bool


def sign_up(unit: Unit, wanted: SignUp, password_hash: str, *, desk: SignUpDesk) -> str:
    """Opens a sign-up and mails its token, or mails a notice when the address has a proven owner.
    Returns the folded address: the caller cannot tell which it was."""
    email = wanted.folded_email
    # A mistyped password may be mended at once, so sign-ups are not held to one mail a minute.
    may_mail = may_send(unit, desk.keyring, email, spaced=False)
    owner = User.get_or_none(User.email == email)
    unit.audit(actions.SIGN_UP, resource=f"users/{owner.id}" if owner else "", result="ACCEPTED")
    if owner is not None and is_settled(owner, "email"):
        open_for_nobody(unit, wanted, password_hash)
        if may_mail:
            desk.outbox.enqueue(unit, taken_mail(email, owner.language, desk.public_url))
        return email
    registration = open_registration(unit, wanted, password_hash)
    if desk.auto_activate and owner is None:
        _activate_at_once(unit, registration)
    if may_mail:
        _mail_tokens(unit, email, [registration], desk)
    return email


def open_registration(unit: Unit, wanted: SignUp, password_hash: str) -> Registration:
    """The row of a sign-up that waits."""
    return Registration.create(
        email=wanted.folded_email or None,
        phone=wanted.phone or None,
        password_hash=password_hash,
        algorithm=ALGORITHM,
        name=name_for(wanted.display_name, wanted.folded_email),
        username=fold_username(wanted.username) or None,
        info=plain_text(wanted.info),
        role=wanted.persona,
        language=plain_text(wanted.language),
        ip=unit.address,
        expires_at=unit.now + REGISTRATION_LIFE,
    )


def open_for_nobody(unit: Unit, wanted: SignUp, password_hash: str) -> None:
    """Takes as long as opening a sign-up with its token, and leaves nothing: so long as the answer takes
    when its address or its number has a proven owner, too, so the clock does not tell who has one."""
    with unit.savepoint() as trial:
        registration = open_registration(unit, wanted, password_hash)
        if wanted.email:
            issue_token(
                unit, wanted.folded_email, SIGN_UP, VERIFICATION_LIFE, registration=registration.id
            )
        trial.rollback(begin=False)


def resend_verification(unit: Unit, email: str, *, desk: SignUpDesk) -> None:
    """Mails new tokens for the sign-ups that wait for an address, if there are any and a mail may
    leave. Tokens that were mailed before stay good for their time."""
    folded = fold_email(email)
    if not may_send(unit, desk.keyring, folded, spaced=True):
        return
    waiting = list(Registration.waiting_for(folded, unit.now).limit(MOST_LISTED_REGISTRATIONS))
    if waiting:
        _mail_tokens(unit, folded, waiting, desk)
    else:
        invite_again(unit, folded, desk=InviteDesk(desk.outbox, desk.public_url))


def prove_sign_up(unit: Unit, found: VerificationToken) -> str:
    """Consumes a token: its sign-up becomes the account, with the password of that sign-up, and
    every other sign-up of the address is void. Returns the address."""
    if found.registration_id is None:
        raise VerificationTokenInvalid(field="token")
    registration = _contender("email", found.identifier, found.registration_id)
    token = VerificationToken.get_or_none(VerificationToken.id == found.id)
    if (
        registration is None
        or token is None
        or registration.status != RegistrationStatus.PENDING
        or token.consumed_at is not None
        or token.expires_at <= unit.now
    ):
        raise VerificationTokenInvalid(field="token")
    token.consumed_at = unit.now
    token.update_time = unit.now
    token.save()
    user = _settle(unit, registration)
    unit.audit(actions.VERIFY_EMAIL, resource=f"users/{user.id}", actor_id=user.id)
    unit.emit(EmailVerified(user.id, registration.contact))
    return str(registration.email)


def prove_phone_sign_up(unit: Unit, registration_id: str, phone: str) -> User:
    """As :func:`prove_sign_up`, after the number of the sign-up was proven by a code. The account.

    ``VerificationTokenInvalid``, before anything was changed, where the sign-up does not wait any
    more or its number has a proven owner by now.
    """
    registration = _contender("phone", phone, registration_id)
    if (
        registration is None
        or registration.status != RegistrationStatus.PENDING
        or registration.expires_at <= unit.now
    ):
        raise VerificationTokenInvalid
    user = _settle(unit, registration)
    unit.audit(actions.PHONE_VERIFY, resource=f"users/{user.id}", actor_id=user.id)
    unit.emit(PhoneVerified(user.id, phone))
    return user


def _contender(kind: str, contact: str, registration_id: str) -> Registration | None:
    """One of the sign-ups of an address or a number. All of them are locked in one order: of two
    that are proven at once, one wins. Anybody can sign up with the contact as often as they like, so
    of the others no more than the ids is read."""
    contenders = Registration.of_contact(kind, contact).select(Registration.id)
    list(locked(contenders).tuples())
    return Registration.get_or_none(
        Registration.id == registration_id, getattr(Registration, kind) == contact
    )


def is_settled(user: User, kind: str) -> bool:
    """True when nobody else can win the ``email`` or the ``phone`` (``kind``) by proving it."""
    return getattr(user, f"{kind}_verified_at") is not None or user.status not in (
        UserStatus.PENDING,
        UserStatus.ACTIVE,
    )


def _settle(unit: Unit, registration: Registration) -> User:
    """Makes the proven sign-up the account of its address or its number."""
    kind, contact = registration.kind, registration.contact
    owner = locked_one(User, getattr(User, kind) == contact)
    if owner is not None and is_settled(owner, kind):
        raise VerificationTokenInvalid(field="token")
    if owner is None or (kind == "phone" and owner.email_verified_at is not None):
        owner = _create_account_instead(unit, registration, owner)
    elif waits_for_its_person(owner):
        _take_up(unit, owner, registration)
    elif registration.user_id != owner.id:
        _reclaim(unit, owner, registration)
    setattr(owner, f"{kind}_verified_at", unit.now)
    owner.status = UserStatus.ACTIVE
    owner.update_time = unit.now
    owner.save()
    supersede_others(unit, kind, contact, but=registration.id)
    registration.status = RegistrationStatus.ACTIVATED
    registration.user_id = owner.id
    registration.update_time = unit.now
    registration.save()
    unit.emit(UserChanged(owner.id))
    return owner


def _create_account_instead(unit: Unit, registration: Registration, former: User | None) -> User:
    """The account of a proven sign-up, whose number is taken off the account that has it unproven, if
    there is one. ``VerificationTokenInvalid``, with nothing changed, where somebody took the contact
    in this moment: who comes by a provider or is added by staff locks no sign-ups."""
    try:
        with unit.savepoint():
            if former is not None:
                release_phone(unit, former)
            return create_account(unit, registration)
    except peewee.IntegrityError:
        raise VerificationTokenInvalid(field="token") from None


def release_phone(unit: Unit, user: User) -> None:
    """Takes a number that nobody had proven off an account that is somebody's all the same: it
    belongs to whoever has proven it now."""
    user.phone = None
    user.save()
    unit.emit(UserChanged(user.id))


def supersede_others(unit: Unit, kind: str, contact: str, but: str = "") -> None:
    """No other sign-up that waits for an address or a number can win it any more."""
    Registration.update(status=RegistrationStatus.SUPERSEDED, update_time=unit.now).where(
        (getattr(Registration, kind) == contact)
        & (Registration.status == RegistrationStatus.PENDING)
        & (Registration.id != but)
    ).execute()


def create_account(unit: Unit, registration: Registration) -> User:
    """Makes the account of a sign-up, in use at once, with its password and its first role."""
    user = User(
        email=registration.email,
        phone=registration.phone,
        display_name=registration.name,
        status=UserStatus.ACTIVE,
        primary_role=registration.role,
        signup_provider=registration.kind,
        language=registration.language,
    )
    save_named(unit, user, _username_of(registration), is_new=True)
    store_password(unit, user, registration.password_hash, registration.algorithm)
    _grant_persona(unit, user, registration.role)
    unit.emit(SignedUp(user.id, registration.role, registration.language))
    return user


def _take_up(unit: Unit, owner: User, registration: Registration) -> None:
    """The person whom staff made the account for signed up instead of accepting the invitation.
    Its personas stay. Roles of staff do not: they were meant for whoever accepts the invitation, and
    not for whoever chose the password of a sign-up that its address was talked into confirming."""
    void_invites(unit, owner.id)
    staff = Role.select(Role.id).where(Role.kind != "PERSONA")
    UserRole.delete().where((UserRole.user == owner.id) & UserRole.role.in_(staff)).execute()
    store_password(unit, owner, registration.password_hash, registration.algorithm)
    held, _ = rights_of(owner.id)
    if registration.role not in held:
        _grant_persona(unit, owner, registration.role)
    owner.primary_role = owner.primary_role or registration.role
    if owner.username is None:
        save_named(unit, owner, _username_of(registration))
    unit.emit(SignedUp(owner.id, registration.role, registration.language))


def _reclaim(unit: Unit, owner: User, registration: Registration) -> None:
    """The contact of an account that was made active unproven (AUTO_ACTIVATE, or by staff) turned out
    to belong to somebody else: nothing of the squatter's ways in survives."""
    drop_ways_in(unit, owner.id)
    store_password(unit, owner, registration.password_hash, registration.algorithm)
    owner.display_name = registration.name
    owner.language = registration.language
    owner.primary_role = registration.role
    other = "phone" if registration.kind == "email" else "email"
    setattr(owner, other, None)
    setattr(owner, f"{other}_verified_at", None)
    owner.first_name = owner.last_name = None
    owner.avatar_url = owner.avatar_media_id = owner.cover_url = None
    save_named(unit, owner, _username_of(registration))
    UserRole.delete().where(UserRole.user == owner.id).execute()
    _grant_persona(unit, owner, registration.role)
    tell_rights_changed(unit, owner.id)


def _activate_at_once(unit: Unit, registration: Registration) -> None:
    """Makes the account before its address is proven, where the setting AUTO_ACTIVATE says so."""
    try:
        with unit.savepoint():
            user = create_account(unit, registration)
    except peewee.IntegrityError:
        return  # Another sign-up of the address was faster; this one can still win by its token.
    registration.user_id = user.id
    registration.save()


def _username_of(registration: Registration) -> str:
    return name_wanted(registration.role, registration.username, registration.name)


def _grant_persona(unit: Unit, user: User, persona: str) -> None:
    role = Role.get(Role.name == persona)
    UserRole.create(user=user.id, role=role.id, create_time=unit.now)


def _mail_tokens(
    unit: Unit, email: str, registrations: list[Registration], desk: SignUpDesk
) -> None:
    waiting = []
    for registration in registrations:
        secret = issue_token(unit, email, SIGN_UP, VERIFICATION_LIFE, registration=registration.id)
        waiting.append(
            WaitingSignUp(secret, registration.name, registration.ip, registration.create_time)
        )
    # Newest first: the latest sign-up says which language its owner reads.
    language = registrations[0].language
    desk.outbox.enqueue(unit, verification_mail(email, language, desk.public_url, waiting))

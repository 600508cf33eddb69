"""Accounts that nobody signed up for: made by staff, or on the command line; and invitations."""

from dataclasses import dataclass

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import AccountExists, VerificationTokenInvalid
from server.auth.events import EmailVerified, SignedUp, UserChanged
from server.auth.issuing import hash_of
from server.auth.mails import invite_mail
from server.auth.models import Registration, User, VerificationToken
from server.auth.outbox import Outbox
from server.auth.passwords import ALGORITHM
from server.auth.rules import (
    INVITE_LIFE,
    PERSONAS,
    SUPER_ADMIN,
    RegistrationStatus,
    UserStatus,
    check_roles,
    fold_email,
    fold_username,
    may_act,
    name_for,
    plain_text,
)
from server.auth.usecases.roles import catalogue_of, grant
from server.auth.usecases.users import (
    UserView,
    acting,
    check_username,
    lock_super_admins,
    view_of,
)
from server.auth.usecases.verification_tokens import issue_token, void_tokens
from server.core.db import locked_one, sql
from server.core.errors import FailedPrecondition, StepUpRequired
from server.core.fields import microseconds
from server.core.unit import Unit

INVITE = "INVITE"
"""Purpose of the tokens of invitations."""

STAFF = "staff"
"""``signup_provider`` of the accounts that are made here."""


@dataclass(frozen=True, slots=True)
class NewUser:
    """What staff say of an account that they make; what is empty is not known."""

    email: str
    phone: str
    display_name: str
    first_name: str
    last_name: str
    username: str
    language: str
    roles: frozenset[str]
    send_invite: bool


@dataclass(frozen=True, slots=True)
class InviteDesk:
    """What inviting needs beside the unit."""

    outbox: Outbox
    public_url: str


def create_user(unit: Unit, wanted: NewUser, *, desk: InviteDesk) -> UserView:
    """Makes an account that waits for the proof of one of its contacts."""
    actor = acting(unit)
    catalogue = catalogue_of(wanted.roles)
    if SUPER_ADMIN in wanted.roles:
        lock_super_admins()
        actor = acting(unit)
    check_roles(actor, held=(), wanted=wanted.roles, catalogue=catalogue)
    beyond_personas = any(role.kind != "PERSONA" for role in catalogue.values())
    if beyond_personas and not unit.caller.is_raised(unit.now):
        # As SetUserRoles: a session that was left open makes no accomplices.
        raise StepUpRequired
    user = _new_row(wanted)
    user.primary_role = next((name for name in PERSONAS if name in wanted.roles), None)
    _check_contacts(user)
    check_username(user, wanted.roles, "username")
    try:
        with unit.savepoint():
            user.save(force_insert=True)
    except peewee.IntegrityError:
        # Somebody took the address, the number or the name in this moment.
        raise AccountExists(field="email") from None
    grant(unit, user.id, catalogue.values(), actor)
    if wanted.send_invite:
        _invite(unit, user, desk)
    unit.audit(
        actions.USER_CREATE,
        resource=f"users/{user.id}",
        roles=sorted(wanted.roles),
        invited=wanted.send_invite,
    )
    return view_of(user, unit.now, for_staff=True)


def _new_row(wanted: NewUser) -> User:
    email = fold_email(wanted.email)
    return User(
        email=email or None,
        phone=wanted.phone or None,
        username=fold_username(wanted.username) or None,
        display_name=name_for(wanted.display_name, email),
        first_name=plain_text(wanted.first_name) or None,
        last_name=plain_text(wanted.last_name) or None,
        language=wanted.language,
        status=UserStatus.PENDING,
        signup_provider=STAFF,
    )


def _check_contacts(user: User) -> None:
    for field, value in (("email", user.email), ("phone", user.phone)):
        if value is not None and User.by_identifier(field, value) is not None:
            raise AccountExists(field=field)


def _invite(unit: Unit, user: User, desk: InviteDesk) -> None:
    assert user.email is not None, "the request was validated"
    secret = issue_token(unit, user.email, INVITE, INVITE_LIFE, user=user.id)
    desk.outbox.enqueue(unit, invite_mail(user.email, user.language, desk.public_url, secret))


def invited_user(unit: Unit, secret: str) -> User:
    """Whom the token of an invitation belongs to, so that a password can be rated before it is
    accepted; ``VerificationTokenInvalid`` unless it can be used."""
    found = VerificationToken.get_or_none(
        (VerificationToken.token_hash == hash_of(secret)) & (VerificationToken.purpose == INVITE)
    )
    user = None if found is None else User.get_or_none(User.id == found.user_id)
    if found is None or user is None or not _acceptable(unit, found, user):
        raise VerificationTokenInvalid(field="token")
    return user


def accept_invite(unit: Unit, secret: str, password_hash: str | None) -> User:
    """Consumes the token of an invitation: its address is proven, the account is in use, and the
    password, if there is one, is its own. Sign-ups that wait for the address are void.

    ``VerificationTokenInvalid`` for a token that is unknown, used or too old, or whose account is
    in use already, was locked or has another address by now.
    """
    user_id = invited_user(unit, secret).id
    user = locked_one(User, User.id == user_id)
    token = VerificationToken.get_or_none(VerificationToken.token_hash == hash_of(secret))
    if user is None or token is None or not _acceptable(unit, token, user):
        raise VerificationTokenInvalid(field="token")
    void_invites(unit, user_id)
    user.email_verified_at = unit.now
    user.status = UserStatus.ACTIVE
    user.save()
    if password_hash is not None:
        store_password(unit, user, password_hash, ALGORITHM)
    Registration.update(status=RegistrationStatus.SUPERSEDED, update_time=unit.now).where(
        (Registration.email == user.email) & (Registration.status == RegistrationStatus.PENDING)
    ).execute()
    unit.audit(actions.USER_ACCEPT_INVITE, resource=f"users/{user_id}", actor_id=user_id)
    unit.emit(SignedUp(user_id, user.primary_role or "", user.language))
    unit.emit(EmailVerified(user_id, user.email or ""))
    unit.emit(UserChanged(user_id))
    return user


def _acceptable(unit: Unit, token: VerificationToken, user: User) -> bool:
    return (
        token.consumed_at is None
        and token.expires_at > unit.now
        and token.identifier == user.email
        and user.status == UserStatus.PENDING
    )


def waits_for_its_person(user: User) -> bool:
    """True for an account that staff made and nobody has used yet."""
    return user.status == UserStatus.PENDING and user.signup_provider == STAFF


def invite_again(unit: Unit, email: str, *, desk: InviteDesk) -> None:
    """Mails a new invitation when an account that staff made waits for the owner of the address."""
    user = User.get_or_none(User.email == email)
    if user is not None and waits_for_its_person(user):
        _invite(unit, user, desk)


def void_invites(unit: Unit, user_id: str) -> None:
    """No invitation of the account can be accepted any more."""
    void_tokens(unit, user_id, INVITE)


_STORE_PASSWORD = """
INSERT INTO credentials (user_id, password_hash, algorithm, must_change, password_changed_at,
    create_time, update_time)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (user_id) DO UPDATE SET
    password_hash = excluded.password_hash, algorithm = excluded.algorithm,
    must_change = excluded.must_change, password_changed_at = excluded.password_changed_at,
    update_time = excluded.update_time
"""


def store_password(unit: Unit, user: User, password_hash: str, algorithm: str) -> None:
    """Gives an account its password, whether it had one or not."""
    now = microseconds(unit.now)
    sql(_STORE_PASSWORD, user.id, password_hash, algorithm, False, now, now, now)


class SuperAdminExists(FailedPrecondition):
    """There is a super_admin, so that the command line makes none."""

    message = "There is a super_admin in use: new ones are made by SetUserRoles."


def create_first_admin(unit: Unit, email: str, password_hash: str) -> str:
    """Makes the account of the first super_admin, in use at once: who runs the server vouches for
    the address. ``SuperAdminExists`` while somebody in use is one, ``AccountExists`` for an
    address that has an account. Returns the id."""
    lock_super_admins()
    if any(
        may_act(user.status, user.suspended_until, unit.now) for user in User.holding(SUPER_ADMIN)
    ):
        raise SuperAdminExists
    folded = fold_email(email)
    user = User(
        email=folded,
        email_verified_at=unit.now,
        display_name=name_for("", folded),
        status=UserStatus.ACTIVE,
        primary_role=SUPER_ADMIN,
        signup_provider=STAFF,
    )
    _check_contacts(user)
    user.save(force_insert=True)
    store_password(unit, user, password_hash, ALGORITHM)
    grant(unit, user.id, catalogue_of([SUPER_ADMIN]).values(), None)
    unit.audit(actions.ADMIN_CREATE, resource=f"users/{user.id}")
    return str(user.id)

"""Accounts as web frameworks keep them here (the adapter of Auth.js).

The caller is a service that vouches for what it says. So that a key that was stolen from a web
framework does not become staff, accounts with a role of staff are protected from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import AccountExists, AccountProtected, StatusForbids, UserNotFound
from server.auth.events import EmailVerified, SignedUp, UserChanged
from server.auth.models import Credential, Identity, Registration, Role, User, VerificationToken
from server.auth.rules import (
    RegistrationStatus,
    UserStatus,
    fold_email,
    may_act,
    name_for,
    plain_text,
    shown_status,
)
from server.auth.usecases.reclaiming import drop_ways_in
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.user_status import erase
from server.auth.usecases.users import etag_of_user, rights_of, tell_rights_changed
from server.core.errors import InvalidArgument
from server.core.etags import check_same
from server.core.unit import Unit

WEB = "web"
"""``signup_provider`` of the accounts that are made here, and how audit rows name the way."""

WEB_FIELDS = frozenset({"email", "email_verified_time", "display_name", "avatar_url"})
"""What a web framework changes in an account."""


class AddressMissing(InvalidArgument):
    """An address is replaced by another one, not taken away."""

    message = "The address can be changed, and not taken away."


@dataclass(frozen=True, slots=True)
class WebUserView:
    """An account as a web framework sees it; ``status`` is the one that counts now."""

    user: User
    status: str
    etag: str


@dataclass(frozen=True, slots=True)
class NewWebUser:
    """What a framework says of an account that it makes; what is empty is not known."""

    email: str
    email_verified_at: datetime | None
    display_name: str
    avatar_url: str


def create_web_user(unit: Unit, wanted: NewWebUser) -> WebUserView:
    """Makes an account that is in use at once."""
    email = fold_email(wanted.email)
    user = User(
        email=email or None,
        email_verified_at=wanted.email_verified_at if email else None,
        display_name=name_for(wanted.display_name, email),
        avatar_url=wanted.avatar_url or None,
        status=UserStatus.ACTIVE,
        signup_provider=WEB,
    )
    if email and User.by_identifier("email", email) is not None:
        raise AccountExists(field="email")
    try:
        with unit.savepoint():
            user.save(force_insert=True)
    except peewee.IntegrityError:
        # Somebody took the address this moment.
        raise AccountExists(field="email") from None
    unit.audit(actions.WEB_USER_CREATE, resource=f"users/{user.id}")
    unit.emit(SignedUp(user.id, "", ""))
    if user.email_verified_at is not None:
        _settle_address(unit, user)
    return web_view_of(user, unit.now)


def get_web_user(unit: Unit, user_id: str) -> WebUserView | None:
    """The account of an id."""
    return _view_or_none(User.get_or_none(User.id == user_id), unit.now)


def find_web_user_by_email(unit: Unit, email: str) -> WebUserView | None:
    """The account of an address, whatever its case."""
    return _view_or_none(User.get_or_none(User.email == fold_email(email)), unit.now)


def find_web_user_by_account(
    unit: Unit, provider: str, provider_account_id: str
) -> WebUserView | None:
    """The account that an identity is linked to."""
    owners = Identity.at_provider(provider, provider_account_id).select(Identity.user)
    return _view_or_none(User.get_or_none(User.id.in_(owners)), unit.now)


def update_web_user(
    unit: Unit, user_id: str, changes: Mapping[str, Any], etag: str
) -> WebUserView | None:
    """Changes fields of an account. What is named and is as it was does not count as a change, so
    that whoever holds a role of staff can sign in through a framework, too."""
    user = locked_user(user_id)
    if user is None:
        return None
    check_same(etag, etag_of_user(user, rights_of(user_id)[0]))
    if user.status == UserStatus.DELETED:
        raise StatusForbids(status=user.status)
    if "display_name" in changes:
        user.display_name = name_for(changes["display_name"], user.email or "")
    if "avatar_url" in changes:
        user.avatar_url = plain_text(changes["avatar_url"]) or None
    moved, proven_first = _change_address(user, changes)
    try:
        with unit.savepoint():
            user.save()
    except peewee.IntegrityError:
        raise AccountExists(field="user.email") from None
    unit.audit(actions.WEB_USER_UPDATE, resource=f"users/{user_id}", fields=sorted(changes))
    unit.emit(UserChanged(user_id))
    if proven_first:
        _hand_over(unit, user)
    elif moved and user.email_verified_at is not None:
        _settle_address(unit, user)
    return web_view_of(user, unit.now)


def _change_address(user: User, changes: Mapping[str, Any]) -> tuple[bool, bool]:
    """Sets address and time of proof. Whether there is another address now, and whether one that
    nobody had proven is proven now."""
    email = fold_email(changes["email"]) if "email" in changes else user.email
    if "email" in changes and not email:
        raise AddressMissing(field="user.email")
    moved = email != user.email
    before = None if moved else user.email_verified_at
    after = changes.get("email_verified_time", before) if email else None
    if not moved and before is not None and after is not None:
        # Proven again: with every sign-in by mail. Nothing follows from it.
        user.email_verified_at = after
        return False, False
    if not moved and after == before:
        return False, False
    check_unprotected(user)
    if moved and email is not None:
        if User.by_identifier("email", email) is not None:
            raise AccountExists(field="user.email")
        # What was mailed to the old address opens nothing any more.
        VerificationToken.delete().where(VerificationToken.user == user.id).execute()
    user.email = email
    user.email_verified_at = after
    return moved, not moved and after is not None


def _hand_over(unit: Unit, user: User) -> None:
    """The owner of the address has come: what somebody without it set up before opens nothing."""
    drop_ways_in(unit, user.id)
    Credential.delete().where(Credential.user == user.id).execute()
    VerificationToken.delete().where(VerificationToken.user == user.id).execute()
    if user.status == UserStatus.PENDING:
        user.status = UserStatus.ACTIVE
        user.save()
        unit.emit(SignedUp(user.id, user.primary_role or "", user.language))
    tell_rights_changed(unit, user.id)
    _settle_address(unit, user)


def _settle_address(unit: Unit, user: User) -> None:
    """The address has its owner: no sign-up that waits for it can be proven any more."""
    Registration.update(status=RegistrationStatus.SUPERSEDED, update_time=unit.now).where(
        (Registration.email == user.email) & (Registration.status == RegistrationStatus.PENDING)
    ).execute()
    unit.emit(EmailVerified(user.id, user.email or ""))


def delete_web_user(unit: Unit, user_id: str) -> bool:
    """Deletes an account for good, with all that hangs on it; False without one."""
    user = locked_user(user_id)
    if user is None:
        return False
    check_unprotected(user)
    erase(unit, user_id)
    return True


def user_in_use(unit: Unit, user_id: str) -> User:
    """The account, locked; ``UserNotFound`` without one, ``StatusForbids`` when it is not in use."""
    user = locked_user(user_id)
    if user is None:
        raise UserNotFound
    if not may_act(user.status, user.suspended_until, unit.now):
        raise StatusForbids(status=shown_status(user.status, user.suspended_until, unit.now))
    return user


def check_unprotected(user: User) -> None:
    """Raises ``AccountProtected`` for who holds a role that is not one of those that people choose
    for themselves. The account is locked, so none is given meanwhile."""
    if Role.of_user(user.id).where(Role.kind != "PERSONA").exists():
        raise AccountProtected


def web_view_of(user: User, now: datetime) -> WebUserView:
    """The account as it is now."""
    return WebUserView(
        user=user,
        status=shown_status(user.status, user.suspended_until, now),
        etag=etag_of_user(user, rights_of(user.id)[0]),
    )


def _view_or_none(user: User | None, now: datetime) -> WebUserView | None:
    return None if user is None else web_view_of(user, now)

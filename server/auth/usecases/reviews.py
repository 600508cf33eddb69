"""Sign-ups in the hands of staff: listed, approved, rejected."""

from dataclasses import dataclass

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import AccountExists, RegistrationDecided, RegistrationNotFound
from server.auth.mails import approved_mail, rejected_mail
from server.auth.models import Registration, User
from server.auth.rules import (
    REGISTRATION_LIFE,
    RegistrationStatus,
    plain_text,
    search_text_of,
)
from server.auth.usecases.registration import SignUpDesk, create_account
from server.auth.usecases.users import UserView, acting, view_of
from server.core.db import locked
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit

APPROVED = "APPROVED"
"""Shown for a sign-up that staff approved and whose address is not proven: the row is PENDING, so
that its token still proves the address."""


@dataclass(frozen=True, slots=True)
class RegistrationQuery:
    """Which sign-ups are listed; what is empty does not narrow the list down."""

    status: str
    text: str
    page_size: int
    page_token: str


def status_of(registration: Registration) -> str:
    """Where a sign-up stands, as staff are told."""
    waiting = registration.status == RegistrationStatus.PENDING
    return APPROVED if waiting and registration.user_id is not None else str(registration.status)


def list_registrations(unit: Unit, pages: Pages, query: RegistrationQuery) -> Page[Registration]:
    """Sign-ups, newest first."""
    rows = Registration.select()
    if query.status in (APPROVED, RegistrationStatus.PENDING):
        rows = rows.where(
            (Registration.status == RegistrationStatus.PENDING)
            & Registration.user.is_null(query.status == RegistrationStatus.PENDING)
        )
    elif query.status:
        rows = rows.where(Registration.status == query.status)
    if query.text:
        rows = rows.where(Registration.search_text.contains(search_text_of(query.text)))
    return paginate(
        pages,
        rows,
        order=[Order(Registration.create_time, True), Order(Registration.id, True)],
        page_size=query.page_size,
        page_token=query.page_token,
        scope={
            "list": "registrations",
            "caller": unit.caller.user_id,
            "status": query.status,
            "text": query.text,
        },
    )


def approve(unit: Unit, registration_id: str, *, desk: SignUpDesk) -> tuple[Registration, UserView]:
    """Makes an account of a sign-up that waits, before its address is proven."""
    registration = _waiting(unit, registration_id)
    if registration.user_id is None:
        if User.by_identifier(registration.kind, registration.contact) is not None:
            raise AccountExists
        try:
            with unit.savepoint():
                user = create_account(unit, registration)
        except peewee.IntegrityError:
            raise AccountExists from None
        registration.user_id = user.id
        registration.expires_at = unit.now + REGISTRATION_LIFE
        _decide(unit, registration, "")
        if registration.email is not None:
            mail = approved_mail(registration.email, registration.language, desk.public_url)
            desk.outbox.enqueue(unit, mail)
        unit.audit(
            actions.REGISTRATION_APPROVE,
            resource=f"registrations/{registration_id}",
            user=user.id,
        )
    account = User.get_by_id(registration.user_id)
    return registration, view_of(account, unit.now, for_staff=acting(unit).is_admin)


def reject(unit: Unit, registration_id: str, reason: str, *, desk: SignUpDesk) -> Registration:
    """Drops a sign-up that waits; its tokens prove nothing any more."""
    registration = _locked(registration_id)
    if registration.status == RegistrationStatus.REJECTED:
        return registration
    registration = _waiting(unit, registration_id)
    if registration.user_id is not None:
        raise RegistrationDecided(status=APPROVED)
    registration.status = RegistrationStatus.REJECTED
    _decide(unit, registration, plain_text(reason))
    if registration.email is not None:
        mail = rejected_mail(registration.email, registration.language, registration.reason)
        desk.outbox.enqueue(unit, mail)
    unit.audit(actions.REGISTRATION_REJECT, resource=f"registrations/{registration_id}")
    return registration


def _decide(unit: Unit, registration: Registration, reason: str) -> None:
    registration.reason = reason
    registration.decided_by = unit.caller.user_id
    registration.decided_at = unit.now
    registration.save()


def _waiting(unit: Unit, registration_id: str) -> Registration:
    registration = _locked(registration_id)
    if registration.status != RegistrationStatus.PENDING:
        raise RegistrationDecided(status=registration.status)
    if registration.expires_at <= unit.now and registration.user_id is None:
        raise RegistrationDecided(status="EXPIRED")
    return registration


def _locked(registration_id: str) -> Registration:
    found = Registration.get_or_none(Registration.id == registration_id)
    if found is None:
        raise RegistrationNotFound
    # All of an address or a number in one order, as VerifyEmail and VerifyOtp lock them.
    same = locked(Registration.of_contact(found.kind, found.contact))
    row: Registration | None = {row.id: row for row in same}.get(registration_id)
    if row is None:
        raise RegistrationNotFound
    return row

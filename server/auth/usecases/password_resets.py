"""Forgotten passwords: who gets a token by mail, and what using it does.

Asking does the same for every address: it is counted, noted, and left to a job. Only the job looks
whether there is an account to mail a token for.
"""

from dataclasses import dataclass
from datetime import datetime

import orjson

from server.auth import audit_actions as actions
from server.auth.errors import VerificationTokenInvalid
from server.auth.events import EmailVerified, UserChanged
from server.auth.issuing import hash_of
from server.auth.mails import password_changed_mail, reset_mail
from server.auth.models import LoginAttempt, Registration, User, VerificationToken
from server.auth.outbox import Outbox
from server.auth.passwords import ALGORITHM
from server.auth.rules import (
    RESET_LIFE,
    RESETS_PER_HOUR,
    RegistrationStatus,
    RevokeReason,
    fold_email,
)
from server.auth.usecases.attempts import account_subject, may_send
from server.auth.usecases.endings import end_all_sessions
from server.auth.usecases.new_accounts import INVITE, accept_invite, invited_user, store_password
from server.auth.usecases.reclaiming import drop_ways_in
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.users import may_sign_in
from server.auth.usecases.verification_tokens import issue_token, void_tokens
from server.core.fields import instant, microseconds
from server.core.ids import new_id
from server.core.jobs import JobRun
from server.core.sealing import Keyring
from server.core.unit import Unit

JOB = "auth.password_reset"

RESET = "RESET_PASSWORD"
"""Purpose of the tokens of resets."""

CHANGE_EMAIL = "CHANGE_EMAIL"
"""Purpose of the tokens of changes of address."""


@dataclass(frozen=True, slots=True)
class PasswordDesk:
    """What the use cases of passwords need beside the unit."""

    keyring: Keyring
    outbox: Outbox
    public_url: str


def ask_reset(unit: Unit, email: str, *, desk: PasswordDesk) -> None:
    """Has a token mailed if the address belongs to an account; the same work for every address, and
    nothing where too many mails have left for it."""
    folded = fold_email(email)
    may_mail = may_send(unit, desk.keyring, f"reset:{folded}", spaced=False, most=RESETS_PER_HOUR)
    user = User.get_or_none(User.email == folded)
    unit.audit(
        actions.PASSWORD_ASK_RESET,
        resource="" if user is None else f"users/{user.id}",
        result="ACCEPTED" if may_mail else "TOO_MANY_MAILS",
    )
    if not may_mail:
        return
    ask_id = new_id()
    ask = orjson.dumps([folded, unit.address, microseconds(unit.now)])
    unit.enqueue(JOB, {"id": ask_id, "sealed": desk.keyring.seal(ask, _place_of(ask_id))})


def answer_ask(run: JobRun, *, desk: PasswordDesk) -> None:
    """The job: makes and mails the token. One that is run twice mails two tokens, of which the
    first that is used makes the other void."""
    ask = desk.keyring.open(run.arguments["sealed"], _place_of(run.arguments["id"]))
    email, address, asked = orjson.loads(ask)

    def answer(unit: Unit) -> None:
        run.guard(unit)
        user = User.get_or_none(User.email == email)
        if user is not None and _may_reset(user, unit.now):
            _mail_token(unit, user, address, instant(asked), desk)

    run.run(answer)


def owner_of_token(unit: Unit, secret: str) -> tuple[str, ...]:
    """What is known of whom a token belongs to, so that a password can be rated before the token is
    used up; ``VerificationTokenInvalid`` unless it can be used."""
    found = _token_of(secret)
    if found is not None and found.purpose == INVITE:
        return known_of(invited_user(unit, secret))
    user = None if found is None else User.get_or_none(User.id == found.user_id)
    if found is None or user is None or not _usable(unit, found, user):
        raise VerificationTokenInvalid(field="token")
    return known_of(user)


def known_of(user: User) -> tuple[str, ...]:
    """What a password of this user must not be made of."""
    names = (user.email, user.username, user.display_name, user.first_name, user.last_name)
    return tuple(name for name in names if name)


def reset_password(unit: Unit, secret: str, password_hash: str, *, desk: PasswordDesk) -> None:
    """Consumes a token: the account has the new password, and whoever was signed in is out.

    ``VerificationTokenInvalid`` for a token that is unknown, used, void or too old, or whose
    account is not in use or has another address by now.
    """
    found = _token_of(secret)
    if found is not None and found.purpose == INVITE:
        accept_invite(unit, secret, password_hash)
        return
    # Locked first: of tokens used at once, and of a sign-in by the old password that is under way,
    # each sees the other.
    user = None if found is None else locked_user(found.user_id or "")
    token = None if found is None else VerificationToken.get_or_none(id=found.id)
    if user is None or token is None or not _usable(unit, token, user):
        raise VerificationTokenInvalid(field="token")
    if user.email_verified_at is None:
        _prove_address(unit, user)
    store_password(unit, user, password_hash, ALGORITHM)
    _forget_tries(user, desk.keyring)
    ended = end_all_sessions(unit, user.id, RevokeReason.PASSWORD_CHANGE)
    after_change(unit, user, desk.outbox)
    unit.audit(
        actions.PASSWORD_RESET, resource=f"users/{user.id}", actor_id=user.id, sessions=ended
    )


def after_change(unit: Unit, user: User, outbox: Outbox) -> None:
    """What follows from a new password, however it came about: tokens that were mailed for the
    account before are void, and its owner is told."""
    void_tokens(unit, user.id, RESET, CHANGE_EMAIL)
    if user.email is not None and user.email_verified_at is not None:
        mail = password_changed_mail(user.email, user.language, unit.address, unit.now)
        outbox.enqueue(unit, mail)


def _may_reset(user: User, now: datetime) -> bool:
    """True for an account that can be signed in to and whose address nobody else's proof stands
    against: an unproven one, beside a number that somebody has proven, opens nothing."""
    unproven = user.email_verified_at is None
    return may_sign_in(user, now) and not (unproven and user.phone_verified_at is not None)


def _mail_token(unit: Unit, user: User, address: str, asked: datetime, desk: PasswordDesk) -> None:
    assert user.email is not None, "it was found by its address"
    secret = issue_token(unit, user.email, RESET, RESET_LIFE, user=user.id)
    mail = reset_mail(user.email, user.language, desk.public_url, secret, address, asked)
    desk.outbox.enqueue(unit, mail)


def _token_of(secret: str) -> VerificationToken | None:
    found: VerificationToken | None = VerificationToken.get_or_none(
        (VerificationToken.token_hash == hash_of(secret))
        & VerificationToken.purpose.in_((RESET, INVITE))
    )
    return found


def _usable(unit: Unit, token: VerificationToken, user: User) -> bool:
    return (
        token.consumed_at is None
        and token.expires_at > unit.now
        and token.identifier == user.email
        and _may_reset(user, unit.now)
    )


def _prove_address(unit: Unit, user: User) -> None:
    """Nobody had proven the address: what opened the account until now may be a stranger's."""
    drop_ways_in(unit, user.id)
    user.email_verified_at = unit.now
    user.save()
    supersede_sign_ups(unit, user.email or "")
    unit.emit(EmailVerified(user.id, user.email or ""))
    unit.emit(UserChanged(user.id))


def supersede_sign_ups(unit: Unit, email: str) -> None:
    """No sign-up that waits for an address can win it any more."""
    Registration.update(status=RegistrationStatus.SUPERSEDED, update_time=unit.now).where(
        (Registration.email == email) & (Registration.status == RegistrationStatus.PENDING)
    ).execute()


def _forget_tries(user: User, keyring: Keyring) -> None:
    """Who has proven the address does not wait for what was tried before."""
    subject = account_subject(keyring, user.id)
    LoginAttempt.delete().where(LoginAttempt.subject == subject).execute()


def _place_of(ask_id: str) -> str:
    return f"jobs|{JOB}|{ask_id}"

"""Changing the address of an account: a token to the new one, word to the old one."""

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import EmailUnchanged, VerificationTokenInvalid
from server.auth.events import EmailVerified, UserChanged
from server.auth.mails import (
    confirm_email_mail,
    email_change_asked_mail,
    email_changed_mail,
    taken_mail,
)
from server.auth.models import User, VerificationToken
from server.auth.outbox import Outbox
from server.auth.rules import VERIFICATION_LIFE, fold_email
from server.auth.usecases.attempts import may_send
from server.auth.usecases.password_resets import (
    CHANGE_EMAIL,
    RESET,
    PasswordDesk,
    supersede_sign_ups,
)
from server.auth.usecases.second_factors import locked_caller, locked_user
from server.auth.usecases.users import may_sign_in
from server.auth.usecases.verification_tokens import issue_token, void_tokens
from server.core.unit import Unit


def ask_change(unit: Unit, new_email: str, *, desk: PasswordDesk) -> str:
    """Mails a token to the new address, or word to its owner when another account has it, and
    returns the folded address: the caller cannot tell which it was. ``EmailUnchanged`` when it is
    the caller's own already."""
    email = fold_email(new_email)
    user = locked_caller(unit)
    if user.email == email and user.email_verified_at is not None:
        raise EmailUnchanged(field="new_email")
    may_mail = may_send(unit, desk.keyring, email, spaced=True)
    unit.audit(
        actions.EMAIL_ASK_CHANGE,
        resource=f"users/{user.id}",
        result="ACCEPTED" if may_mail else "TOO_MANY_MAILS",
    )
    if not may_mail:
        return email
    void_tokens(unit, user.id, CHANGE_EMAIL)
    owner = User.get_or_none((User.email == email) & (User.id != user.id))
    if owner is None:
        _mail_token(unit, user, email, desk)
    else:
        desk.outbox.enqueue(unit, taken_mail(email, owner.language, desk.public_url))
    if user.email is not None and user.email_verified_at is not None:
        mail = email_change_asked_mail(user.email, user.language, email, unit.address, unit.now)
        desk.outbox.enqueue(unit, mail)
    return email


def confirm_change(unit: Unit, found: VerificationToken, outbox: Outbox) -> str:
    """Consumes a token: its address becomes that of the account, and counts as proven. Returns it.

    ``VerificationTokenInvalid`` for a token that is used, void or too old, whose account is not in
    use, or whose address another account has by now.
    """
    user = locked_user(found.user_id or "")
    token = VerificationToken.get_or_none(VerificationToken.id == found.id)
    if (
        user is None
        or token is None
        or token.consumed_at is not None
        or token.expires_at <= unit.now
        or not may_sign_in(user, unit.now)
    ):
        raise VerificationTokenInvalid(field="token")
    former = user.email if user.email_verified_at is not None else None
    user.email = token.identifier
    user.email_verified_at = unit.now
    try:
        with unit.savepoint():
            user.save()
    except peewee.IntegrityError:
        # Another account has the address: two accounts never share one.
        raise VerificationTokenInvalid(field="token") from None
    # Tokens of resets went to the former address.
    void_tokens(unit, user.id, CHANGE_EMAIL, RESET)
    supersede_sign_ups(unit, token.identifier)
    if former is not None:
        mail = email_changed_mail(former, user.language, token.identifier, unit.now)
        outbox.enqueue(unit, mail)
    unit.audit(actions.EMAIL_CHANGE, resource=f"users/{user.id}", actor_id=user.id)
    unit.emit(EmailVerified(user.id, token.identifier))
    unit.emit(UserChanged(user.id))
    return str(token.identifier)


def _mail_token(unit: Unit, user: User, email: str, desk: PasswordDesk) -> None:
    secret = issue_token(unit, email, CHANGE_EMAIL, VERIFICATION_LIFE, user=user.id)
    mail = confirm_email_mail(email, user.language, desk.public_url, secret)
    desk.outbox.enqueue(unit, mail)

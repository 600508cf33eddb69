"""Consuming the tokens that mails carry to prove an address, by what each was made for."""

from collections.abc import Callable

from server.auth.errors import VerificationTokenInvalid
from server.auth.issuing import hash_of
from server.auth.models import VerificationToken
from server.auth.outbox import Outbox
from server.auth.usecases.email_changes import confirm_change
from server.auth.usecases.new_accounts import INVITE, accept_invite
from server.auth.usecases.password_resets import CHANGE_EMAIL
from server.auth.usecases.registration import SIGN_UP, prove_sign_up
from server.core.unit import Unit


def verify_email(unit: Unit, secret: str, *, outbox: Outbox) -> str:
    """Consumes a token and returns the address that is proven by it; ``VerificationTokenInvalid``
    for one that is unknown, used, void or too old."""
    found = VerificationToken.get_or_none(
        (VerificationToken.token_hash == hash_of(secret))
        & VerificationToken.purpose.in_(tuple(_CONSUMERS))
    )
    if found is None:
        raise VerificationTokenInvalid(field="token")
    return _CONSUMERS[found.purpose](unit, secret, found, outbox)


def _sign_up(unit: Unit, _secret: str, found: VerificationToken, _outbox: Outbox) -> str:
    return prove_sign_up(unit, found)


def _invite(unit: Unit, secret: str, _found: VerificationToken, _outbox: Outbox) -> str:
    """The account that staff made is in use, without a password as yet."""
    return str(accept_invite(unit, secret, None).email)


def _change_email(unit: Unit, _secret: str, found: VerificationToken, outbox: Outbox) -> str:
    return confirm_change(unit, found, outbox)


_Consumer = Callable[[Unit, str, VerificationToken, Outbox], str]

_CONSUMERS: dict[str, _Consumer] = {
    SIGN_UP: _sign_up,
    INVITE: _invite,
    CHANGE_EMAIL: _change_email,
}
"""A purpose a line. The tokens of resets are not among them: only ResetPassword takes those."""

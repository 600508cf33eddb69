"""Tokens that mails carry to prove an address: how they are made, and how they lose their worth."""

from datetime import timedelta

from server.auth.issuing import hash_of
from server.auth.models import VerificationToken
from server.core.ids import new_secret
from server.core.unit import Unit

PREFIX = "grv_"
"""Starts every one of them, so that a leaked one can be recognised for what it is."""


def issue_token(unit: Unit, address: str, purpose: str, life: timedelta, **owner: str) -> str:
    """A token that proves an address for one purpose; ``owner`` is the id of its ``user`` or of its
    ``registration``. What it returns goes into a mail and is known by its hash from then on."""
    secret = PREFIX + new_secret()
    VerificationToken.create(
        identifier=address,
        token_hash=hash_of(secret),
        purpose=purpose,
        expires_at=unit.now + life,
        **owner,
    )
    return secret


def void_tokens(unit: Unit, user_id: str, *purposes: str) -> None:
    """No token of these purposes that was mailed for the account can be used any more; of no purpose at
    all where none is named."""
    unused = VerificationToken.consumed_at.is_null()
    if purposes:
        unused &= VerificationToken.purpose.in_(purposes)
    VerificationToken.update(consumed_at=unit.now, update_time=unit.now).where(
        (VerificationToken.user == user_id) & unused
    ).execute()

"""Verification tokens of web frameworks, each good for one use."""

from datetime import datetime

from server.auth import audit_actions as actions
from server.auth.issuing import hash_of
from server.auth.models import VerificationToken
from server.core.ids import new_id
from server.core.unit import Unit

_PURPOSE = "MAGIC_LINK"


def create_web_verification_token(
    unit: Unit, identifier: str, token: str, expires_at: datetime
) -> None:
    """Keeps a token; one that is there gets the new end."""
    VerificationToken.insert(
        id=new_id(),
        identifier=identifier,
        token_hash=_hash_of(identifier, token),
        purpose=_PURPOSE,
        metadata={"api_key_id": unit.caller.session_id},
        expires_at=expires_at,
        create_time=unit.now,
        update_time=unit.now,
    ).on_conflict(
        conflict_target=[VerificationToken.token_hash],
        preserve=[VerificationToken.expires_at, VerificationToken.update_time],
    ).execute()


def use_web_verification_token(unit: Unit, identifier: str, token: str) -> datetime | None:
    """Uses a token up; when it would have ended, or ``None`` when it is not to be had.

    Whoever deletes the row has the token: of parallel callers that is one.
    """
    mine = (VerificationToken.token_hash == _hash_of(identifier, token)) & (
        VerificationToken.purpose == _PURPOSE
    )
    found = VerificationToken.get_or_none(mine)
    deleted = 0
    if found is not None:
        deleted = VerificationToken.delete().where(VerificationToken.id == found.id).execute()
    good = found is not None and deleted == 1 and found.expires_at > unit.now
    unit.audit(actions.WEB_TOKEN_USE, result="OK" if good else "REFUSED")
    return found.expires_at if found is not None and good else None


def _hash_of(identifier: str, token: str) -> str:
    """Bound to its identifier, since two people may be given the same short code; and to this use, so
    that no token of ours is one of these."""
    return hash_of(f"web\n{len(identifier)}\n{identifier}\n{token}")

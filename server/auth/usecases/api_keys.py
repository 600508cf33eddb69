"""Keys that services call with: made, listed, ended, and found by what a caller shows."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from server.auth import audit_actions as actions
from server.auth.errors import ApiKeyNotFound, TooManyApiKeys
from server.auth.events import ApiKeyRevoked
from server.auth.issuing import hash_of
from server.auth.models import ApiKey, User
from server.auth.rules import (
    MOST_API_KEYS,
    api_key_end,
    check_rank,
    check_scopes,
    may_act,
    new_api_key,
    plain_text,
    public_part,
    scopes_left,
)
from server.auth.usecases.second_factors import locked_caller
from server.auth.usecases.users import acting, rights_of
from server.core.caller import Caller
from server.core.db import locked
from server.core.errors import CredentialsInvalid
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit

SERVICE = "service"
"""``Caller.kind`` of those who call with a key."""

_NOBODYS_HASH = hash_of("")


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made; ``key`` is for its owner's eyes, once."""

    row: ApiKey
    key: str = field(repr=False)


def create_api_key(
    unit: Unit, name: str, scopes: Sequence[str], expires_at: datetime | None
) -> NewApiKey:
    """Makes a key of the caller's. Nobody makes one for somebody else: it would speak for them."""
    user = locked_caller(unit)
    check_scopes(scopes, acting(unit).permissions)
    end = api_key_end(expires_at, unit.now)
    if ApiKey.live_for(user.id, unit.now).count() >= MOST_API_KEYS:
        raise TooManyApiKeys(most=MOST_API_KEYS)
    key = new_api_key()
    row = ApiKey.create(
        user=user.id,
        name=plain_text(name),
        prefix=public_part(key),
        key_hash=hash_of(key),
        scopes=sorted(scopes),
        expires_at=end,
    )
    unit.audit(actions.API_KEY_CREATE, resource=f"apiKeys/{row.id}", scopes=sorted(scopes))
    return NewApiKey(row, key)


def list_api_keys(
    unit: Unit, pages: Pages, user_id: str, *, page_size: int, page_token: str
) -> Page[ApiKey]:
    """Keys of the caller, or of somebody whose account they see; the newest first."""
    whose = user_id or unit.caller.user_id
    keys = ApiKey.select().where(ApiKey.user == whose)
    if not acting(unit).sees(whose):
        keys = keys.where(ApiKey.user == unit.caller.user_id)
    return paginate(
        pages,
        keys,
        order=[Order(ApiKey.id, descending=True)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "api_keys", "user": whose, "caller": unit.caller.user_id},
    )


def revoke_api_key(unit: Unit, api_key_id: str) -> ApiKey:
    """Ends one of the caller's keys, or anybody's when an administrator calls; one that has ended
    stays ended. ``SuperAdminOnly`` for a key of somebody above the caller."""
    reachable = ApiKey.within_reach_of(unit.caller).where(ApiKey.id == api_key_id)
    row = locked(reachable).get_or_none()
    if row is None:
        raise ApiKeyNotFound
    if row.user_id != unit.caller.user_id:
        check_rank(acting(unit), rights_of(row.user_id)[0])
    if row.revoked_at is None:
        _revoke(unit, row)
        unit.audit(actions.API_KEY_REVOKE, resource=f"apiKeys/{row.id}", owner=row.user_id)
    key: ApiKey = row
    return key


def revoke_all_api_keys(unit: Unit, user_id: str) -> None:
    """Ends every key of a user, for an account that turned out to be somebody else's."""
    for row in list(locked(ApiKey.live_for(user_id, unit.now).order_by(ApiKey.id))):
        _revoke(unit, row)


def _revoke(unit: Unit, row: ApiKey) -> None:
    row.revoked_at = unit.now
    row.revoked_by = unit.caller.user_id or None
    row.save()
    unit.emit(ApiKeyRevoked(row.id, row.user_id))


def service_of(unit: Unit, key: str) -> Caller:
    """Who calls with a key; ``CredentialsInvalid`` when it is none, or no longer good, or the account
    of its owner is not in use.

    A key that nobody has costs what one with a wrong secret costs: one look, one comparison in
    constant time.
    """
    row = ApiKey.get_or_none(ApiKey.prefix == public_part(key))
    genuine = hmac.compare_digest(hash_of(key), _NOBODYS_HASH if row is None else row.key_hash)
    if row is None or not genuine or row.revoked_at is not None or row.expires_at <= unit.now:
        raise CredentialsInvalid
    owner = User.get_or_none(User.id == row.user_id)
    if owner is None or not may_act(owner.status, owner.suspended_until, unit.now):
        raise CredentialsInvalid
    _, permissions = rights_of(owner.id)
    return Caller(
        kind=SERVICE,
        user_id=owner.id,
        session_id=row.id,
        permissions=scopes_left(row.scopes, permissions),
        expires=row.expires_at,
    )


def touch_api_keys(_unit: Unit, ids: Sequence[str], minute: datetime) -> None:
    """Writes when keys were last used."""
    ApiKey.update(last_used_at=minute).where(
        ApiKey.id.in_(list(ids)) & (ApiKey.last_used_at.is_null() | (ApiKey.last_used_at < minute))
    ).execute()

"""What a token is worth at this moment, for those who are handed one."""

from dataclasses import dataclass
from datetime import datetime

from server.auth.authenticator import caller_of
from server.auth.models import ApiKey
from server.auth.rules import INTROSPECT_TOKENS, is_api_key
from server.auth.tokens import AccessTokens
from server.auth.usecases.api_keys import SERVICE, service_of
from server.auth.usecases.users import rights_of
from server.auth.usecases.web_sessions import find_web_session
from server.core.errors import CredentialsInvalid
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a good token says; ``kind`` is ``ACCESS``, ``API_KEY`` or ``WEB_SESSION``."""

    kind: str
    user_id: str
    session_id: str
    api_key_id: str
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    issued: datetime
    expires: datetime


def facts_of(unit: Unit, token: str, *, access: AccessTokens) -> TokenFacts | None:
    """What a token is worth; ``None`` when it is worth nothing, or is none of the caller's business:
    they cannot tell which."""
    try:
        found = _facts_of(unit, token, access)
    except CredentialsInvalid:
        return None
    caller = unit.caller
    any_token = caller.kind == SERVICE and INTROSPECT_TOKENS in caller.permissions
    if found is None or not (any_token or found.user_id == caller.user_id):
        return None
    return found


def _facts_of(unit: Unit, token: str, access: AccessTokens) -> TokenFacts | None:
    if is_api_key(token):
        return _key_facts(unit, token)
    # A framework may put dots into its tokens as well, so both are asked.
    return _web_facts(unit, token) or _access_facts(unit, token, access)


def _key_facts(unit: Unit, token: str) -> TokenFacts:
    caller = service_of(unit, token)
    row = ApiKey.get_by_id(caller.session_id)
    return TokenFacts(
        kind="API_KEY",
        user_id=caller.user_id,
        session_id="",
        api_key_id=row.id,
        roles=(),
        permissions=tuple(sorted(caller.permissions)),
        issued=row.create_time,
        expires=row.expires_at,
    )


def _access_facts(unit: Unit, token: str, access: AccessTokens) -> TokenFacts | None:
    claims = access.verify(token)
    caller = caller_of(unit, claims)
    if caller.deleted:
        return None
    return TokenFacts(
        kind="ACCESS",
        user_id=caller.user_id,
        session_id=caller.session_id,
        api_key_id="",
        roles=tuple(sorted(caller.roles)),
        permissions=tuple(sorted(caller.permissions)),
        issued=claims.issued,
        expires=claims.expires,
    )


def _web_facts(unit: Unit, token: str) -> TokenFacts | None:
    view = find_web_session(unit, token)
    if view is None:
        return None
    roles, permissions = rights_of(view.user.user.id)
    return TokenFacts(
        kind="WEB_SESSION",
        user_id=view.user.user.id,
        session_id=view.session.id,
        api_key_id="",
        roles=tuple(sorted(roles)),
        permissions=tuple(sorted(permissions)),
        issued=view.session.create_time,
        expires=view.session.expires_at,
    )

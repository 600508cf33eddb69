"""Keys of services, and what tokens are worth."""

from greenroom.auth.v1 import api_key_pb2, api_key_service_pb2, token_service_pb2
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.models import ApiKey
from server.auth.usecases.introspection import TokenFacts
from server.core.pagination import Page


def api_key_to_pb(row: ApiKey) -> api_key_pb2.ApiKey:
    """A key without its secret, which nobody knows any more."""
    return api_key_pb2.ApiKey(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        scopes=row.scopes,
        create_time=time_to_pb(row.create_time),
        expire_time=time_to_pb(row.expires_at),
        last_used_time=optional_time_to_pb(row.last_used_at),
        revoke_time=optional_time_to_pb(row.revoked_at),
    )


def api_keys_to_pb(page: Page[ApiKey]) -> api_key_service_pb2.ListApiKeysResponse:
    """One page of keys."""
    return api_key_service_pb2.ListApiKeysResponse(
        api_keys=[api_key_to_pb(row) for row in page.items],
        next_page_token=page.next_page_token,
    )


def facts_to_pb(facts: TokenFacts | None) -> token_service_pb2.ValidateTokenResponse:
    """What a token is worth; nothing at all is said of one that is worth nothing."""
    if facts is None:
        return token_service_pb2.ValidateTokenResponse()
    return token_service_pb2.ValidateTokenResponse(
        active=True,
        kind=token_service_pb2.TokenKind.Value(f"TOKEN_KIND_{facts.kind}"),
        user_id=facts.user_id,
        session_id=facts.session_id,
        api_key_id=facts.api_key_id,
        roles=facts.roles,
        permissions=facts.permissions,
        issue_time=time_to_pb(facts.issued),
        expire_time=time_to_pb(facts.expires),
    )

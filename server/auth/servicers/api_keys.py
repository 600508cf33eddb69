"""ApiKeyService and TokenService: keys of services, and what tokens are worth."""

from greenroom.auth.v1 import api_key_service_pb2 as pb
from greenroom.auth.v1 import token_service_pb2 as token_pb
from server.auth.convert.api_keys import api_key_to_pb, api_keys_to_pb, facts_to_pb
from server.auth.convert.times import optional_time_from_pb
from server.auth.tokens import AccessTokens
from server.auth.usecases import api_keys
from server.auth.usecases.introspection import facts_of
from server.core.pagination import Pages
from server.wire.call import Call


class ApiKeyServicer:
    """greenroom.auth.v1.ApiKeyService."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def CreateApiKey(self, request: pb.CreateApiKeyRequest, call: Call) -> pb.CreateApiKeyResponse:
        """Makes a key and shows it, once."""
        end = optional_time_from_pb(request, "expire_time")
        made = api_keys.create_api_key(call.unit, request.name, list(request.scopes), end)
        return pb.CreateApiKeyResponse(api_key=api_key_to_pb(made.row), key=made.key)

    def ListApiKeys(self, request: pb.ListApiKeysRequest, call: Call) -> pb.ListApiKeysResponse:
        """One page of keys."""
        page = api_keys.list_api_keys(
            call.unit,
            self._pages,
            request.user_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return api_keys_to_pb(page)

    def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, call: Call) -> pb.RevokeApiKeyResponse:
        """Ends a key."""
        row = api_keys.revoke_api_key(call.unit, request.api_key_id)
        return pb.RevokeApiKeyResponse(api_key=api_key_to_pb(row))


class TokenServicer:
    """greenroom.auth.v1.TokenService."""

    def __init__(self, access: AccessTokens) -> None:
        self._access = access

    def ValidateToken(
        self, request: token_pb.ValidateTokenRequest, call: Call
    ) -> token_pb.ValidateTokenResponse:
        """Looks a token up."""
        return facts_to_pb(facts_of(call.unit, request.token, access=self._access))

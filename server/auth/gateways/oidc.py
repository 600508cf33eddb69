"""Providers that speak OpenID Connect: where they are asked is found out from their own documents,
and whom they mean is read from a signed ID token."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.auth.errors import OAuthProofInvalid, ProviderUnavailable
from server.auth.gateways.code_exchange import authorization_url, trade_code
from server.auth.gateways.fetching import ProviderHttp, origin_of
from server.auth.gateways.provider_settings import ProviderSettings
from server.auth.id_tokens import (
    Expected,
    IdTokenRejected,
    KeySet,
    UnknownKey,
    verify_id_token,
)
from server.auth.provider_port import Answer, Expectation, Opening
from server.auth.rules import (
    ProvenIdentity,
    TokenSet,
    told_details,
    told_email,
    told_name,
    told_url,
)
from server.core.clock import Clock

logger = logging.getLogger(__name__)

FRESH_FOR = timedelta(hours=1)
"""How long a provider's documents are believed without looking again."""

BETWEEN_REFETCHES = timedelta(seconds=2)
"""An unknown key makes the key set be fetched anew, and not more often than this."""


@dataclass(frozen=True, slots=True)
class _Endpoints:
    """What discovery has found (OpenID Connect Discovery, section 3)."""

    authorization: str
    token: str
    keys: str
    names_issuer: bool
    """Whether answers carry ``iss`` (RFC 9207)."""


class OidcProvider:
    """One provider."""

    def __init__(self, settings: ProviderSettings, http: ProviderHttp, clock: Clock) -> None:
        self.name = settings.name
        self.issuer = settings.issuer
        self._settings = settings
        self._http = http
        self._clock = clock
        self._endpoints: tuple[_Endpoints, datetime] | None = None
        self._keys: tuple[KeySet, datetime] | None = None

    async def authorization_url(self, opening: Opening) -> str:
        """The provider's page with our request."""
        endpoints = await self._discover()
        return authorization_url(
            endpoints.authorization, self._settings, opening, nonce=opening.nonce
        )

    async def prove(self, answer: Answer, expected: Expectation) -> ProvenIdentity:
        """Trades a code, or takes an ID token as it is, and checks the ID token."""
        if answer.issuer and answer.issuer != self.issuer:
            raise OAuthProofInvalid(field="iss")
        if answer.kind == "id_token":
            tokens = TokenSet(id_token=answer.value)
        else:
            endpoints = await self._discover()
            if endpoints.names_issuer and not answer.issuer:
                raise OAuthProofInvalid(field="iss")
            tokens = await trade_code(
                self._http,
                endpoints.token,
                self._settings,
                answer.value,
                expected,
                self._clock.now(),
            )
        try:
            claims = await self._verify(tokens.id_token, expected.nonce_hash)
        except IdTokenRejected as rejected:
            logger.warning("ID token of %s refused: %s", self.name, rejected)
            raise OAuthProofInvalid(field=answer.kind) from None
        return self._proven(claims, tokens, answer.session_state)

    async def _verify(self, token: str, nonce_hash: str) -> dict[str, Any]:
        expected = Expected(
            self.issuer, self._settings.client_id, self._settings.native_client_ids, nonce_hash
        )
        keys = await self._key_set(FRESH_FOR)
        try:
            return verify_id_token(token, keys, expected, self._clock.now())
        except UnknownKey:
            newer = await self._key_set(BETWEEN_REFETCHES)
            return verify_id_token(token, newer, expected, self._clock.now())

    def _proven(
        self, claims: Mapping[str, Any], tokens: TokenSet, session_state: str
    ) -> ProvenIdentity:
        verified = claims.get("email_verified")
        email = told_email(claims.get("email"))
        return ProvenIdentity(
            provider=self.name,
            type=self._settings.type,
            issuer=self.issuer,
            subject=claims["sub"],
            email=email,
            email_verified=bool(email)
            and (verified is True or (self._settings.textual_booleans and verified == "true")),
            name=told_name(
                claims.get("name"), claims.get("preferred_username"), claims.get("given_name")
            ),
            avatar_url=told_url(claims.get("picture")),
            profile=told_details(
                claims, "name", "given_name", "family_name", "preferred_username", "locale", "hd"
            ),
            tokens=tokens,
            session_state=session_state,
        )

    async def _discover(self) -> _Endpoints:
        now = self._clock.now()
        if self._endpoints is not None and self._endpoints[1] + FRESH_FOR > now:
            return self._endpoints[0]
        url = f"{self.issuer}/.well-known/openid-configuration"
        reply = await self._http.get(url, within=self._settings.origins)
        found = reply.content if isinstance(reply.content, Mapping) else {}
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        values = [found.get(name) for name in names]
        # Another issuer's document would make its keys count for ours (Discovery, section 4.3).
        if found.get("issuer") != self.issuer or not all(
            isinstance(value, str) and origin_of(value) in self._settings.origins
            for value in values
        ):
            logger.warning("identity provider %s: its discovery document is of no use", self.name)
            raise ProviderUnavailable()
        endpoints = _Endpoints(
            str(values[0]),
            str(values[1]),
            str(values[2]),
            found.get("authorization_response_iss_parameter_supported") is True,
        )
        self._endpoints = endpoints, now
        return endpoints

    async def _key_set(self, oldest: timedelta) -> KeySet:
        """The provider's keys, at most so old."""
        now = self._clock.now()
        if self._keys is not None and self._keys[1] + oldest > now:
            return self._keys[0]
        endpoints = await self._discover()
        reply = await self._http.get(endpoints.keys, within=self._settings.origins)
        try:
            keys = KeySet(reply.content)
        except ValueError:
            logger.warning("identity provider %s: its key set is of no use", self.name)
            raise ProviderUnavailable() from None
        self._keys = keys, now
        return keys

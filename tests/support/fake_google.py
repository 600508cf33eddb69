"""An OpenID provider on loopback that can be told to lie: for what a well-behaved one never does."""

import json
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.fake_http import Asked, Response, json_of
from tests.support.fake_oauth import CLIENT_ID, FakeOAuth, Grant


class Key:
    """A signing key with an id."""

    def __init__(self, kid: str, bits: int = 2048) -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    @property
    def public(self) -> dict[str, Any]:
        """As a JWK."""
        jwk: dict[str, Any] = json.loads(RSAAlgorithm.to_jwk(self.private.public_key()))
        return {**jwk, "kid": self.kid, "use": "sig", "alg": "RS256"}


class FakeGoogle(FakeOAuth):
    """Discovery, keys, and ID tokens by the test's clock."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key = key
        self.published = [key]
        self.now: Callable[[], datetime]
        self.discovery: dict[str, Any] = {}
        """Members of the discovery document that are not as they should be."""
        self.claims: dict[str, Any] = {}
        """Claims that are not as they should be; ``None`` leaves one out."""
        self.forge: Callable[[dict[str, Any]], str] = self.signed
        """Makes the ID token of its claims."""

    def add(self, sub: str, email: str, *, verified: object = True, **more: Any) -> None:
        """Somebody with an account there."""
        claims = {"email": email, "email_verified": verified, "name": f"Person {sub}", **more}
        self.people[sub] = claims

    def signed(self, claims: dict[str, Any]) -> str:
        """The right token."""
        return jwt.encode(claims, self.key.private, "RS256", headers={"kid": self.key.kid})

    def id_token(self, sub: str, nonce: str, **changed: Any) -> str:
        """What a native app gets from the provider's SDK."""
        moment = int(self.now().timestamp())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": sub,
            "iat": moment,
            "exp": moment + 3600,
            "nonce": nonce,
            **self.people.get(sub, {}),
            **self.claims,
            **changed,
        }
        return self.forge({name: value for name, value in claims.items() if value is not None})

    def more_tokens(self, grant: Grant) -> dict[str, Any]:
        """The ID token, and a refresh token."""
        return {
            "id_token": self.id_token(grant.sub, grant.nonce),
            "refresh_token": secrets.token_urlsafe(24),
        }

    def profile(self, asked: Asked) -> Response:
        """The documents."""
        if asked.path == "/.well-known/openid-configuration":
            return json_of(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": f"{self.url}/token",
                    "jwks_uri": f"{self.url}/keys",
                    **self.discovery,
                }
            )
        if asked.path == "/keys":
            return json_of({"keys": [key.public for key in self.published]})
        return super().profile(asked)

"""Access tokens: JWTs signed with EdDSA (RFC 8037), typed ``at+jwt`` (RFC 9068).

Beside ``id_tokens.py``, which reads those of providers, the one module that decodes a JWT. It is
strict (RFC 8725): one algorithm, one type, keys by ``kid`` from our own set only, no header member
that it does not know, every claim required and typed.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from server.auth.keys import SigningKeys
from server.core.clock import Clock
from server.core.errors import CredentialsInvalid

LONGEST_TOKEN = 4096
"""Bytes of a token; a longer one is refused unread."""

LEEWAY = timedelta(seconds=5)
"""How far the clocks of two servers may be apart."""

LONGEST_LIFE = timedelta(hours=24)
"""No access token lives longer, whatever it says."""

_TYPE = "at+jwt"
_ALGORITHM = "EdDSA"
_REQUIRED = ["iss", "aud", "sub", "sid", "iat", "exp", "jti", "ver"]
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]")
"""Three parts of base64url without padding; an Ed25519 signature has 64 bytes, and the spare bits
of its last character are zero, so that no token has a second spelling."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified token says."""

    user_id: str
    session_id: str
    token_id: str
    version: int
    issued: datetime
    expires: datetime
    signed_by: str = field(default="", compare=False)
    """Id of the key that signed it; known once it is verified."""


class KeyUnknown(CredentialsInvalid):
    """The token names a key that is not, or no longer, one of ours; seen from outside it is as
    invalid as any other."""


class AccessTokens:
    """Makes and verifies access tokens for one issuer and audience."""

    def __init__(self, keys: SigningKeys, *, issuer: str, audience: str, clock: Clock) -> None:
        self.keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock = clock

    def sign(self, claims: AccessClaims, roles: Collection[str] = ()) -> str:
        """The token that says so, signed with the present key.

        The roles are told to whoever reads the token, such as a gateway or a page that decides what
        it shows. ``verify`` does not hand them out, so that no decision here is made by them: what a
        caller may do is read from the database and is void the moment it changes, while a token says
        what was so when it was issued.
        """
        key = self.keys.signing(self._clock.now())
        return jwt.encode(
            {
                "iss": self._issuer,
                "aud": self._audience,
                "sub": claims.user_id,
                "sid": claims.session_id,
                "iat": int(claims.issued.timestamp()),
                "exp": int(claims.expires.timestamp()),
                "jti": claims.token_id,
                "ver": claims.version,
                "roles": sorted(roles),
            },
            key.private,
            algorithm=_ALGORITHM,
            headers={"typ": _TYPE, "kid": key.kid},
        )

    def verify(self, token: str) -> AccessClaims:
        """What the token says, if it is one of ours and in its time; else ``CredentialsInvalid``,
        which is a ``KeyUnknown`` when it names a key that we do not have.

        Whether its session is still open is not looked at here.
        """
        now = self._clock.now()
        if len(token) > LONGEST_TOKEN or _SHAPE.fullmatch(token) is None:
            raise CredentialsInvalid
        kid = _kid_of(token)
        key = self.keys.verifying(kid, now)
        if key is None:
            raise KeyUnknown
        try:
            payload = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={
                    "require": _REQUIRED,
                    "strict_aud": True,
                    # Times are checked below: against our clock, and as whole numbers only.
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except (jwt.InvalidTokenError, UnicodeDecodeError, RecursionError, ValueError):
            raise CredentialsInvalid from None
        return _checked(payload, kid, now)


def _kid_of(token: str) -> str:
    """The key id of a token whose header holds what ours hold and nothing else."""
    try:
        raw = token.partition(".")[0]
        header = json.loads(
            base64.b64decode(raw + "=" * (-len(raw) % 4), altchars=b"-_", validate=True).decode(),
            object_pairs_hook=_without_repeats,
        )
    except (binascii.Error, UnicodeDecodeError, RecursionError, ValueError):
        raise CredentialsInvalid from None
    if not isinstance(header, dict) or header.keys() != {"alg", "typ", "kid"}:
        raise CredentialsInvalid
    kid = header["kid"]
    if header["alg"] != _ALGORITHM or header["typ"] != _TYPE or not isinstance(kid, str):
        raise CredentialsInvalid
    return kid


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is repeated")
    return found


def _checked(payload: dict[str, Any], kid: str, now: datetime) -> AccessClaims:
    for name in ("sub", "sid", "jti"):
        if not isinstance(payload[name], str) or _UUID.fullmatch(payload[name]) is None:
            raise CredentialsInvalid
    for name in ("iat", "exp", "ver"):
        if type(payload[name]) is not int or not 0 <= payload[name] < 1 << 40:
            raise CredentialsInvalid
    if "nbf" in payload:
        raise CredentialsInvalid
    try:
        issued = datetime.fromtimestamp(payload["iat"], UTC)
        expires = datetime.fromtimestamp(payload["exp"], UTC)
    except (OverflowError, ValueError, OSError):
        raise CredentialsInvalid from None
    if issued > now + LEEWAY or expires <= now or not issued < expires <= issued + LONGEST_LIFE:
        raise CredentialsInvalid
    return AccessClaims(
        user_id=payload["sub"],
        session_id=payload["sid"],
        token_id=payload["jti"],
        version=payload["ver"],
        issued=issued,
        expires=expires,
        signed_by=kid,
    )

"""ID tokens of providers (OpenID Connect Core, section 3.1.3.7), as strict as RFC 8725 asks for.

The second and last module that decodes a JWT (the first is ``tokens.py``). Only signatures with a
public key are taken, keys come from the provider's key set alone and by their own kind, and every
claim that is relied on is required and typed.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from server.auth.issuing import hash_of
from server.auth.rules import LONGEST_SUBJECT

LONGEST_ID_TOKEN = 16_384
"""Characters; a longer one is refused unread."""

LEEWAY = timedelta(seconds=60)
"""How far the provider's clock may be from ours."""

OLDEST = timedelta(hours=1)
"""An ID token that was issued longer ago is not the answer to what was just asked."""

_KINDS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
"""The signatures that are taken, and the kind of key that each is checked with."""

_SHORTEST_RSA_BITS = 2048
_MOST_KEYS = 50


class IdTokenRejected(ValueError):
    """The token is not one to rely on; the text says why in a word, for the audit row."""


class UnknownKey(IdTokenRejected):
    """It was signed by a key that is not in the set: the set may be older than the key."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an ID token has to say."""

    issuer: str
    client_id: str
    native_client_ids: frozenset[str]
    """Ids of the same application's clients on devices."""
    nonce_hash: str


class KeySet:
    """The public keys of a provider (RFC 7517); what is no key for signatures is left out."""

    def __init__(self, document: object) -> None:
        keys = document.get("keys") if isinstance(document, Mapping) else None
        if not isinstance(keys, list):
            raise ValueError("no key set")
        self._keys = [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]

    def key_for(self, kid: str | None, algorithm: str) -> Any:
        """The key with an id that fits the algorithm; without an id, the only one that fits."""
        fitting = [key for key in self._fitting(algorithm) if kid in (None, key.get("kid"))]
        if len(fitting) != 1:
            raise UnknownKey("kid")
        try:
            key = jwt.PyJWK(fitting[0], algorithm).key
        except (jwt.PyJWTError, ValueError, TypeError):
            raise IdTokenRejected("key") from None
        if _KINDS[algorithm] == "RSA" and key.key_size < _SHORTEST_RSA_BITS:
            raise IdTokenRejected("key")
        return key

    def _fitting(self, algorithm: str) -> Iterable[dict[str, Any]]:
        return (
            key
            for key in self._keys
            if key.get("kty") == _KINDS[algorithm]
            and key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
        )


def verify_id_token(token: str, keys: KeySet, expected: Expected, now: datetime) -> dict[str, Any]:
    """The claims of a token that is what was asked for; else :class:`IdTokenRejected`."""
    if len(token) > LONGEST_ID_TOKEN:
        raise IdTokenRejected("length")
    algorithm, kid = _header_of(token)
    key = keys.key_for(kid, algorithm)
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            options={
                "require": ["iss", "aud", "sub", "iat", "exp", "nonce"],
                # Checked below: against our clock, and more strictly.
                "verify_aud": False,
                "verify_exp": False,
                "verify_iat": False,
                "verify_iss": False,
                "verify_nbf": False,
                "verify_sub": False,
            },
        )
    except jwt.MissingRequiredClaimError as missing:
        raise IdTokenRejected(missing.claim) from None
    except jwt.InvalidSignatureError:
        # A key without a name may have been replaced by another one without a name.
        rejected = UnknownKey if kid is None else IdTokenRejected
        raise rejected("signature") from None
    except (jwt.InvalidTokenError, UnicodeDecodeError, RecursionError, ValueError):
        raise IdTokenRejected("signature") from None
    _check(claims, expected, now)
    return claims


def _header_of(token: str) -> tuple[str, str | None]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, UnicodeDecodeError, RecursionError, ValueError):
        raise IdTokenRejected("form") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in _KINDS:
        raise IdTokenRejected("alg")
    if "crit" in header or not isinstance(kid, str | None):
        raise IdTokenRejected("header")
    return algorithm, kid


def _check(claims: Mapping[str, Any], expected: Expected, now: datetime) -> None:
    if claims["iss"] != expected.issuer:
        raise IdTokenRejected("iss")
    _check_audience(claims, expected)
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
        raise IdTokenRejected("sub")
    _check_times(claims, now)
    nonce = claims["nonce"]
    if not isinstance(nonce, str) or not nonce.isascii():
        raise IdTokenRejected("nonce")
    if not hmac.compare_digest(hash_of(nonce), expected.nonce_hash):
        raise IdTokenRejected("nonce")


def _check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    """Issued to us, and to nobody who is not us."""
    ours = {expected.client_id} | expected.native_client_ids
    audience = claims["aud"]
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not named or not all(one in ours for one in named):
        raise IdTokenRejected("aud")
    party = claims.get("azp")
    if (party is None and len(named) > 1) or (party is not None and party not in ours):
        raise IdTokenRejected("azp")


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    times: dict[str, float] = {}
    for name in ("exp", "iat", "nbf"):
        value = claims.get(name, 0)
        if type(value) not in (int, float) or not 0 <= value < 1 << 40:
            raise IdTokenRejected(name)
        times[name] = value
    present, leeway = now.timestamp(), LEEWAY.total_seconds()
    if times["exp"] + leeway <= present:
        raise IdTokenRejected("exp")
    if not present - OLDEST.total_seconds() <= times["iat"] <= present + leeway:
        raise IdTokenRejected("iat")
    if times["nbf"] > present + leeway:
        raise IdTokenRejected("nbf")

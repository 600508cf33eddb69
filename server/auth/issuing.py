"""Makes the tokens of a session: signed access tokens and one-time refresh tokens."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from server.auth.models import RefreshToken, Session
from server.auth.rules import Lifetimes
from server.auth.tokens import AccessClaims, AccessTokens
from server.core.ids import new_id, new_secret
from server.core.sealing import Keyring

REFRESH_PREFIX = "grr_"
"""Starts every refresh token, so that a leaked one can be recognised for what it is."""


def hash_of(secret: str) -> str:
    """What is stored of a secret of 256 random bits: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """A pair for the client. Never stored, never logged."""

    access_token: str
    access_expires: datetime
    refresh_token: str
    refresh_expires: datetime


@dataclass(frozen=True, slots=True)
class Device:
    """Where a call comes from, as a session remembers it."""

    address: str
    user_agent: str
    name: str = ""


class TokenIssuer:
    """What use cases need to issue tokens: keys, lifetimes and the sealing of successors."""

    def __init__(self, access: AccessTokens, keyring: Keyring, lifetimes: Lifetimes) -> None:
        self._access = access
        self._keyring = keyring
        self.lifetimes = lifetimes

    def new_refresh_secret(self) -> str:
        """A refresh token with 256 random bits."""
        return REFRESH_PREFIX + new_secret()

    def seal_successor(self, predecessor: RefreshToken, secret: str) -> str:
        """The successor's secret as it lies on the predecessor's row, and opens nowhere else."""
        return self._keyring.seal(secret.encode(), _place_of(predecessor))

    def open_successor(self, predecessor: RefreshToken) -> str:
        """The secret that ``seal_successor`` put there."""
        sealed = predecessor.successor_sealed
        assert sealed is not None, "a token that was not used has no successor"
        return self._keyring.open(sealed, _place_of(predecessor)).decode()

    def tokens_of(
        self,
        session: Session,
        refresh_secret: str,
        refresh_expires: datetime,
        now: datetime,
        *,
        roles: Collection[str],
    ) -> IssuedTokens:
        """The pair of a session: a fresh access token, which tells the roles of its user, beside the
        given refresh token. The access token's id becomes the session's current one."""
        expires = self.lifetimes.access_end(now, session.expires_at)
        session.token_id = new_id()
        claims = AccessClaims(
            user_id=session.user_id,
            session_id=session.id,
            token_id=session.token_id,
            version=session.token_version,
            issued=now,
            expires=expires,
        )
        return IssuedTokens(
            access_token=self._access.sign(claims, roles),
            access_expires=expires.replace(microsecond=0),
            refresh_token=refresh_secret,
            refresh_expires=refresh_expires,
        )


def _place_of(row: RefreshToken) -> str:
    return f"refresh_tokens|successor_sealed|{row.id}|{row.session_id}"

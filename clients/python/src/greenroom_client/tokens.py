"""Keeps the tokens of a session: where they lie, and how they are renewed."""

import asyncio
import json
import math
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import grpc

from greenroom.auth.v1 import auth_service_pb2, session_pb2
from greenroom_client.errors import reason_of

EARLY_SECONDS = 30.0
"""A token is renewed this long before it ends, so that no call travels with a dying one."""

SETTLE_SECONDS = 5.0
"""A client that closes waits this long for tokens that are on their way."""

_DEAD = {"AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID", "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair of tokens, and when each ends (seconds since 1970)."""

    access: str
    access_expires: float
    refresh: str
    refresh_expires: float

    def __repr__(self) -> str:
        return f"Tokens(access_expires={self.access_expires:.0f})"


class SignedOut(Exception):
    """There is no session, or it has ended: log in again."""


class TokenStore(Protocol):
    """Where tokens lie between calls, and between runs if the store lasts."""

    def load(self) -> Tokens | None:
        """The tokens, if there are any."""
        ...

    def save(self, tokens: Tokens | None) -> None:
        """Keeps the tokens; ``None`` forgets them."""
        ...


class MemoryTokenStore:
    """Tokens of this process only."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    def load(self) -> Tokens | None:
        """The tokens, if there are any."""
        return self._tokens

    def save(self, tokens: Tokens | None) -> None:
        """Keeps the tokens; ``None`` forgets them."""
        self._tokens = tokens


class FileTokenStore:
    """Tokens in a file that only its owner may read (0600), replaced as a whole."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def load(self) -> Tokens | None:
        """The tokens, if the file holds any."""
        try:
            return Tokens(**json.loads(self._path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, tokens: Tokens | None) -> None:
        """Keeps the tokens; ``None`` deletes the file."""
        if tokens is None:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".tokens.")
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(tokens), file)
        os.replace(temporary, self._path)


def tokens_from_pb(pair: session_pb2.TokenPair) -> Tokens:
    """The pair of a reply."""
    return Tokens(
        pair.access_token,
        pair.access_expire_time.ToNanoseconds() / 1e9,
        pair.refresh_token,
        pair.refresh_expire_time.ToNanoseconds() / 1e9,
    )


Refresh = Callable[
    [auth_service_pb2.RefreshTokenRequest], Awaitable[auth_service_pb2.RefreshTokenResponse]
]


class Keeper:
    """Hands out an access token that is still good, and renews it once for all who wait."""

    def __init__(
        self, store: TokenStore, refresh: Refresh, now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._now = now
        self._tokens = store.load()
        self._early = EARLY_SECONDS
        self._renewing: asyncio.Task[str] | None = None

    @property
    def tokens(self) -> Tokens | None:
        """The present pair; ``None`` when signed out."""
        return self._tokens

    def keep(self, tokens: Tokens | None) -> None:
        """Takes a new pair, or forgets the old one."""
        self._tokens = tokens
        if tokens is not None:
            # A life of half a minute, or a clock that is wrong, must not cost a renewal a call.
            # Where this clock says that a new token is old, only the server can tell.
            life = tokens.access_expires - self._now()
            self._early = min(EARLY_SECONDS, life / 5) if life > 0 else -math.inf
        self._store.save(tokens)

    @property
    def good_token(self) -> str:
        """The access token when it needs no renewal; empty otherwise."""
        tokens = self._tokens
        if tokens is None or tokens.access_expires - self._now() <= self._early:
            return ""
        return tokens.access

    async def access_token(self) -> str:
        """A token for the next call; raises :class:`SignedOut` when there is none to be had."""
        tokens = self._tokens
        if tokens is None:
            raise SignedOut("log in first")
        if good := self.good_token:
            return good
        try:
            return await self.renewed(tokens.access)
        except grpc.RpcError:
            # The renewal came early, so the old one may still do while the server is away.
            if tokens.access_expires > self._now():
                return tokens.access
            raise

    async def renewed(self, stale: str) -> str:
        """A token other than ``stale``. Concurrent callers share one renewal.

        A caller that is cancelled leaves the renewal running: the server has spent the old token by
        then, and a session whose new one is dropped dies with its next renewal.
        """
        tokens = self._tokens
        if tokens is None:
            raise SignedOut("the session has ended")
        if tokens.access != stale:
            return tokens.access
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(tokens))
            self._renewing.add_done_callback(_look_at)
        return await asyncio.shield(self._renewing)

    async def settle(self) -> None:
        """Waits for a renewal that is on its way, so that its tokens reach the store."""
        if self._renewing is not None:
            await asyncio.wait([self._renewing], timeout=SETTLE_SECONDS)

    async def _renew(self, tokens: Tokens) -> str:
        stored = self._store.load()
        if stored is not None and stored.access != tokens.access:
            # Another process with the same store was first; its pair is the family's newest.
            self._tokens = stored
            return stored.access
        request = auth_service_pb2.RefreshTokenRequest(refresh_token=tokens.refresh)
        try:
            reply = await self._refresh(request)
        except grpc.RpcError as error:
            if reason_of(error) in _DEAD:
                if self._tokens is tokens:
                    self.keep(None)
                raise SignedOut("the session has ended") from error
            raise
        if self._tokens is tokens:
            self.keep(tokens_from_pb(reply.tokens))
        if self._tokens is None:
            raise SignedOut("logged out")
        # Whoever logged in meanwhile has tokens of a newer session.
        return self._tokens.access


def _look_at(renewing: asyncio.Task[str]) -> None:
    """Nobody may be waiting any more; asyncio would then complain of an error that nobody saw."""
    if not renewing.cancelled():
        renewing.exception()

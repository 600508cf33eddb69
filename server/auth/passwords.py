"""Passwords: folding, strength, hashing and checking. Everything here that costs time is run in the
hash pool, never on the event loop and never inside a transaction."""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import bcrypt
from zxcvbn import zxcvbn

from server.auth.errors import PasswordTooWeak
from server.core.hashing import HashingBusy, HashPool

ALGORITHM = "bcrypt-sha256"
"""bcrypt of the base64 of the SHA-256 of the NFC form in UTF-8: 44 characters without a NUL, so
that bcrypt's limit of 72 bytes never cuts a password."""

SHORTEST = 8
"""Characters that a password has at least, after folding."""

WEAKEST_SCORE = 2
"""zxcvbn's score from which a password is taken: a million guesses or more."""

LONGEST_RATED = 64
"""Characters that the strength check looks at; what follows can only make a password stronger."""

_MOST_LOOKALIKES = 6
_LOOKALIKES = re.compile(r"[4@8({\[<369!1|0$57+%2]")


def folded(password: str) -> bytes:
    """What is fed to bcrypt. Both compositions of the same text fold to the same bytes."""
    text = unicodedata.normalize("NFC", password).encode()
    return base64.b64encode(hashlib.sha256(text).digest())


def check_strength(password: str, known: Sequence[str]) -> None:
    """Raises ``PasswordTooWeak`` for a password that is short, common or easy to guess, also from
    what is ``known`` of its owner (address, name)."""
    text = unicodedata.normalize("NFC", password)
    if len(text) < SHORTEST:
        raise PasswordTooWeak(field="password", problem=f"Use {SHORTEST} characters or more.")
    rating = zxcvbn(_rateable(text), user_inputs=[word[:100] for word in known if word])
    if rating["score"] < WEAKEST_SCORE:
        warning = rating["feedback"]["warning"] or "Add another word or two."
        raise PasswordTooWeak(field="password", problem=warning)


def _rateable(text: str) -> str:
    """The part of a password that is rated. zxcvbn tries all readings of look-alike characters,
    which takes seconds for a text made of many different ones: only the first few kinds are
    kept."""
    kept: set[str] = set()

    def judged(match: re.Match[str]) -> str:
        character = match.group()
        if len(kept) < _MOST_LOOKALIKES:
            kept.add(character)
        return character if character in kept else "~"

    return _LOOKALIKES.sub(judged, text[:LONGEST_RATED])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of checking a password."""

    matches: bool
    fresh: str | None = None
    """A new hash to store, when the password matches one of another cost than is in use now."""


class Passwords:
    """Hashes and checks passwords in the hash pool, at one cost.

    ``hashes`` counts the calls of bcrypt, so that a test can hold two paths to the same number.
    """

    def __init__(self, pool: HashPool, cost: int, queue_limit: int) -> None:
        self._pool = pool
        self._cost = cost
        self._queue_limit = queue_limit
        self._decoy = bcrypt.hashpw(folded("nobody's password"), bcrypt.gensalt(cost))
        self.hashes = 0

    def check_room(self) -> None:
        """Raises ``HashingBusy`` when a password would be refused now, so that a try that nobody
        will look at is not counted."""
        if 0 < self._queue_limit <= self._pool.waiting:
            raise HashingBusy(retry_after=2.0)

    async def accept(self, password: str, known: Sequence[str]) -> str:
        """The hash of a new password; ``PasswordTooWeak`` when it is easy to guess and
        ``HashingBusy`` when too many are waiting."""
        return await self._pool.run(self._accept, password, tuple(known))

    async def check(self, password: str, stored: str | None, algorithm: str) -> Verdict:
        """Whether the password belongs to the stored hash. ``None`` stands for an unknown account:
        it costs the same and never matches. ``HashingBusy`` when too many are waiting."""
        return await self._pool.run(self._check, password, stored, algorithm)

    def _accept(self, password: str, known: tuple[str, ...]) -> str:
        check_strength(password, known)
        return self._hash(password)

    def _hash(self, password: str) -> str:
        self.hashes += 1
        return bcrypt.hashpw(folded(password), bcrypt.gensalt(self._cost)).decode()

    def _check(self, password: str, stored: str | None, algorithm: str) -> Verdict:
        self.hashes += 1
        usable = stored is not None and algorithm == ALGORITHM
        hashed = stored.encode() if usable and stored is not None else self._decoy
        matches = bcrypt.checkpw(folded(password), hashed) and usable
        if matches and _cost_of(hashed) != self._cost:
            return Verdict(True, self._hash(password))
        return Verdict(matches)


def _cost_of(hashed: bytes) -> int:
    return int(hashed.split(b"$")[2])

"""Passwords: folding, strength, hashing and checking. Everything here that costs time is run in the
hash pool, never on the event loop and never inside a transaction."""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import bcrypt
from zxcvbn import zxcvbn

from server.auth import legacy_hashes
from server.auth.errors import PasswordTooWeak
from server.core.hashing import HashPool, Place

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
    text = text[:LONGEST_RATED]
    kept = _lookalikes_of(text)
    words = [_rateable(word[:100], kept) for word in known if word]
    rating = zxcvbn(_rateable(text, kept), user_inputs=words)
    if rating["score"] < WEAKEST_SCORE:
        warning = rating["feedback"]["warning"] or "Add another word or two."
        raise PasswordTooWeak(field="password", problem=warning)


def _lookalikes_of(text: str) -> frozenset[str]:
    """The look-alike characters of a password that are rated as what they are. zxcvbn tries all
    readings of them, which takes seconds for a text made of many different ones: only the first few
    kinds are kept."""
    kinds = dict.fromkeys(_LOOKALIKES.findall(text))
    return frozenset(list(kinds)[:_MOST_LOOKALIKES])


def _rateable(text: str, kept: frozenset[str]) -> str:
    """A text with its other look-alikes made one; what is known of the owner is treated like the
    password, so that it is found in it."""
    return _LOOKALIKES.sub(lambda sign: sign[0] if sign[0] in kept else "~", text)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of checking a password."""

    matches: bool
    fresh: str | None = None
    """A new hash to store, when the password matches one of another cost than is in use now, or of
    another scheme."""


class Passwords:
    """Hashes and checks passwords in the hash pool, at one cost.

    ``hashes`` counts hashes of the cost that is in use, so that a test can hold two paths to the same
    number: a check counts as one, whatever is checked, and costs as much.
    """

    def __init__(self, pool: HashPool, cost: int) -> None:
        self._pool = pool
        self._cost = cost
        self._decoy = bcrypt.hashpw(folded("nobody's password"), bcrypt.gensalt(cost))
        self.hashes = 0

    def place(self) -> AbstractContextManager[Place]:
        """A place in the hash pool, to be taken before a try is counted, so that none is counted
        that nobody will look at; ``HashingBusy`` when too many are waiting."""
        return self._pool.place()

    async def accept(self, password: str, known: Sequence[str]) -> str:
        """The hash of a new password; ``PasswordTooWeak`` when it is easy to guess and
        ``HashingBusy`` when too many are waiting."""
        return await self._pool.run(self._accept, password, tuple(known))

    async def check(
        self, place: Place, password: str, stored: str | None, algorithm: str
    ) -> Verdict:
        """Whether the password belongs to the stored hash. ``None`` stands for an unknown account:
        it costs the same and never matches."""
        return await place.run(self._check, password, stored, algorithm)

    async def rate(self, place: Place, password: str, known: Sequence[str]) -> None:
        """``PasswordTooWeak`` when a new password is easy to guess; hashes nothing."""
        await place.run(check_strength, password, tuple(known))

    async def hash(self, place: Place, password: str) -> str:
        """The hash of a password that was rated."""
        return await place.run(self._hash, password)

    def _accept(self, password: str, known: tuple[str, ...]) -> str:
        check_strength(password, known)
        return self._hash(password)

    def _check(self, password: str, stored: str | None, algorithm: str) -> Verdict:
        self.hashes += 1
        if stored is None:
            return self._never(password)
        if algorithm == ALGORITHM:
            return self._check_bcrypt(password, folded(password), stored, fresh=False)
        if algorithm == legacy_hashes.PLAIN_BCRYPT and legacy_hashes.is_bcrypt(stored):
            asked = legacy_hashes.bcrypt_input(password)
            if asked is not None:
                return self._check_bcrypt(password, asked, stored, fresh=True)
        elif legacy_hashes.matches_salted(algorithm, password, stored):
            return Verdict(True, self._bcrypt(password, self._cost))
        return self._never(password)

    def _check_bcrypt(self, password: str, asked: bytes, stored: str, *, fresh: bool) -> Verdict:
        hashed = stored.encode()
        cost = _cost_of(hashed)
        if bcrypt.checkpw(asked, hashed):
            if fresh or cost != self._cost:
                return Verdict(True, self._hash(password))
            return Verdict(True)
        # A cheaper hash is topped up: 2^c + (2^c + 2^(c+1) + ... + 2^(n-1)) rounds are 2^n, as many
        # as an unknown account costs.
        for step in range(cost, self._cost):
            self._bcrypt(password, step)
        return Verdict(False)

    def _never(self, password: str) -> Verdict:
        """As much work as a check; matches nothing."""
        bcrypt.checkpw(folded(password), self._decoy)
        return Verdict(False)

    def _hash(self, password: str) -> str:
        self.hashes += 1
        return self._bcrypt(password, self._cost)

    def _bcrypt(self, password: str, cost: int) -> str:
        return bcrypt.hashpw(folded(password), bcrypt.gensalt(cost)).decode()


def _cost_of(hashed: bytes) -> int:
    return int(hashed.split(b"$")[2])

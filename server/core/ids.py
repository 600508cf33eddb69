"""Ids and secrets: UUIDv7, so that primary keys are ordered by time, and random tokens."""

import secrets
import threading
import time
from collections.abc import Callable
from uuid import UUID

_RANDOM_BITS = 74
"""What RFC 9562 leaves to an implementation beside time, version and variant: 12 + 62 bits."""


class UuidSevens:
    """Makes UUIDv7 strings, each greater than the one before it, from any number of threads.

    Within one millisecond, and when the clock goes back, the random part counts upwards by a random
    step instead of being drawn anew (RFC 9562, section 6.2, method 2).
    """

    def __init__(self, milliseconds: Callable[[], int] | None = None) -> None:
        self._milliseconds = milliseconds or (lambda: time.time_ns() // 1_000_000)
        self._lock = threading.Lock()
        self._time = -1
        self._random = 0

    def __call__(self) -> str:
        """The next id, in the canonical lower-case form."""
        now = self._milliseconds()
        with self._lock:
            if now > self._time:
                # The top bit starts at zero, so that counting has room within the millisecond.
                self._time, self._random = now, secrets.randbits(_RANDOM_BITS - 1)
            else:
                self._random += 1 + secrets.randbits(32)
                if self._random >> _RANDOM_BITS:
                    self._time, self._random = self._time + 1, secrets.randbits(_RANDOM_BITS - 1)
            moment, tail = self._time, self._random
        high = tail >> 62
        low = tail & ((1 << 62) - 1)
        text = f"{moment << 16 | 7 << 12 | high:016x}{2 << 62 | low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


generator: Callable[[], str] = UuidSevens()
"""What :func:`new_id` calls; a test may put a predictable one in its place."""


def new_id() -> str:
    """A new UUIDv7, strictly greater than every id this process made before."""
    return generator()


def is_id(text: str) -> bool:
    """Whether ``text`` is a UUID in the canonical lower-case form."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def new_secret(size: int = 32) -> str:
    """An unguessable token of ``size`` random bytes, in base64url without padding."""
    return secrets.token_urlsafe(size)

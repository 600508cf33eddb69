"""Password hashes that accounts of older systems bring along. They are verified once: the log-in that
finds one right replaces it by a hash of ours.

The column ``algorithm`` says which scheme a stored text belongs to:

============================ ==================================================================
``bcrypt``                   ``$2a$``, ``$2b$`` or ``$2y$`` of the password itself
``sha256-salt-password``     hexadecimal SHA-256 of salt and password, one after the other
``sha256-password-salt``     the same the other way round
``sha512-salt-password``     hexadecimal SHA-512 of salt and password
``sha512-password-salt``     the same the other way round
``pbkdf2-sha256``            hexadecimal PBKDF2-HMAC-SHA-256
``pbkdf2-sha512``            hexadecimal PBKDF2-HMAC-SHA-512
============================ ==================================================================

The salt of the SHA and PBKDF2 schemes is kept inside the stored text, as ``salted`` writes it:
``iterations$salt in base64$digest``, where SHA has no iterations and begins with ``$``.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass

import bcrypt

PLAIN_BCRYPT = "bcrypt"

SHA_SCHEMES = {
    "sha256-salt-password": ("sha256", True),
    "sha256-password-salt": ("sha256", False),
    "sha512-salt-password": ("sha512", True),
    "sha512-password-salt": ("sha512", False),
}
"""Name of the hash, and whether the salt comes first."""

PBKDF2_SCHEMES = {"pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}

MOST_ITERATIONS = 1_000_000
"""Above this a stored text is taken for damaged: it would keep a hash thread busy for seconds."""

LONGEST_BCRYPT = 72
"""Bytes that bcrypt looks at."""

_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-9]|2[0-9]|3[01])\$[./A-Za-z0-9]{53}")


@dataclass(frozen=True, slots=True)
class Salted:
    """What a stored text of the SHA and PBKDF2 schemes holds."""

    iterations: int
    salt: bytes
    digest: bytes


def salted(salt: str, digest: str, iterations: int = 0) -> str:
    """What is stored for a salt and a hexadecimal digest of an older system."""
    encoded = base64.b64encode(salt.encode()).decode()
    return f"{iterations or ''}${encoded}${digest.lower()}"


def is_bcrypt(stored: str) -> bool:
    """True for a text that bcrypt can check."""
    return _BCRYPT.fullmatch(stored) is not None


def bcrypt_input(password: str) -> bytes | None:
    """What plain bcrypt is asked about; ``None`` for a password that it cannot tell from others:
    it looks at 72 bytes, and a NUL counts as the end, at which it begins anew. Whoever had such a
    password gets in by a reset."""
    encoded = password.encode()
    if len(encoded) > LONGEST_BCRYPT or 0 in encoded:
        return None
    return encoded


def matches_bcrypt(password: bytes, stored: str) -> bool:
    """Whether bcrypt takes these bytes for the password of a stored text."""
    return bcrypt.checkpw(password, stored.encode())


def matches_salted(algorithm: str, password: str, stored: str) -> bool:
    """Whether a password belongs to a stored text of one of the salted schemes; never for another
    scheme, or a text that is damaged."""
    parsed = _parsed(stored)
    if parsed is None:
        return False
    computed = _digest(algorithm, password.encode(), parsed)
    return computed is not None and hmac.compare_digest(computed, parsed.digest)


def _digest(algorithm: str, password: bytes, parsed: Salted) -> bytes | None:
    if algorithm in SHA_SCHEMES and parsed.iterations == 0:
        name, salt_first = SHA_SCHEMES[algorithm]
        joined = parsed.salt + password if salt_first else password + parsed.salt
        return hashlib.new(name, joined).digest()
    if algorithm in PBKDF2_SCHEMES and 1 <= parsed.iterations <= MOST_ITERATIONS:
        name, length = PBKDF2_SCHEMES[algorithm], len(parsed.digest)
        if not 16 <= length <= hashlib.new(name).digest_size:
            return None
        return hashlib.pbkdf2_hmac(name, password, parsed.salt, parsed.iterations, length)
    return None


def _parsed(stored: str) -> Salted | None:
    iterations, _, rest = stored.partition("$")
    salt, separator, digest = rest.partition("$")
    if not separator or not re.fullmatch(r"[0-9]{0,7}", iterations):
        return None
    try:
        return Salted(
            int(iterations or "0"), base64.b64decode(salt, validate=True), bytes.fromhex(digest)
        )
    except (binascii.Error, ValueError):
        return None

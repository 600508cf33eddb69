"""Passkeys: how many, for how long a challenge is good, and what a counter tells."""

from datetime import timedelta
from enum import StrEnum


class PasskeyCeremony(StrEnum):
    """What a challenge was made for."""

    REGISTRATION = "REGISTRATION"
    LOG_IN = "LOG_IN"


MOST_PASSKEYS = 20
"""Passkeys of one user."""

PASSKEY_CHALLENGE_LIFE = timedelta(minutes=5)
"""How long a challenge waits for its answer (WebAuthn, section 15.1, advises that for user
verification)."""


def count_went_back(stored: int, told: int) -> bool:
    """Whether the counter of an authenticator speaks of a copy (WebAuthn, section 6.1.1). Many
    passkeys have none and tell 0 for ever."""
    return (stored > 0 or told > 0) and told <= stored

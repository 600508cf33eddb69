"""Second factors: which code is worth what, how many tries there are, and what sessions count for."""

import hmac
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from server.auth.rules.attempts import AttemptLimit


class FactorStatus(StrEnum):
    """State of a second factor."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"


class CodeKind(StrEnum):
    """Kinds of codes that prove a second factor; tries are counted for each."""

    TOTP = "TOTP"
    BACKUP_CODE = "BACKUP_CODE"


STEP_SECONDS = 30
"""Length of a time step (RFC 6238, section 5.2)."""

MOST_FACTORS = 2
"""Active authenticator apps of one user. Each accepts two codes at a time, so that five free tries
meet one with a chance of 2 in 100,000."""

ENROLMENT_LIFE = timedelta(minutes=15)
"""How long a factor waits for its first code."""

MFA_CHALLENGE_LIFE = timedelta(minutes=10)
"""How long a second factor may follow the first one."""

MFA_CHALLENGE_TRIES = 10
"""Tries that one challenge takes, over all kinds of codes."""

MFA_CODE_LIMIT = AttemptLimit(
    free=5,
    first_wait=timedelta(minutes=1),
    longest_wait=timedelta(hours=1),
    forget_after=timedelta(hours=24),
    forget_blocked_after=timedelta(hours=24),
)
"""Failures in a row of an account with one kind of code: 5, then one after waits of 1, 2, 4 ... 60
minutes. That is some 34 guesses a day for somebody who has the password, forgotten only by a right
code or by a day without any; and never a lock that stays."""

MAIL_EVERY = 10
"""After the mail that tells of the first wait, each tenth failure is told of again."""

BACKUP_CODES = 10
"""Backup codes of a set."""

_CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: five bits a letter, none to be mistaken for another."""

_CODE_LENGTH = 10

_MULTI_FACTOR = frozenset({"passkey"})
"""First factors that are two in themselves: the device, and what opens it."""

_SECOND = frozenset({"totp", "backup_code"})


def step_of(moment: datetime) -> int:
    """The time step that an instant lies in."""
    return int(moment.timestamp()) // STEP_SECONDS


def matched_step(
    code: str, now: datetime, last_used_step: int | None, code_at: Callable[[int], str]
) -> int | None:
    """The step that a code belongs to: the present one or the one before it, and later than any
    that was used. ``code_at`` gives the right code of a step; both are compared in constant time."""
    present = step_of(now)
    found = None
    for step in (present - 1, present):
        same = hmac.compare_digest(code.encode(), code_at(step).encode())
        if same and (last_used_step is None or step > last_used_step):
            found = step
    return found


def new_backup_code() -> str:
    """A code of 50 random bits, as it is shown."""
    letters = "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))
    return f"{letters[:5]}-{letters[5:]}"


def fold_backup_code(code: str) -> str:
    """What is compared of a code, however it was typed."""
    letters = "".join(sign for sign in code.upper() if sign.isalnum())
    return letters.replace("O", "0").replace("I", "1").replace("L", "1")


def is_multi_factor(method: str) -> bool:
    """Whether a way in proves two factors by itself, so that no other is asked for."""
    return method in _MULTI_FACTOR


def assurance_of(methods: Sequence[str]) -> int:
    """The assurance level of a session: 2 when two factors were proven, otherwise 1. A second
    factor is only ever taken after a first one."""
    second = any(is_multi_factor(method) or method in _SECOND for method in methods)
    return 2 if second else 1


def tells_by_mail(failures: int) -> bool:
    """Whether the failure with this number, counted from 1, is one that the user is told of."""
    over = failures - MFA_CODE_LIMIT.free
    return over >= 0 and over % MAIL_EVERY == 0

"""Accounts and sign-ups: their states, and how what identifies them is folded."""

import re
import unicodedata
from datetime import datetime, timedelta
from enum import StrEnum


class UserStatus(StrEnum):
    """State of an account."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    BANNED = "BANNED"
    DELETED = "DELETED"


class RegistrationStatus(StrEnum):
    """State of a sign-up; ``SUPERSEDED`` once another sign-up of the address was proven."""

    PENDING = "PENDING"
    ACTIVATED = "ACTIVATED"
    SUPERSEDED = "SUPERSEDED"
    REJECTED = "REJECTED"


PERSONAS = ("creator", "editor", "brand", "student", "teacher")
"""The roles that a person can choose on sign-up."""


READ_AUDIT = "auth.audit.read"
"""The permission to read what others did."""

REVOKE_SESSIONS = "auth.sessions.revoke"
"""The permission to end the sessions of others."""


REGISTRATION_LIFE = timedelta(days=7)
"""How long an unproven sign-up waits; a new token can be asked for meanwhile."""


VERIFICATION_LIFE = timedelta(hours=24)
"""How long a mailed verification token can be used."""


RESET_LIFE = timedelta(hours=1)
"""How long a mailed token for a new password can be used."""


SHORTEST_USERNAME = 3

_NOT_IN_USERNAMES = re.compile(r"[^a-z0-9._-]")


MOST_LISTED_REGISTRATIONS = 3
"""Waiting sign-ups of one address that a resent mail carries tokens for, newest first."""


def plain_text(text: str) -> str:
    """A name as it is kept: without control characters, which have no business in one and which
    PostgreSQL refuses in part."""
    cleaned = "".join(" " if unicodedata.category(sign) == "Cc" else sign for sign in text)
    return cleaned.strip()


def fold_email(email: str) -> str:
    """The form in which addresses are stored and compared."""
    return unicodedata.normalize("NFC", plain_text(email)).lower()


def fold_username(username: str) -> str:
    """The form in which user names are stored and compared."""
    return unicodedata.normalize("NFC", plain_text(username)).lower()


def username_from(name: str) -> str:
    """A user name made of what somebody is called, for those who were not asked for one."""
    words = unicodedata.normalize("NFKD", name).casefold().split()
    plain = (_NOT_IN_USERNAMES.sub("", word) for word in words)
    stem = ".".join(word for word in plain if word)[:50].strip("._-")
    return stem if len(stem) >= SHORTEST_USERNAME else "user"


def username_variant(username: str, account_id: str) -> str:
    """Another user name in place of a taken one: told apart by the random end of the account's id."""
    return f"{username[:41].rstrip('._-')}-{account_id[-8:]}"


def name_for(display_name: str, email: str) -> str:
    """What others see of somebody who signs up: the part before the @ unless a name was given."""
    return plain_text(display_name) or email.partition("@")[0][:100]


def may_act(status: str, suspended_until: datetime | None, now: datetime) -> bool:
    """True when an account may log in and make calls; a suspension ends by itself."""
    if status == UserStatus.SUSPENDED:
        return suspended_until is not None and suspended_until <= now
    return status == UserStatus.ACTIVE

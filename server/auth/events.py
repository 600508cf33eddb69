"""What auth tells the other modules, after the commit of the change that it tells of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignedUp:
    """An account was made: by a verified sign-up, or at once where AUTO_ACTIVATE is on."""

    user_id: str
    persona: str
    language: str


@dataclass(frozen=True, slots=True)
class EmailVerified:
    """The owner of the address proved to own it."""

    user_id: str
    email: str


@dataclass(frozen=True, slots=True)
class PhoneVerified:
    """Somebody proved to own the number, which is that of the account."""

    user_id: str
    phone: str


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A session was opened."""

    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class SessionRevoked:
    """A session ended before its time; ``reason`` is a value of ``rules.RevokeReason``."""

    session_id: str
    user_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PrivilegeChanged:
    """A session was raised by a fresh factor, or lowered; its streams go on."""

    session_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class UserChanged:
    """Something that GetMe shows has changed."""

    user_id: str


@dataclass(frozen=True, slots=True)
class UserErasing:
    """An account is deleted for good in this unit. Its rows, and what hangs on them, are about to go: what
    others have to do before that is theirs to do now."""

    user_id: str


@dataclass(frozen=True, slots=True)
class RightsChanged:
    """The roles, permissions or status of a user changed: what was decided for them is void.

    ``session_ids`` are their open sessions, whose streams end, to be opened under the new rights.
    """

    user_id: str
    session_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserPurged:
    """An account is gone for good, with everything of auth that hung on it."""

    user_id: str


@dataclass(frozen=True, slots=True)
class ApiKeyRevoked:
    """A key ended before its time."""

    api_key_id: str
    user_id: str

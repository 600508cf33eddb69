"""What a provider vouches for, and what is kept of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from server.auth.rules.accounts import fold_email, plain_text

LONGEST_SUBJECT = 255
"""Characters of a subject (OpenID Connect Core, section 2)."""

_LONGEST_EMAIL = 254
_LONGEST_NAME = 100
_LONGEST_URL = 2048
_LONGEST_DETAIL = 300
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_URL = re.compile(r"https?://[^\s]+")


class IdentityType(StrEnum):
    """Protocol behind an identity."""

    OAUTH = "oauth"
    OIDC = "oidc"
    EMAIL = "email"
    WEBAUTHN = "webauthn"


@dataclass(frozen=True, slots=True)
class TokenSet:
    """What a provider issued. None of it is ever shown or logged."""

    access_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    id_token: str = field(default="", repr=False)
    token_type: str = ""
    scope: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProvenIdentity:
    """An identity that a provider has vouched for in an answer that was checked."""

    provider: str
    type: IdentityType
    issuer: str
    subject: str
    email: str
    """Folded; empty where the provider told none that can be one."""
    email_verified: bool
    name: str
    avatar_url: str
    profile: Mapping[str, Any]
    tokens: TokenSet
    session_state: str = field(default="", repr=False)
    """State of the session at the provider, where the answer named it."""


def told_email(value: object) -> str:
    """The address of a profile as addresses are compared here; empty for what is none."""
    if not isinstance(value, str):
        return ""
    folded = fold_email(value)
    return folded if len(folded) <= _LONGEST_EMAIL and _EMAIL.fullmatch(folded) else ""


def told_name(*values: object) -> str:
    """The first of some names that is one, cut to what a name may be here."""
    for value in values:
        if isinstance(value, str) and (name := plain_text(value)[:_LONGEST_NAME].strip()):
            return name
    return ""


def told_url(value: object) -> str:
    """The address of a picture; empty for what is none."""
    if not isinstance(value, str) or len(value) > _LONGEST_URL:
        return ""
    return value if _URL.fullmatch(value) and "\0" not in value else ""


def told_details(profile: Mapping[str, Any], *names: str) -> dict[str, str | bool]:
    """The named short values of a profile, for the record."""
    kept: dict[str, str | bool] = {}
    for name in names:
        value = profile.get(name)
        if isinstance(value, bool):
            kept[name] = value
        elif isinstance(value, str) and value:
            kept[name] = plain_text(value)[:_LONGEST_DETAIL]
    return kept

"""Keys of services: their form, how long they live, and what they permit."""

import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta

from server.auth.errors import ApiKeyExpiryInvalid, ScopeBeyondCaller

API_KEY_PREFIX = "grk_"
"""Starts every key, so that a leaked one can be recognised for what it is."""

API_KEY_LIFE = timedelta(days=90)
"""How long a key lives whose maker does not say."""

LONGEST_API_KEY_LIFE = timedelta(days=366)

MOST_API_KEYS = 50
"""Keys of one user that can be used at a time."""

WEB_STORAGE = "auth.web_storage"
INTROSPECT_TOKENS = "auth.tokens.introspect"

_PUBLIC_LENGTH = len(API_KEY_PREFIX) + 16
_SHAPE = re.compile(r"grk_[0-9a-f]{16}_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
"""The prefix, 64 random bits that are no secret, and 256 that are, in base64url."""


def new_api_key() -> str:
    """A key that nobody has."""
    return f"{API_KEY_PREFIX}{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}"


def is_api_key(token: str) -> bool:
    """True when a bearer says that it is a key; whether it has the form of one is not looked at."""
    return token.startswith(API_KEY_PREFIX)


def public_part(key: str) -> str | None:
    """What a key is found by; ``None`` for what has not the form of one."""
    return key[:_PUBLIC_LENGTH] if _SHAPE.fullmatch(key) else None


def api_key_end(wanted: datetime | None, now: datetime) -> datetime:
    """When a new key ends; ``ApiKeyExpiryInvalid`` for a wish that cannot be granted."""
    if wanted is None:
        return now + API_KEY_LIFE
    if not now < wanted <= now + LONGEST_API_KEY_LIFE:
        raise ApiKeyExpiryInvalid(field="expire_time")
    return wanted


def check_scopes(scopes: Collection[str], held: Collection[str]) -> None:
    """Raises ``ScopeBeyondCaller`` for a scope that is not among the permissions held."""
    for number, scope in enumerate(scopes):
        if not scopes_left([scope], held):
            raise ScopeBeyondCaller(field=f"scopes[{number}]", scope=scope)


def scopes_left(scopes: Collection[str], held: Collection[str]) -> frozenset[str]:
    """What a key permits: those of its scopes that its owner holds now."""
    if "*" in held:
        return frozenset(scopes)
    return frozenset(scopes) & frozenset(held)

"""The authorization code grant (RFC 6749, section 4.1), the same for every provider."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from server.auth.errors import OAuthProofInvalid, ProviderUnavailable
from server.auth.gateways.fetching import ProviderHttp
from server.auth.gateways.provider_settings import ProviderSettings
from server.auth.provider_port import Expectation, Opening
from server.auth.rules import TokenSet

logger = logging.getLogger(__name__)

_LONGEST_TOKEN = 16_384
_LONGEST_WORDS = 4096
_LONGEST_LIFE = 10 * 366 * 86_400


def authorization_url(
    endpoint: str, settings: ProviderSettings, opening: Opening, **extra: str
) -> str:
    """The provider's page with our request (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""
    query = {
        "response_type": "code",
        "client_id": settings.client_id,
        "redirect_uri": opening.redirect_uri,
        "scope": settings.scopes,
        "state": opening.state,
        "code_challenge": opening.challenge,
        "code_challenge_method": "S256",
        **extra,
        **settings.extra_query,
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"


async def trade_code(
    http: ProviderHttp,
    endpoint: str,
    settings: ProviderSettings,
    code: str,
    expected: Expectation,
    now: datetime,
) -> TokenSet:
    """The tokens for a code. ``OAuthProofInvalid`` when the provider does not take the code,
    ``ProviderUnavailable`` when it does not take us, which is our settings' fault."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": expected.redirect_uri,
        "client_id": settings.client_id,
        "client_secret": settings.client_secret,
        "code_verifier": expected.verifier,
    }
    reply = await http.post(endpoint, form, within=settings.origins)
    content = reply.content if isinstance(reply.content, Mapping) else {}
    # GitHub tells errors with status 200; Facebook's are objects.
    if reply.status != 200 or "error" in content:
        raise _refusal(settings, reply.status, content.get("error"))
    tokens = _tokens_of(content, now)
    if tokens is None:
        logger.warning("identity provider %s: an answer without a token", settings.name)
        raise ProviderUnavailable()
    return tokens


_OUR_FAULT = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "incorrect_client_credentials",
        "redirect_uri_mismatch",
    }
)


def _refusal(
    settings: ProviderSettings, status: int, error: object
) -> OAuthProofInvalid | ProviderUnavailable:
    if status == 401 or (isinstance(error, str) and error in _OUR_FAULT):
        logger.error("identity provider %s does not accept our client settings", settings.name)
        return ProviderUnavailable()
    return OAuthProofInvalid(field="code")


def _tokens_of(content: Mapping[str, Any], now: datetime) -> TokenSet | None:
    access = content.get("access_token")
    kind = content.get("token_type", "bearer")
    if not isinstance(access, str) or not 0 < len(access) <= _LONGEST_TOKEN:
        return None
    if not access.isascii() or not access.isprintable():
        return None
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    return TokenSet(
        access_token=access,
        refresh_token=_text(content.get("refresh_token"), _LONGEST_TOKEN),
        id_token=_text(content.get("id_token"), _LONGEST_TOKEN),
        token_type=kind,
        scope=_text(content.get("scope"), _LONGEST_WORDS),
        expires_at=_expiry(content.get("expires_in"), now),
    )


def _text(value: object, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        return ""
    return value


def _expiry(seconds: object, now: datetime) -> datetime | None:
    """When so many seconds are over; providers write them as a number or as a text."""
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds[:12])
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return now + timedelta(seconds=seconds) if 0 < seconds <= _LONGEST_LIFE else None

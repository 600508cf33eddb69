"""Providers that speak OAuth 2.0 and tell who somebody is by an API of their own: Discord, GitHub,
Facebook. Each is a row of addresses and a function that reads its profile."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.auth.errors import OAuthProofInvalid, ProviderUnavailable
from server.auth.gateways.code_exchange import authorization_url, trade_code
from server.auth.gateways.fetching import ProviderHttp
from server.auth.gateways.provider_settings import ProviderSettings
from server.auth.provider_port import Answer, Expectation, Opening
from server.auth.rules import (
    LONGEST_SUBJECT,
    ProvenIdentity,
    told_details,
    told_email,
    told_name,
    told_url,
)
from server.core.clock import Clock

logger = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[Any]]
"""GETs JSON from the provider with the user's token; ``ProviderUnavailable`` when that fails."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a provider's API says of a user."""

    subject: object
    email: object
    email_verified: bool
    name: str
    avatar_url: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a provider is asked."""

    authorization: str
    token: str
    profile: str


async def _discord_profile(fetch: Fetch, at: Addresses) -> Profile:
    """https://discord.com/developers/docs/resources/user#user-object. Anybody can put any address
    on their account there: only ``verified`` says that it is theirs."""
    user = await fetch(at.profile)
    picture = user.get("avatar")
    avatar = f"https://cdn.discordapp.com/avatars/{user.get('id')}/{picture}.png" if picture else ""
    return Profile(
        subject=user.get("id"),
        email=user.get("email"),
        email_verified=user.get("verified") is True,
        name=told_name(user.get("global_name"), user.get("username")),
        avatar_url=told_url(avatar),
        details=told_details(user, "username", "global_name", "avatar", "locale", "verified"),
    )


async def _github_profile(fetch: Fetch, at: Addresses) -> Profile:
    """https://docs.github.com/rest/users. The address of the profile is whatever the user shows;
    the verified one is in a list of its own."""
    user = await fetch(at.profile)
    listed = await fetch(f"{at.profile}/emails")
    proven = [
        entry.get("email")
        for entry in listed
        if isinstance(entry, Mapping) and entry.get("primary") is True
        if entry.get("verified") is True
    ]
    subject = user.get("id")
    return Profile(
        subject=str(subject) if type(subject) is int else None,
        email=proven[0] if proven else None,
        email_verified=bool(proven),
        name=told_name(user.get("name"), user.get("login")),
        avatar_url=told_url(user.get("avatar_url")),
        details=told_details(user, "login", "name"),
    )


async def _facebook_profile(fetch: Fetch, at: Addresses) -> Profile:
    """https://developers.facebook.com/docs/graph-api/reference/user. It does not say whether an
    address is verified, so none counts as that."""
    user = await fetch(f"{at.profile}?fields=id,name,email")
    return Profile(
        subject=user.get("id"),
        email=user.get("email"),
        email_verified=False,
        name=told_name(user.get("name")),
        avatar_url="",
        details=told_details(user, "name"),
    )


def addresses_of(settings: ProviderSettings) -> Addresses:
    """Where a provider is asked; with another issuer than the usual one, below that issuer."""
    issuer = settings.issuer
    if settings.name == "discord":
        return Addresses(
            f"{issuer}/oauth2/authorize",
            f"{issuer}/api/oauth2/token",
            f"{issuer}/api/v10/users/@me",
        )
    if settings.name == "github":
        api = "https://api.github.com" if settings.is_usual else f"{issuer}/api/v3"
        return Addresses(
            f"{issuer}/login/oauth/authorize", f"{issuer}/login/oauth/access_token", f"{api}/user"
        )
    graph = "https://graph.facebook.com" if settings.is_usual else issuer
    return Addresses(
        f"{issuer}/v21.0/dialog/oauth", f"{graph}/v21.0/oauth/access_token", f"{graph}/v21.0/me"
    )


_PROFILES = {
    "discord": _discord_profile,
    "github": _github_profile,
    "facebook": _facebook_profile,
}


class OAuth2Provider:
    """One provider."""

    def __init__(self, settings: ProviderSettings, http: ProviderHttp, clock: Clock) -> None:
        self.name = settings.name
        self.issuer = settings.issuer
        self._settings = settings
        self._http = http
        self._clock = clock
        self._addresses = addresses_of(settings)

    async def authorization_url(self, opening: Opening) -> str:
        """The provider's page with our request."""
        return authorization_url(self._addresses.authorization, self._settings, opening)

    async def prove(self, answer: Answer, expected: Expectation) -> ProvenIdentity:
        """Trades a code and asks the provider whose it was. An ID token proves nothing here."""
        if answer.kind != "code":
            raise OAuthProofInvalid(field=answer.kind)
        if answer.issuer and answer.issuer != self.issuer:
            raise OAuthProofInvalid(field="iss")
        tokens = await trade_code(
            self._http,
            self._addresses.token,
            self._settings,
            answer.value,
            expected,
            self._clock.now(),
        )

        async def fetch(url: str) -> Any:
            reply = await self._http.get(
                url, within=self._settings.origins, token=tokens.access_token
            )
            if reply.status != 200 or not isinstance(reply.content, dict | list):
                raise self._useless(f"status {reply.status}")
            return reply.content

        try:
            profile = await _PROFILES[self.name](fetch, self._addresses)
        except AttributeError:
            raise self._useless("a profile of another form") from None
        subject = profile.subject
        if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT:
            raise self._useless("no id")
        email = told_email(profile.email)
        return ProvenIdentity(
            provider=self.name,
            type=self._settings.type,
            issuer=self.issuer,
            subject=subject,
            email=email,
            email_verified=bool(email) and profile.email_verified,
            name=profile.name,
            avatar_url=profile.avatar_url,
            profile=profile.details,
            tokens=tokens,
        )

    def _useless(self, what: str) -> ProviderUnavailable:
        logger.warning("identity provider %s: %s", self.name, what)
        return ProviderUnavailable()

"""The port to identity providers, as the use cases and servicers of auth see it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from server.auth.errors import ProviderNotConfigured
from server.auth.rules import ProvenIdentity


@dataclass(frozen=True, slots=True)
class Opening:
    """What the user is sent to the provider with."""

    redirect_uri: str
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    challenge: str = field(repr=False)
    """The PKCE challenge, S256 (RFC 7636)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the user came back with; ``kind`` is ``code``, ``id_token`` or ``error``."""

    kind: str
    value: str = field(repr=False)
    state: str = field(repr=False)
    binding_secret: str = field(repr=False)
    issuer: str = ""
    session_state: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the answer is held against."""

    redirect_uri: str
    verifier: str = field(repr=False)
    nonce_hash: str = field(repr=False)


class IdentityProvider(Protocol):
    """Somebody who can say who somebody is."""

    @property
    def name(self) -> str:
        """As requests name it, such as ``google``."""
        ...

    @property
    def issuer(self) -> str:
        """Who speaks: the first half of every identity."""
        ...

    async def authorization_url(self, opening: Opening) -> str:
        """Where to send the user; ``ProviderUnavailable`` when that cannot be found out."""
        ...

    async def prove(self, answer: Answer, expected: Expectation) -> ProvenIdentity:
        """Whom the answer is about. ``OAuthProofInvalid`` when it proves nobody,
        ``ProviderUnavailable`` when the provider does not say."""
        ...


class Providers:
    """The providers that the settings name."""

    def __init__(
        self,
        providers: dict[str, IdentityProvider],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._providers = providers
        self._close = close

    def get(self, name: str) -> IdentityProvider:
        """The provider; ``ProviderNotConfigured`` for one without settings."""
        found = self._providers.get(name)
        if found is None:
            raise ProviderNotConfigured(field="provider", provider=name)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return tuple(self._providers)

    async def close(self) -> None:
        """Lets go of their connections."""
        if self._close is not None:
            await self._close()

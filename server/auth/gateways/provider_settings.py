"""The providers as data: what is known of each, filled in from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.auth.gateways.fetching import origin_of
from server.auth.rules import IdentityType
from server.core.config import Settings


@dataclass(frozen=True, slots=True)
class Known:
    """What is the same for every client of a provider.

    ``origins`` are those that its own documents name beside the issuer's; they hold only as long as
    the issuer is the usual one.
    """

    type: IdentityType
    issuer: str
    origins: frozenset[str] = frozenset()
    extra_query: Mapping[str, str] = field(default_factory=dict)
    """What its authorisation request needs beside the standard's."""
    textual_booleans: bool = False
    """Whether its ID tokens say ``"true"`` for ``true``."""


KNOWN: Mapping[str, Known] = {
    "google": Known(
        IdentityType.OIDC,
        "https://accounts.google.com",
        frozenset(
            {
                "https://oauth2.googleapis.com:443",
                "https://www.googleapis.com:443",
                "https://openidconnect.googleapis.com:443",
            }
        ),
        # Without it there is no refresh token.
        extra_query={"access_type": "offline"},
    ),
    "apple": Known(IdentityType.OIDC, "https://appleid.apple.com", textual_booleans=True),
    "discord": Known(IdentityType.OAUTH, "https://discord.com"),
    "github": Known(
        IdentityType.OAUTH, "https://github.com", frozenset({"https://api.github.com:443"})
    ),
    "facebook": Known(
        IdentityType.OAUTH,
        "https://www.facebook.com",
        frozenset({"https://graph.facebook.com:443"}),
    ),
}


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider, ready to be asked."""

    name: str
    type: IdentityType
    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    native_client_ids: frozenset[str]
    origins: frozenset[str]
    """Where requests may go, and nowhere else."""
    extra_query: Mapping[str, str]
    textual_booleans: bool

    @property
    def is_usual(self) -> bool:
        """Whether the issuer is the public one, not a test's or an organisation's own."""
        return self.issuer == KNOWN[self.name].issuer


def provider_settings(settings: Settings) -> list[ProviderSettings]:
    """The providers that have a client id."""
    return [
        _filled_in(name, known, settings)
        for name, known in KNOWN.items()
        if getattr(settings, f"oauth_{name}_client_id")
    ]


def _filled_in(name: str, known: Known, settings: Settings) -> ProviderSettings:
    row = f"oauth_{name}_"
    issuer: str = getattr(settings, row + "issuer")
    return ProviderSettings(
        name=name,
        type=known.type,
        issuer=issuer,
        client_id=getattr(settings, row + "client_id"),
        client_secret=getattr(settings, row + "client_secret"),
        scopes=getattr(settings, row + "scopes"),
        native_client_ids=frozenset(getattr(settings, row + "native_client_ids", ())),
        origins=_origins_of(issuer, known),
        extra_query=known.extra_query,
        textual_booleans=known.textual_booleans,
    )


def _origins_of(issuer: str, known: Known) -> frozenset[str]:
    own = frozenset({origin_of(issuer)})
    return own | known.origins if issuer == known.issuer else own

"""Opens the providers that the settings name."""

from server.auth.gateways.fetching import ProviderHttp
from server.auth.gateways.oauth2 import OAuth2Provider
from server.auth.gateways.oidc import OidcProvider
from server.auth.gateways.provider_settings import provider_settings
from server.auth.provider_port import IdentityProvider, Providers
from server.auth.rules import IdentityType
from server.core.clock import Clock
from server.core.config import Settings


def open_providers(settings: Settings, clock: Clock) -> Providers:
    """Every provider with a client id, by name. Without any there is nothing to fetch with, which
    spares the server the reading of all certificates."""
    configured = provider_settings(settings)
    if not configured:
        return Providers({})
    http = ProviderHttp(settings.oauth_timeout_seconds)
    opened: dict[str, IdentityProvider] = {}
    for found in configured:
        kind = OidcProvider if found.type is IdentityType.OIDC else OAuth2Provider
        opened[found.name] = kind(found, http, clock)
    return Providers(opened, close=http.close)

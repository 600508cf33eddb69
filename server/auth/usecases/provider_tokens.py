"""Identities as they are kept: profile and tokens, the tokens sealed for their row and their user."""

from dataclasses import dataclass, field
from datetime import datetime

from server.auth.models import Identity
from server.auth.rules import ProvenIdentity
from server.core.ids import new_id
from server.core.sealing import Keyring
from server.core.unit import Unit

SEALED = (
    "refresh_token",
    "access_token",
    "id_token",
    "oauth_token_secret",
    "oauth_token",
)
"""Tokens of an identity; each lies in the column of its name with ``_enc`` behind it."""


@dataclass(frozen=True, slots=True)
class ProviderTokens:
    """The tokens of an identity, opened. Not to be logged, stored or sent to a client."""

    identity_id: str
    provider_account_id: str
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    token_type: str
    scopes: frozenset[str]
    expires_at: datetime | None
    """When the access token ends; ``None`` where the provider did not say."""


def keep_identity(
    unit: Unit, user_id: str, proven: ProvenIdentity, *, keyring: Keyring
) -> Identity:
    """Links an identity to a user; an ``IntegrityError`` when it is linked already."""
    identity = Identity(
        id=new_id(),
        user=user_id,
        type=proven.type,
        provider=proven.provider,
        provider_account_id=proven.subject,
        issuer=proven.issuer,
    )
    _take_over(unit, identity, proven, keyring)
    identity.save(force_insert=True)
    return identity


def renew_identity(
    unit: Unit, identity: Identity, proven: ProvenIdentity, *, keyring: Keyring
) -> None:
    """Keeps what the provider says now. What it left out this time stays: a refresh token comes
    with the first consent only."""
    _take_over(unit, identity, proven, keyring)
    identity.save()


def seal_token(identity: Identity, name: str, token: str, *, keyring: Keyring) -> None:
    """Puts a token in its column, to be opened there and nowhere else; ``name`` is one of
    ``SEALED``, an empty token clears it."""
    sealed = keyring.seal(token.encode(), _place_of(identity, name)) if token else None
    setattr(identity, f"{name}_enc", sealed)


def open_token(identity: Identity, name: str, *, keyring: Keyring) -> str:
    """The token that ``seal_token`` put there; empty without one. ``SealBroken`` for one that was
    changed, or moved here from another row."""
    sealed: str | None = getattr(identity, f"{name}_enc")
    return "" if sealed is None else keyring.open(sealed, _place_of(identity, name)).decode()


def provider_tokens(
    unit: Unit, user_id: str, provider: str, *, keyring: Keyring
) -> ProviderTokens | None:
    """The tokens of a user at a provider, for modules that act there for them: those of the identity
    that was used last. ``None`` without one."""
    identity = (
        Identity.for_user(user_id)
        .where(Identity.provider == provider)
        .order_by(Identity.last_used_at.desc(), Identity.id.desc())
        .first()
    )
    if identity is None:
        return None
    return ProviderTokens(
        identity_id=identity.id,
        provider_account_id=identity.provider_account_id,
        access_token=open_token(identity, "access_token", keyring=keyring),
        refresh_token=open_token(identity, "refresh_token", keyring=keyring),
        id_token=open_token(identity, "id_token", keyring=keyring),
        token_type=identity.token_type or "",
        scopes=frozenset((identity.scope or "").replace(",", " ").split()),
        expires_at=identity.expires_at,
    )


def _take_over(unit: Unit, identity: Identity, proven: ProvenIdentity, keyring: Keyring) -> None:
    tokens = proven.tokens
    for name in ("access_token", "refresh_token", "id_token"):
        token: str = getattr(tokens, name)
        if token:
            seal_token(identity, name, token, keyring=keyring)
    if tokens.access_token:
        identity.expires_at = tokens.expires_at
        identity.token_type = tokens.token_type
        identity.scope = tokens.scope or identity.scope
    identity.session_state = proven.session_state or identity.session_state
    identity.profile = {
        **proven.profile,
        "email": proven.email,
        "email_verified": proven.email_verified,
        "name": proven.name,
        "avatar_url": proven.avatar_url,
    }
    identity.last_used_at = unit.now


def _place_of(identity: Identity, name: str) -> str:
    return f"identities|{name}_enc|{identity.id}|{identity.user_id}"

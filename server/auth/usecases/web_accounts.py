"""Providers' accounts that web frameworks link (the model Account of Auth.js)."""

from dataclasses import dataclass, field
from datetime import datetime

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import IdentityTaken
from server.auth.models import Identity, User
from server.auth.provider_port import Providers
from server.auth.usecases.provider_tokens import SEALED, open_token, seal_token
from server.auth.usecases.second_factors import locked_user
from server.auth.usecases.web_users import WEB, check_unprotected, user_in_use
from server.core.ids import new_id
from server.core.sealing import Keyring
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class WebAccountDesk:
    """What these use cases need beside the unit."""

    keyring: Keyring
    providers: Providers

    def issuer_of(self, provider: str) -> str:
        """Who speaks for a provider: an account that a framework links at a provider that this server
        knows is the one that people sign in with here."""
        if provider not in self.providers.names:
            return ""
        return self.providers.get(provider).issuer


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """Every column that Auth.js has of an account; ``tokens`` by the names of ``SEALED``."""

    user_id: str
    type: str
    provider: str
    provider_account_id: str
    tokens: dict[str, str] = field(repr=False)
    expires_at: datetime | None
    token_type: str
    scope: str
    session_state: str


def link_web_account(unit: Unit, account: LinkedAccount, *, desk: WebAccountDesk) -> None:
    """Links an account to a user, or gives the link that there is its new tokens."""
    user = user_in_use(unit, account.user_id)
    # Also where the link exists: new tokens would be used in the name of a member of staff.
    check_unprotected(user)
    found = Identity.at_provider(account.provider, account.provider_account_id).get_or_none()
    if found is not None and found.user_id != user.id:
        raise IdentityTaken
    if found is not None:
        _take_over(unit, found, account, desk.keyring)
        found.save()
    else:
        found = _link(unit, user, account, desk)
    unit.audit(actions.IDENTITY_LINK, resource=f"identities/{found.id}", by=WEB, owner=user.id)


def _link(unit: Unit, user: User, account: LinkedAccount, desk: WebAccountDesk) -> Identity:
    identity = Identity(
        id=new_id(),
        user=user.id,
        type=account.type,
        provider=account.provider,
        provider_account_id=account.provider_account_id,
        issuer=desk.issuer_of(account.provider),
    )
    _take_over(unit, identity, account, desk.keyring)
    try:
        with unit.savepoint():
            identity.save(force_insert=True)
    except peewee.IntegrityError:
        # Somebody else linked it this moment.
        raise IdentityTaken from None
    return identity


def _take_over(unit: Unit, identity: Identity, account: LinkedAccount, keyring: Keyring) -> None:
    for name in SEALED:
        seal_token(identity, name, account.tokens[name], keyring=keyring)
    identity.expires_at = account.expires_at
    identity.token_type = account.token_type or None
    identity.scope = account.scope or None
    identity.session_state = account.session_state or None
    identity.last_used_at = unit.now


def find_web_account(
    unit: Unit, provider: str, provider_account_id: str, *, keyring: Keyring
) -> LinkedAccount | None:
    """A linked account with its tokens; that they were handed out is on record."""
    found = Identity.at_provider(provider, provider_account_id).get_or_none()
    if found is None:
        unit.audit(actions.WEB_ACCOUNT_READ, result="NOT_FOUND", by=provider)
        return None
    unit.audit(actions.WEB_ACCOUNT_READ, resource=f"identities/{found.id}", by=provider)
    return LinkedAccount(
        user_id=found.user_id,
        type=found.type,
        provider=found.provider,
        provider_account_id=found.provider_account_id,
        tokens={name: open_token(found, name, keyring=keyring) for name in SEALED},
        expires_at=found.expires_at,
        token_type=found.token_type or "",
        scope=found.scope or "",
        session_state=found.session_state or "",
    )


def unlink_web_account(unit: Unit, provider: str, provider_account_id: str) -> bool:
    """Takes a link away; False without one. That another way in is left is the framework's to see
    to: it may sign its users in by mail."""
    account = Identity.at_provider(provider, provider_account_id)
    found = account.get_or_none()
    user = None if found is None else locked_user(found.user_id)
    found = account.get_or_none()
    if user is None or found is None or found.user_id != user.id:
        return False
    check_unprotected(user)
    found.delete_instance()
    unit.audit(actions.IDENTITY_UNLINK, resource=f"identities/{found.id}", by=WEB, owner=user.id)
    return True

"""Authenticators of web frameworks' users (the model Authenticator of Auth.js)."""

from dataclasses import dataclass
from typing import Any

import peewee

from server.auth import audit_actions as actions
from server.auth.errors import WebAuthenticatorExists
from server.auth.models import WebAuthenticator
from server.auth.usecases.web_users import check_unprotected, user_in_use
from server.core.pagination import Order, Page, Pages, paginate
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class NewAuthenticator:
    """What a framework says of an authenticator."""

    credential_id: str
    user_id: str
    provider_account_id: str
    credential_public_key: str
    counter: int
    credential_device_type: str
    credential_backed_up: bool
    transports: str


def create_web_authenticator(unit: Unit, wanted: NewAuthenticator) -> WebAuthenticator:
    """Keeps an authenticator; a repeat finds the one that is there, with its counter."""
    user = user_in_use(unit, wanted.user_id)
    check_unprotected(user)
    columns: dict[str, Any] = {name: getattr(wanted, name) for name in wanted.__slots__}
    row = WebAuthenticator(user=columns.pop("user_id"), **columns)
    try:
        with unit.savepoint():
            row.save(force_insert=True)
    except peewee.IntegrityError:
        return _same(wanted)
    unit.audit(actions.WEB_AUTHENTICATOR_ADD, resource=f"webAuthenticators/{row.id}", owner=user.id)
    return row


def _same(wanted: NewAuthenticator) -> WebAuthenticator:
    found = find_web_authenticator(wanted.credential_id)
    if (
        found is None
        or found.user_id != wanted.user_id
        or found.credential_public_key != wanted.credential_public_key
    ):
        raise WebAuthenticatorExists
    return found


def find_web_authenticator(credential_id: str) -> WebAuthenticator | None:
    """The authenticator of a credential."""
    found: WebAuthenticator | None = WebAuthenticator.get_or_none(
        WebAuthenticator.credential_id == credential_id
    )
    return found


def list_web_authenticators(
    unit: Unit, pages: Pages, user_id: str, *, page_size: int, page_token: str
) -> Page[WebAuthenticator]:
    """A user's authenticators, oldest first."""
    return paginate(
        pages,
        WebAuthenticator.for_user(user_id),
        order=[Order(WebAuthenticator.id)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "web_authenticators", "user": user_id, "caller": unit.caller.user_id},
    )


def set_web_authenticator_counter(
    unit: Unit, credential_id: str, counter: int
) -> WebAuthenticator | None:
    """Raises a counter; of two calls at once the higher figure stays."""
    WebAuthenticator.update(counter=counter, update_time=unit.now).where(
        (WebAuthenticator.credential_id == credential_id) & (WebAuthenticator.counter < counter)
    ).execute()
    return find_web_authenticator(credential_id)

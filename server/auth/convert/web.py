"""What web frameworks keep here."""

from collections.abc import Mapping
from typing import Any

from greenroom.auth.v1 import (
    user_pb2,
    web_account_service_pb2,
    web_authenticator_service_pb2,
    web_session_service_pb2,
    web_user_pb2,
    web_user_service_pb2,
)
from server.auth.convert.times import optional_time_from_pb, optional_time_to_pb, time_to_pb
from server.auth.models import Session, WebAuthenticator
from server.auth.usecases.web_accounts import LinkedAccount
from server.auth.usecases.web_authenticators import NewAuthenticator
from server.auth.usecases.web_sessions import WebSessionView
from server.auth.usecases.web_users import WEB_FIELDS, NewWebUser, WebUserView
from server.core.pagination import Page
from server.wire.masks import checked_paths


def web_user_to_pb(view: WebUserView | None) -> web_user_pb2.WebUser | None:
    """An account, or nothing."""
    if view is None:
        return None
    user = view.user
    return web_user_pb2.WebUser(
        id=user.id,
        email=user.email or "",
        email_verified_time=optional_time_to_pb(user.email_verified_at),
        display_name=user.display_name,
        avatar_url=user.avatar_url or "",
        status=user_pb2.UserStatus.Value(f"USER_STATUS_{view.status}"),
        create_time=time_to_pb(user.create_time),
        etag=view.etag,
    )


def new_web_user_from_pb(request: web_user_service_pb2.CreateWebUserRequest) -> NewWebUser:
    """What a framework says of an account that it makes."""
    return NewWebUser(
        email=request.email,
        email_verified_at=optional_time_from_pb(request, "email_verified_time"),
        display_name=request.display_name,
        avatar_url=request.avatar_url,
    )


def web_changes_from_pb(request: web_user_service_pb2.UpdateWebUserRequest) -> Mapping[str, Any]:
    """The fields that the mask names, with their new values."""
    paths = checked_paths(request.update_mask, WEB_FIELDS)
    changes: dict[str, Any] = {path: getattr(request.user, path) for path in paths}
    if "email_verified_time" in changes:
        changes["email_verified_time"] = optional_time_from_pb(request.user, "email_verified_time")
    return changes


def account_from_pb(account: web_account_service_pb2.WebAccount) -> LinkedAccount:
    """Every column of an account."""
    return LinkedAccount(
        user_id=account.user_id,
        type=account.type,
        provider=account.provider,
        provider_account_id=account.provider_account_id,
        tokens={
            "refresh_token": account.refresh_token,
            "access_token": account.access_token,
            "id_token": account.id_token,
            "oauth_token": account.oauth_token,
            "oauth_token_secret": account.oauth_token_secret,
        },
        expires_at=optional_time_from_pb(account, "access_expire_time"),
        token_type=account.token_type,
        scope=account.scope,
        session_state=account.session_state,
    )


def account_to_pb(account: LinkedAccount | None) -> web_account_service_pb2.WebAccount | None:
    """The same, or nothing."""
    if account is None:
        return None
    return web_account_service_pb2.WebAccount(
        user_id=account.user_id,
        type=account.type,
        provider=account.provider,
        provider_account_id=account.provider_account_id,
        **account.tokens,
        access_expire_time=optional_time_to_pb(account.expires_at),
        token_type=account.token_type,
        scope=account.scope,
        session_state=account.session_state,
    )


def web_session_to_pb(session: Session | None) -> web_session_service_pb2.WebSession | None:
    """A session, or nothing."""
    if session is None:
        return None
    return web_session_service_pb2.WebSession(
        id=session.id, user_id=session.user_id, expire_time=time_to_pb(session.expires_at)
    )


def found_session_to_pb(
    view: WebSessionView | None,
) -> web_session_service_pb2.FindWebSessionResponse:
    """A session with its user, or nothing."""
    if view is None:
        return web_session_service_pb2.FindWebSessionResponse()
    return web_session_service_pb2.FindWebSessionResponse(
        session=web_session_to_pb(view.session), user=web_user_to_pb(view.user)
    )


def authenticator_from_pb(
    authenticator: web_authenticator_service_pb2.WebAuthenticator,
) -> NewAuthenticator:
    """What a framework says of an authenticator."""
    return NewAuthenticator(
        **{name: getattr(authenticator, name) for name in NewAuthenticator.__slots__}
    )


def authenticator_to_pb(
    row: WebAuthenticator | None,
) -> web_authenticator_service_pb2.WebAuthenticator | None:
    """An authenticator, or nothing."""
    if row is None:
        return None
    return web_authenticator_service_pb2.WebAuthenticator(
        **{name: getattr(row, name) for name in NewAuthenticator.__slots__}
    )


def authenticators_to_pb(
    page: Page[WebAuthenticator],
) -> web_authenticator_service_pb2.ListWebAuthenticatorsResponse:
    """One page of authenticators."""
    found = [authenticator_to_pb(row) for row in page.items]
    return web_authenticator_service_pb2.ListWebAuthenticatorsResponse(
        authenticators=[each for each in found if each is not None],
        next_page_token=page.next_page_token,
    )

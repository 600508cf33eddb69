"""Accounts, roles and sign-ups in the hands of staff."""

from collections.abc import Iterable, Mapping
from typing import Any

from greenroom.auth.v1 import (
    registration_pb2,
    registration_service_pb2,
    role_pb2,
    role_service_pb2,
    user_pb2,
    user_service_pb2,
)
from server.auth.convert.accounts import user_to_pb
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.models import Registration, Role
from server.auth.rules import STAFF_FIELDS, plain_text
from server.auth.usecases.new_accounts import NewUser
from server.auth.usecases.reviews import RegistrationQuery, status_of
from server.auth.usecases.users import UserQuery, UserView
from server.core.pagination import Page
from server.wire.masks import checked_paths


def user_query_from_pb(request: user_service_pb2.ListUsersRequest) -> UserQuery:
    """Which accounts are asked for."""
    status = user_pb2.UserStatus.Name(request.status).removeprefix("USER_STATUS_")
    return UserQuery(
        status="" if status == "UNSPECIFIED" else status,
        role=plain_text(request.role),
        text=plain_text(request.text),
        order_by=request.order_by,
        page_size=request.page_size,
        page_token=request.page_token,
    )


def users_to_pb(views: list[UserView], token: str) -> user_service_pb2.ListUsersResponse:
    """One page of accounts."""
    return user_service_pb2.ListUsersResponse(
        users=[user_to_pb(view) for view in views], next_page_token=token
    )


def new_user_from_pb(request: user_service_pb2.CreateUserRequest) -> NewUser:
    """What staff say of an account that they make."""
    return NewUser(
        email=request.email,
        phone=request.phone,
        display_name=request.display_name,
        first_name=request.first_name,
        last_name=request.last_name,
        username=request.username,
        language=request.language,
        roles=role_names_from_pb(request.roles),
        send_invite=request.send_invite,
    )


def role_names_from_pb(names: Iterable[str]) -> frozenset[str]:
    """A set of roles; a name that cannot be stored is made one that does not exist."""
    return frozenset(plain_text(name) for name in names)


def changes_from_pb(request: user_service_pb2.UpdateUserRequest) -> Mapping[str, Any]:
    """The fields that the mask names, with their new values."""
    paths = checked_paths(request.update_mask, STAFF_FIELDS)
    changes: dict[str, Any] = {path: getattr(request.user, path) for path in paths}
    if "access_level" in changes:
        level = user_pb2.AccessLevel.Name(request.user.access_level)
        changes["access_level"] = level.removeprefix("ACCESS_LEVEL_").replace("UNSPECIFIED", "NONE")
    return changes


def roles_to_pb(page: Page[Role]) -> role_service_pb2.ListRolesResponse:
    """One page of roles."""
    return role_service_pb2.ListRolesResponse(
        roles=[
            role_pb2.Role(
                id=role.id,
                name=role.name,
                kind=role_pb2.RoleKind.Value(f"ROLE_KIND_{role.kind}"),
                permissions=sorted(role.permissions),
                create_time=time_to_pb(role.create_time),
                update_time=time_to_pb(role.update_time),
            )
            for role in page.items
        ],
        next_page_token=page.next_page_token,
    )


def registration_query_from_pb(
    request: registration_service_pb2.ListRegistrationsRequest,
) -> RegistrationQuery:
    """Which sign-ups are asked for."""
    name = registration_pb2.RegistrationStatus.Name(request.status)
    status = name.removeprefix("REGISTRATION_STATUS_")
    return RegistrationQuery(
        status="" if status == "UNSPECIFIED" else status,
        text=plain_text(request.text),
        page_size=request.page_size,
        page_token=request.page_token,
    )


def registration_to_pb(registration: Registration) -> registration_pb2.Registration:
    """A sign-up as staff see it."""
    status = f"REGISTRATION_STATUS_{status_of(registration)}"
    return registration_pb2.Registration(
        id=registration.id,
        email=registration.email or "",
        phone=registration.phone or "",
        display_name=registration.name,
        username=registration.username or "",
        info=registration.info,
        persona=user_pb2.Persona.Value(f"PERSONA_{registration.role.upper()}"),
        language=registration.language,
        ip_address=registration.ip,
        status=registration_pb2.RegistrationStatus.Value(status),
        user_id=registration.user_id or "",
        reason=registration.reason,
        decided_by=registration.decided_by or "",
        decide_time=optional_time_to_pb(registration.decided_at),
        expire_time=time_to_pb(registration.expires_at),
        create_time=time_to_pb(registration.create_time),
        update_time=time_to_pb(registration.update_time),
    )


def registrations_to_pb(
    page: Page[Registration],
) -> registration_service_pb2.ListRegistrationsResponse:
    """One page of sign-ups."""
    return registration_service_pb2.ListRegistrationsResponse(
        registrations=[registration_to_pb(registration) for registration in page.items],
        next_page_token=page.next_page_token,
    )

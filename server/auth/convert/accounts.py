"""Accounts and sign-ups."""

from collections.abc import Callable, Sequence
from typing import Any

from greenroom.auth.v1 import (
    auth_service_pb2,
    user_pb2,
)
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.rules import NAMED_PERSONAS, PERSONAS, fold_phone
from server.auth.usecases.registration import SignUp
from server.auth.usecases.users import UserView
from server.core.errors import FieldViolation, InvalidArgument

_NAMES = ("display_name", "full_name", "name")
_PHONES = ("phone", "mobile")
_PERSONAS = ("persona", "role", "user_type")
"""Fields that mean the same: ours first, then the words of older systems."""


def sign_up_from_pb(request: auth_service_pb2.SignUpRequest) -> SignUp:
    """Everything but the password; ``PhoneInvalid`` for a number that there is not."""
    phone = _said(request, _PHONES, fold_phone)
    _check_contact(request.email, phone)
    persona = _said(request, _PERSONAS, _persona_from_pb)
    if not persona:
        raise _wrong("persona", "is needed")
    if persona in NAMED_PERSONAS and not request.username:
        raise _wrong("username", "is needed by students and teachers")
    return SignUp(
        email=request.email,
        phone=phone,
        display_name=_said(request, _NAMES, _as_said),
        username=request.username,
        persona=persona,
        language=request.language,
        info=request.info,
    )


def _said(
    request: auth_service_pb2.SignUpRequest,
    fields: Sequence[str],
    fold: Callable[[Any, str], str],
) -> str:
    """What fields that mean the same say, folded; empty where none of them is given. Two that
    contradict each other are refused: nobody knows which one was meant."""
    said = [(field, fold(value, field)) for field in fields if (value := getattr(request, field))]
    for field, value in said[1:]:
        if value != said[0][1]:
            raise _wrong(field, f"contradicts {said[0][0]}")
    return said[0][1] if said else ""


def _persona_from_pb(value: Any, field: str) -> str:
    if field == "persona":
        return user_pb2.Persona.Name(value).removeprefix("PERSONA_").lower()
    persona: str = value.strip().lower()
    if persona not in PERSONAS:
        raise _wrong(field, "must be one of " + ", ".join(PERSONAS))
    return persona


def _as_said(value: str, _field: str) -> str:
    return value


def _check_contact(email: str, phone: str) -> None:
    """Refuses a sign-up with no contact, and one with two: only one of them would be proven. Checked
    here, since a rule of the whole message could not say which field is at fault."""
    if email and phone:
        raise _wrong("phone", "must be empty where there is an address")
    if not email and not phone:
        raise _wrong("email", "is needed where there is no number")


def _wrong(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(violations=[FieldViolation(field, description)])


def user_to_pb(view: UserView) -> user_pb2.User:
    """A user as they see themselves, or as staff do when the view is for them."""
    user = view.user
    return user_pb2.User(
        id=user.id,
        email=user.email or "",
        email_verified_time=optional_time_to_pb(user.email_verified_at),
        phone=user.phone or "",
        phone_verified_time=optional_time_to_pb(user.phone_verified_at),
        username=user.username or "",
        display_name=user.display_name,
        status=user_pb2.UserStatus.Value(f"USER_STATUS_{view.status}"),
        roles=view.roles,
        permissions=view.permissions,
        onboarding_completed=user.onboarding_completed,
        onboarding_step=user.onboarding_step,
        create_time=time_to_pb(user.create_time),
        update_time=time_to_pb(user.update_time),
        last_login_time=optional_time_to_pb(user.last_login_at),
        etag=view.etag,
        first_name=user.first_name or "",
        last_name=user.last_name or "",
        avatar_url=user.avatar_url or "",
        avatar_media_id=user.avatar_media_id or "",
        cover_url=user.cover_url or "",
        primary_role=user.primary_role or "",
        signup_provider=user.signup_provider,
        access_level=user_pb2.AccessLevel.Value(f"ACCESS_LEVEL_{user.access_level}"),
        allowed_channels=user.allowed_channels,
        status_reason=(user.status_reason or "") if view.for_staff else "",
        suspended_until_time=optional_time_to_pb(
            user.suspended_until if view.status == "SUSPENDED" else None
        ),
        delete_time=optional_time_to_pb(user.deleted_at),
        purge_time=optional_time_to_pb(user.purge_at),
        last_online_time=optional_time_to_pb(user.last_online_at),
        two_factor_enabled=view.two_factors,
        language=user.language,
    )


def me_to_bytes(view: UserView) -> bytes:
    """GetMe's reply, encoded, as it is kept for the next calls."""
    return auth_service_pb2.GetMeResponse(user=user_to_pb(view)).SerializeToString()

"""Accounts and sign-ups."""

from greenroom.auth.v1 import (
    auth_service_pb2,
    user_pb2,
)
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.usecases.registration import SignUp
from server.auth.usecases.users import UserView


def sign_up_from_pb(request: auth_service_pb2.SignUpRequest) -> SignUp:
    """Everything but the password."""
    persona = user_pb2.Persona.Name(request.persona).removeprefix("PERSONA_").lower()
    return SignUp(
        email=request.email,
        display_name=request.display_name,
        persona=persona,
        language=request.language,
    )


def user_to_pb(view: UserView) -> user_pb2.User:
    """A user as they see themselves."""
    user = view.user
    return user_pb2.User(
        id=user.id,
        email=user.email or "",
        email_verified_time=optional_time_to_pb(user.email_verified_at),
        phone=user.phone or "",
        phone_verified_time=optional_time_to_pb(user.phone_verified_at),
        username=user.username or "",
        display_name=user.display_name,
        status=user_pb2.UserStatus.Value(f"USER_STATUS_{user.status}"),
        roles=view.roles,
        permissions=view.permissions,
        onboarding_completed=user.onboarding_completed,
        onboarding_step=user.onboarding_step,
        create_time=time_to_pb(user.create_time),
        update_time=time_to_pb(user.update_time),
        last_login_time=optional_time_to_pb(user.last_login_at),
    )


def me_to_bytes(view: UserView) -> bytes:
    """GetMe's reply, encoded, as it is kept for the next calls."""
    return auth_service_pb2.GetMeResponse(user=user_to_pb(view)).SerializeToString()

"""Between the messages of the API and what the use cases speak."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from greenroom.auth.v1 import (
    auth_service_pb2,
    session_pb2,
    session_service_pb2,
    user_pb2,
)
from server.auth.issuing import Device, IssuedTokens
from server.auth.models import Session
from server.auth.rules import plain_text
from server.auth.usecases.log_in import Identifier, SignedInUser
from server.auth.usecases.registration import SignUp
from server.auth.usecases.users import UserView
from server.core.pagination import Page
from server.wire.call import Call


def sign_up_from_pb(request: auth_service_pb2.SignUpRequest) -> SignUp:
    """Everything but the password."""
    persona = user_pb2.Persona.Name(request.persona).removeprefix("PERSONA_").lower()
    return SignUp(
        email=request.email,
        display_name=request.display_name,
        persona=persona,
        language=request.language,
    )


def identifier_from_pb(request: auth_service_pb2.LogInRequest) -> Identifier:
    """Which of the identifiers was given, and its value."""
    kind = request.WhichOneof("identifier")
    assert kind is not None, "the request was validated"
    return Identifier(kind, getattr(request, kind))


def device_of(call: Call, name: str = "") -> Device:
    """Where the call comes from."""
    return Device(address=call.address, user_agent=call.user_agent, name=plain_text(name))


def signed_in_to_pb(opened: SignedInUser) -> auth_service_pb2.LogInResponse:
    """An opened session with its tokens and its user."""
    signed_in = auth_service_pb2.SignedIn(
        session=session_to_pb(opened.session, opened.session.id),
        tokens=tokens_to_pb(opened.tokens),
        user=user_to_pb(opened.user),
    )
    return auth_service_pb2.LogInResponse(signed_in=signed_in)


def tokens_to_pb(tokens: IssuedTokens) -> session_pb2.TokenPair:
    """The pair for the client."""
    return session_pb2.TokenPair(
        access_token=tokens.access_token,
        access_expire_time=time_to_pb(tokens.access_expires),
        refresh_token=tokens.refresh_token,
        refresh_expire_time=time_to_pb(tokens.refresh_expires),
    )


def session_to_pb(session: Session, current_id: str) -> session_pb2.Session:
    """A session as its owner sees it."""
    return session_pb2.Session(
        id=session.id,
        device_name=session.device_info,
        user_agent=session.user_agent,
        ip_address=session.ip,
        current=session.id == current_id,
        create_time=time_to_pb(session.create_time),
        last_active_time=time_to_pb(session.last_active_at),
        expire_time=time_to_pb(session.expires_at),
        absolute_expire_time=time_to_pb(session.absolute_expires_at),
    )


def sessions_to_pb(
    page: Page[Session], current_id: str
) -> session_service_pb2.ListSessionsResponse:
    """One page of a user's sessions."""
    return session_service_pb2.ListSessionsResponse(
        sessions=[session_to_pb(session, current_id) for session in page.items],
        next_page_token=page.next_page_token,
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


def keys_to_pb(keys: Iterable[Mapping[str, str]]) -> auth_service_pb2.GetJwksResponse:
    """Public keys as a JWK set."""
    return auth_service_pb2.GetJwksResponse(
        keys=[auth_service_pb2.JsonWebKey(**key) for key in keys]
    )


def time_to_pb(moment: datetime) -> Timestamp:
    """An instant, to the microsecond."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def optional_time_to_pb(moment: datetime | None) -> Timestamp | None:
    """The same, or nothing."""
    return None if moment is None else time_to_pb(moment)

"""Sessions and the keys that their tokens are signed with."""

from collections.abc import Iterable, Mapping

from greenroom.auth.v1 import (
    auth_service_pb2,
    session_pb2,
    session_service_pb2,
)
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.devices import software_of
from server.auth.models import Session
from server.core.pagination import Page


def session_to_pb(session: Session, current_id: str) -> session_pb2.Session:
    """A session as its owner sees it."""
    software = software_of(session.user_agent)
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
        platform=software.platform,
        browser=software.browser,
        sign_in_methods=session.auth_methods,
        assurance_level=session.assurance_level,
        privileged_until_time=optional_time_to_pb(session.privileged_until),
        last_refresh_time=optional_time_to_pb(session.last_refresh_at),
        refresh_count=session.refresh_count,
        sign_in_ip_address=session.metadata.get("sign_in_ip", ""),
    )


def sessions_to_pb(
    page: Page[Session], current_id: str
) -> session_service_pb2.ListSessionsResponse:
    """One page of a user's sessions."""
    return session_service_pb2.ListSessionsResponse(
        sessions=[session_to_pb(session, current_id) for session in page.items],
        next_page_token=page.next_page_token,
    )


def keys_to_pb(keys: Iterable[Mapping[str, str]]) -> auth_service_pb2.GetJwksResponse:
    """Public keys as a JWK set."""
    return auth_service_pb2.GetJwksResponse(
        keys=[auth_service_pb2.JsonWebKey(**key) for key in keys]
    )

"""The rest of what web frameworks keep here: sessions, verification tokens, authenticators."""

from collections.abc import Callable

from greenroom.auth.v1 import web_authenticator_service_pb2 as authenticator_pb
from greenroom.auth.v1 import web_session_service_pb2 as pb
from greenroom.auth.v1 import web_verification_service_pb2 as verification_pb
from server.auth.convert.times import optional_time_to_pb, time_from_pb
from server.auth.convert.web import (
    authenticator_from_pb,
    authenticator_to_pb,
    authenticators_to_pb,
    found_session_to_pb,
    web_session_to_pb,
)
from server.auth.rules import Lifetimes
from server.auth.usecases import web_authenticators, web_sessions, web_verification
from server.core.pagination import Pages
from server.wire.call import Call


class WebSessionServicer:
    """greenroom.auth.v1.WebSessionService. ``saw`` notes that a session was used."""

    def __init__(self, lifetimes: Lifetimes, saw: Callable[[str], None]) -> None:
        self._lifetimes = lifetimes
        self._saw = saw

    def CreateWebSession(
        self, request: pb.CreateWebSessionRequest, call: Call
    ) -> pb.CreateWebSessionResponse:
        """Opens a session under the framework's token."""
        session = web_sessions.create_web_session(
            call.unit,
            request.session_token,
            request.user_id,
            time_from_pb(request.expire_time, "expire_time"),
            lifetimes=self._lifetimes,
        )
        return pb.CreateWebSessionResponse(session=web_session_to_pb(session))

    def FindWebSession(
        self, request: pb.FindWebSessionRequest, call: Call
    ) -> pb.FindWebSessionResponse:
        """The session of a token, with its user."""
        view = web_sessions.find_web_session(call.unit, request.session_token)
        if view is not None:
            self._saw(view.session.id)
        return found_session_to_pb(view)

    def SetWebSessionExpiry(
        self, request: pb.SetWebSessionExpiryRequest, call: Call
    ) -> pb.SetWebSessionExpiryResponse:
        """Moves the end of a session."""
        end = time_from_pb(request.expire_time, "expire_time")
        session = web_sessions.set_web_session_expiry(call.unit, request.session_token, end)
        return pb.SetWebSessionExpiryResponse(session=web_session_to_pb(session))

    def DeleteWebSession(
        self, request: pb.DeleteWebSessionRequest, call: Call
    ) -> pb.DeleteWebSessionResponse:
        """Ends a session."""
        deleted = web_sessions.delete_web_session(call.unit, request.session_token)
        return pb.DeleteWebSessionResponse(deleted=deleted)


class WebVerificationServicer:
    """greenroom.auth.v1.WebVerificationService."""

    def CreateWebVerificationToken(
        self, request: verification_pb.CreateWebVerificationTokenRequest, call: Call
    ) -> verification_pb.CreateWebVerificationTokenResponse:
        """Keeps a token."""
        web_verification.create_web_verification_token(
            call.unit,
            request.identifier,
            request.token,
            time_from_pb(request.expire_time, "expire_time"),
        )
        return verification_pb.CreateWebVerificationTokenResponse()

    def UseWebVerificationToken(
        self, request: verification_pb.UseWebVerificationTokenRequest, call: Call
    ) -> verification_pb.UseWebVerificationTokenResponse:
        """Uses a token up."""
        end = web_verification.use_web_verification_token(
            call.unit, request.identifier, request.token
        )
        return verification_pb.UseWebVerificationTokenResponse(expire_time=optional_time_to_pb(end))


class WebAuthenticatorServicer:
    """greenroom.auth.v1.WebAuthenticatorService."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def CreateWebAuthenticator(
        self, request: authenticator_pb.CreateWebAuthenticatorRequest, call: Call
    ) -> authenticator_pb.CreateWebAuthenticatorResponse:
        """Keeps an authenticator."""
        wanted = authenticator_from_pb(request.authenticator)
        row = web_authenticators.create_web_authenticator(call.unit, wanted)
        return authenticator_pb.CreateWebAuthenticatorResponse(
            authenticator=authenticator_to_pb(row)
        )

    def FindWebAuthenticator(
        self, request: authenticator_pb.FindWebAuthenticatorRequest, call: Call
    ) -> authenticator_pb.FindWebAuthenticatorResponse:
        """The authenticator of a credential."""
        row = web_authenticators.find_web_authenticator(request.credential_id)
        return authenticator_pb.FindWebAuthenticatorResponse(authenticator=authenticator_to_pb(row))

    def ListWebAuthenticators(
        self, request: authenticator_pb.ListWebAuthenticatorsRequest, call: Call
    ) -> authenticator_pb.ListWebAuthenticatorsResponse:
        """One page of a user's authenticators."""
        page = web_authenticators.list_web_authenticators(
            call.unit,
            self._pages,
            request.user_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return authenticators_to_pb(page)

    def SetWebAuthenticatorCounter(
        self, request: authenticator_pb.SetWebAuthenticatorCounterRequest, call: Call
    ) -> authenticator_pb.SetWebAuthenticatorCounterResponse:
        """Raises a counter."""
        row = web_authenticators.set_web_authenticator_counter(
            call.unit, request.credential_id, request.counter
        )
        return authenticator_pb.SetWebAuthenticatorCounterResponse(
            authenticator=authenticator_to_pb(row)
        )

"""RegistrationService: sign-ups in the hands of staff."""

from greenroom.auth.v1 import registration_service_pb2 as pb
from server.auth.convert.accounts import user_to_pb
from server.auth.convert.users import (
    registration_query_from_pb,
    registration_to_pb,
    registrations_to_pb,
)
from server.auth.usecases import reviews
from server.auth.usecases.registration import SignUpDesk
from server.core.pagination import Pages
from server.wire.call import Call


class RegistrationServicer:
    """greenroom.auth.v1.RegistrationService."""

    def __init__(self, pages: Pages, desk: SignUpDesk) -> None:
        self._pages = pages
        self._desk = desk

    def ListRegistrations(
        self, request: pb.ListRegistrationsRequest, call: Call
    ) -> pb.ListRegistrationsResponse:
        """One page of sign-ups."""
        query = registration_query_from_pb(request)
        return registrations_to_pb(reviews.list_registrations(call.unit, self._pages, query))

    def ApproveRegistration(
        self, request: pb.ApproveRegistrationRequest, call: Call
    ) -> pb.ApproveRegistrationResponse:
        """Makes an account of a sign-up that waits."""
        registration, view = reviews.approve(call.unit, request.registration_id, desk=self._desk)
        return pb.ApproveRegistrationResponse(
            registration=registration_to_pb(registration), user=user_to_pb(view)
        )

    def RejectRegistration(
        self, request: pb.RejectRegistrationRequest, call: Call
    ) -> pb.RejectRegistrationResponse:
        """Drops a sign-up that waits."""
        rejected = reviews.reject(
            call.unit, request.registration_id, request.reason, desk=self._desk
        )
        return pb.RejectRegistrationResponse(registration=registration_to_pb(rejected))

"""EmailService: the address of an account."""

from greenroom.auth.v1 import email_service_pb2 as pb
from server.auth.usecases import email_changes
from server.auth.usecases.password_resets import PasswordDesk
from server.wire.call import Call


class EmailServicer:
    """greenroom.auth.v1.EmailService."""

    def __init__(self, desk: PasswordDesk) -> None:
        self._desk = desk

    def ChangeEmail(self, request: pb.ChangeEmailRequest, call: Call) -> pb.ChangeEmailResponse:
        """Mails a token to the new address."""
        email = email_changes.ask_change(call.unit, request.new_email, desk=self._desk)
        return pb.ChangeEmailResponse(email=email)

"""PasskeyService: passkeys."""

from greenroom.auth.v1 import passkey_service_pb2 as pb
from server.auth.convert.passkeys import named_account, passkey_to_pb, passkeys_to_pb
from server.auth.convert.sign_in import device_of, outcome_to_pb
from server.auth.convert.times import time_to_pb
from server.auth.usecases import passkeys
from server.auth.usecases.passkeys import PasskeyDesk
from server.core.errors import Refused
from server.core.pagination import Pages
from server.wire.call import Call


class PasskeyServicer:
    """greenroom.auth.v1.PasskeyService."""

    def __init__(self, desk: PasskeyDesk, pages: Pages) -> None:
        self._desk = desk
        self._pages = pages

    def StartPasskeyRegistration(
        self, request: pb.StartPasskeyRegistrationRequest, call: Call
    ) -> pb.StartPasskeyRegistrationResponse:
        """Options for a new passkey."""
        options = passkeys.start_registration(call.unit, desk=self._desk)
        return pb.StartPasskeyRegistrationResponse(
            options_json=options.text, expire_time=time_to_pb(options.expires)
        )

    def FinishPasskeyRegistration(
        self, request: pb.FinishPasskeyRegistrationRequest, call: Call
    ) -> pb.FinishPasskeyRegistrationResponse | Refused:
        """Keeps what was made of them."""
        made = passkeys.finish_registration(
            call.unit, request.credential_json, request.label, desk=self._desk
        )
        if isinstance(made, Refused):
            return made
        return pb.FinishPasskeyRegistrationResponse(passkey=passkey_to_pb(made))

    def StartPasskeyLogin(
        self, request: pb.StartPasskeyLoginRequest, call: Call
    ) -> pb.StartPasskeyLoginResponse:
        """Options for a log-in."""
        options = passkeys.start_log_in(call.unit, named_account(request), desk=self._desk)
        return pb.StartPasskeyLoginResponse(
            options_json=options.text, expire_time=time_to_pb(options.expires)
        )

    def FinishPasskeyLogin(
        self, request: pb.FinishPasskeyLoginRequest, call: Call
    ) -> pb.FinishPasskeyLoginResponse | Refused:
        """Opens a session by the answer to them."""
        device = device_of(call, request.device_name)
        ended = passkeys.finish_log_in(call.unit, request.credential_json, device, desk=self._desk)
        if isinstance(ended, Refused):
            return ended
        return outcome_to_pb(ended, pb.FinishPasskeyLoginResponse())

    def ListPasskeys(self, request: pb.ListPasskeysRequest, call: Call) -> pb.ListPasskeysResponse:
        """The caller's passkeys."""
        page = passkeys.list_passkeys(
            call.unit,
            self._pages,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return passkeys_to_pb(page)

    def DeletePasskey(
        self, request: pb.DeletePasskeyRequest, call: Call
    ) -> pb.DeletePasskeyResponse:
        """Removes a passkey."""
        passkeys.delete_passkey(call.unit, request.passkey_id, desk=self._desk)
        return pb.DeletePasskeyResponse()

"""OtpService: one-time codes and the phone number of an account."""

from greenroom.auth.v1 import otp_service_pb2 as pb
from server.auth.convert.otps import otp_outcome_to_pb, otp_to_pb, wish_from_pb
from server.auth.convert.sign_in import device_of
from server.auth.courier import OtpCourier
from server.auth.rules import fold_phone
from server.auth.usecases import otp_checks, otps
from server.auth.usecases.otp_checks import CodeChecker
from server.auth.usecases.signing_in import SignInDesk
from server.core.errors import Refused
from server.wire.call import Call


class OtpServicer:
    """greenroom.auth.v1.OtpService."""

    def __init__(self, courier: OtpCourier, checker: CodeChecker, sign_in: SignInDesk) -> None:
        self._courier = courier
        self._checker = checker
        self._sign_in = sign_in

    def StartOtp(self, request: pb.StartOtpRequest, call: Call) -> pb.StartOtpResponse | Refused:
        """Has a code sent, or does as if."""
        started = otps.start_otp(call.unit, wish_from_pb(request), courier=self._courier)
        if isinstance(started, Refused):
            return started
        return pb.StartOtpResponse(otp=otp_to_pb(started))

    async def VerifyOtp(
        self, request: pb.VerifyOtpRequest, call: Call
    ) -> pb.VerifyOtpResponse | Refused:
        """Counts the try, has the code compared outside of any transaction, does what it was for."""
        device = device_of(call, request.device_name)
        desk = self._sign_in
        if request.token:
            used = await call.run(
                lambda unit: otp_checks.use_link(unit, request.token, device, desk=desk)
            )
            return used if isinstance(used, Refused) else otp_outcome_to_pb(used)
        begun = await call.run(
            lambda unit: otp_checks.begin_check(unit, request.otp_id, keyring=desk.keyring)
        )
        if isinstance(begun, Refused):
            return begun
        right = await self._checker.is_right(begun, request.code)
        ended = await call.run(
            lambda unit: otp_checks.complete_check(unit, begun, right, device, desk=desk)
        )
        return ended if isinstance(ended, Refused) else otp_outcome_to_pb(ended)

    def ChangePhone(
        self, request: pb.ChangePhoneRequest, call: Call
    ) -> pb.ChangePhoneResponse | Refused:
        """Has a code sent to the caller's new number."""
        phone = fold_phone(request.new_phone, "new_phone")
        started = otps.start_phone_change(call.unit, phone, courier=self._courier)
        if isinstance(started, Refused):
            return started
        return pb.ChangePhoneResponse(otp=otp_to_pb(started))

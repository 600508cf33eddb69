"""One-time codes."""

from greenroom.auth.v1 import otp_service_pb2 as pb
from greenroom.auth.v1 import user_pb2
from server.auth.convert.sign_in import outcome_to_pb
from server.auth.convert.times import time_to_pb
from server.auth.models import Otp
from server.auth.rules import OTP_GAP, OtpChannel, OtpPurpose, fold_email, fold_phone
from server.auth.usecases.otp_checks import OtpOutcome, ProvenPhone
from server.auth.usecases.otps import OtpWish


def wish_from_pb(request: pb.StartOtpRequest) -> OtpWish:
    """What is asked for; ``PhoneInvalid`` for a number that there is not."""
    purpose = OtpPurpose(pb.OtpPurpose.Name(request.purpose).removeprefix("OTP_PURPOSE_"))
    if request.WhichOneof("destination") == "phone":
        return OtpWish(purpose, OtpChannel.SMS, fold_phone(request.phone), request.otp_id)
    return OtpWish(purpose, OtpChannel.EMAIL, fold_email(request.email))


def otp_to_pb(otp: Otp) -> pb.OtpChallenge:
    """A code as whoever asked for it is told of it; the same whether it was sent or not."""
    return pb.OtpChallenge(
        otp_id=otp.id,
        expire_time=time_to_pb(otp.expires_at),
        resend_time=time_to_pb(otp.create_time + OTP_GAP),
    )


def otp_outcome_to_pb(outcome: OtpOutcome) -> pb.VerifyOtpResponse:
    """What came of a right code."""
    if not isinstance(outcome, ProvenPhone):
        return outcome_to_pb(outcome, pb.VerifyOtpResponse())
    user = outcome.user
    contact = pb.VerifiedContact(
        purpose=pb.OtpPurpose.Value(f"OTP_PURPOSE_{outcome.purpose}"),
        phone=outcome.phone,
        verify_time=time_to_pb(outcome.moment),
        status=user_pb2.UserStatus.Value(f"USER_STATUS_{user.status}"),
        onboarding_completed=user.onboarding_completed,
        onboarding_step=user.onboarding_step,
    )
    return pb.VerifyOtpResponse(verified_contact=contact)

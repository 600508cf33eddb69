"""Second factors and what proves them."""

from greenroom.auth.v1 import auth_service_pb2, mfa_factor_pb2
from greenroom.auth.v1 import mfa_service_pb2 as pb
from server.auth.convert.times import optional_time_to_pb, time_to_pb
from server.auth.models import MfaFactor
from server.auth.rules import CodeKind
from server.auth.usecases.mfa import NewFactor, OwnFactors
from server.auth.usecases.second_factors import Code


def code_from_pb(
    request: pb.CompleteMfaChallengeRequest | auth_service_pb2.ReauthenticateRequest,
) -> Code:
    """The code that a request was given, of either kind."""
    if request.WhichOneof("proof") == "totp_code":
        return Code(CodeKind.TOTP, request.totp_code)
    return Code(CodeKind.BACKUP_CODE, request.backup_code)


def factor_to_pb(factor: MfaFactor) -> mfa_factor_pb2.MfaFactor:
    """A factor, without its secret."""
    return mfa_factor_pb2.MfaFactor(
        id=factor.id,
        label=factor.label,
        status=mfa_factor_pb2.MfaFactorStatus.Value(f"MFA_FACTOR_STATUS_{factor.status}"),
        create_time=time_to_pb(factor.create_time),
        activate_time=optional_time_to_pb(factor.activated_at),
        last_use_time=optional_time_to_pb(factor.last_used_at),
    )


def new_factor_to_pb(made: NewFactor) -> pb.CreateMfaFactorResponse:
    """A pending factor with the only sight of its secret."""
    return pb.CreateMfaFactorResponse(
        factor=factor_to_pb(made.factor),
        secret=made.secret,
        otpauth_uri=made.otpauth_uri,
        expire_time=optional_time_to_pb(made.factor.expires_at),
    )


def factors_to_pb(owned: OwnFactors) -> pb.ListMfaFactorsResponse:
    """One page of a user's factors."""
    return pb.ListMfaFactorsResponse(
        factors=[factor_to_pb(factor) for factor in owned.page.items],
        next_page_token=owned.page.next_page_token,
        backup_codes_left=owned.backup_codes_left,
    )

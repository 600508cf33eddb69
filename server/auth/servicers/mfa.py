"""MfaService: second factors."""

from greenroom.auth.v1 import mfa_service_pb2 as pb
from server.auth.convert.mfa import code_from_pb, factor_to_pb, factors_to_pb, new_factor_to_pb
from server.auth.convert.sign_in import device_of, signed_in_to_pb
from server.auth.usecases import mfa, mfa_challenges
from server.auth.usecases.signing_in import SignInDesk
from server.core.errors import Refused
from server.core.pagination import Pages
from server.wire.call import Call


class MfaServicer:
    """greenroom.auth.v1.MfaService."""

    def __init__(self, sign_in: SignInDesk, pages: Pages) -> None:
        self._sign_in = sign_in
        self._pages = pages

    def CreateMfaFactor(
        self, request: pb.CreateMfaFactorRequest, call: Call
    ) -> pb.CreateMfaFactorResponse:
        """Begins an enrolment."""
        made = mfa.create_factor(call.unit, request.label, keyring=self._sign_in.keyring)
        return new_factor_to_pb(made)

    async def ActivateMfaFactor(
        self, request: pb.ActivateMfaFactorRequest, call: Call
    ) -> pb.ActivateMfaFactorResponse | Refused:
        """Counts the try, then looks at the code."""
        factor_id, code = request.factor_id, request.totp_code
        begun = await call.run(lambda unit: mfa.begin_activation(unit, factor_id))
        if isinstance(begun, Refused):
            return begun
        ended = await call.run(
            lambda unit: mfa.complete_activation(unit, factor_id, code, begun, desk=self._sign_in)
        )
        if isinstance(ended, Refused):
            return ended
        return pb.ActivateMfaFactorResponse(
            factor=factor_to_pb(ended.factor), backup_codes=ended.backup_codes
        )

    def ListMfaFactors(
        self, request: pb.ListMfaFactorsRequest, call: Call
    ) -> pb.ListMfaFactorsResponse:
        """The caller's factors."""
        owned = mfa.list_factors(
            call.unit,
            self._pages,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return factors_to_pb(owned)

    def DeleteMfaFactor(
        self, request: pb.DeleteMfaFactorRequest, call: Call
    ) -> pb.DeleteMfaFactorResponse:
        """Removes a factor."""
        mfa.delete_factor(call.unit, request.factor_id, desk=self._sign_in)
        return pb.DeleteMfaFactorResponse()

    async def CompleteMfaChallenge(
        self, request: pb.CompleteMfaChallengeRequest, call: Call
    ) -> pb.CompleteMfaChallengeResponse | Refused:
        """Counts the try, then looks at the code and opens the session."""
        code, device = code_from_pb(request), device_of(call)
        begun = await call.run(
            lambda unit: mfa_challenges.begin_completion(unit, request.challenge_token, code)
        )
        if isinstance(begun, Refused):
            return begun
        ended = await call.run(
            lambda unit: mfa_challenges.complete_challenge(
                unit, begun, code, device, desk=self._sign_in
            )
        )
        if isinstance(ended, Refused):
            return ended
        return pb.CompleteMfaChallengeResponse(signed_in=signed_in_to_pb(ended))

    def RegenerateBackupCodes(
        self, request: pb.RegenerateBackupCodesRequest, call: Call
    ) -> pb.RegenerateBackupCodesResponse:
        """A new set of backup codes."""
        codes = mfa.regenerate_backup_codes(call.unit, desk=self._sign_in)
        return pb.RegenerateBackupCodesResponse(backup_codes=codes)

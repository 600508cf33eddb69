"""AuthService: the ways in and out."""

from datetime import datetime

from greenroom.auth.v1 import auth_service_pb2 as pb
from server.auth.convert.accounts import me_to_bytes, sign_up_from_pb
from server.auth.convert.mfa import code_from_pb
from server.auth.convert.sessions import keys_to_pb
from server.auth.convert.sign_in import device_of, identifier_from_pb, outcome_to_pb, tokens_to_pb
from server.auth.convert.times import time_to_pb
from server.auth.courier import OtpCourier
from server.auth.keys import SigningKeys
from server.auth.me_cache import MeCache
from server.auth.passwords import Passwords
from server.auth.usecases import (
    log_in,
    mailed_tokens,
    otps,
    passkeys,
    reauthentication,
    registration,
    sessions,
    users,
)
from server.auth.usecases.passkeys import PasskeyDesk
from server.auth.usecases.registration import SignUpDesk
from server.auth.usecases.second_factors import Code
from server.auth.usecases.signing_in import SignInDesk
from server.core.errors import Refused
from server.wire.call import Call


class AuthServicer:
    """greenroom.auth.v1.AuthService."""

    def __init__(
        self,
        *,
        desk: SignUpDesk,
        courier: OtpCourier,
        sign_in: SignInDesk,
        passkeys: PasskeyDesk,
        passwords: Passwords,
        keys: SigningKeys,
        me: MeCache,
    ) -> None:
        self._desk = desk
        self._courier = courier
        self._sign_in = sign_in
        self._passkeys = passkeys
        self._passwords = passwords
        self._keys = keys
        self._me = me

    async def SignUp(self, request: pb.SignUpRequest, call: Call) -> pb.SignUpResponse | Refused:
        """Hashes the password whatever comes of it, then opens the sign-up."""
        wanted = sign_up_from_pb(request)
        known = (wanted.folded_email or wanted.phone, wanted.display_name, wanted.username)
        hashed = await self._passwords.accept(request.password, known)
        if wanted.phone:
            return await self._sign_up_by_phone(wanted, hashed, call)
        email = await call.run(
            lambda unit: registration.sign_up(unit, wanted, hashed, desk=self._desk)
        )
        return pb.SignUpResponse(email=email)

    async def _sign_up_by_phone(
        self, wanted: registration.SignUp, hashed: str, call: Call
    ) -> pb.SignUpResponse | Refused:
        otp = await call.run(
            lambda unit: otps.sign_up_by_phone(unit, wanted, hashed, courier=self._courier)
        )
        if isinstance(otp, Refused):
            return otp
        expires = time_to_pb(otp.expires_at)
        return pb.SignUpResponse(phone=wanted.phone, otp_id=otp.id, otp_expire_time=expires)

    def VerifyEmail(self, request: pb.VerifyEmailRequest, call: Call) -> pb.VerifyEmailResponse:
        """Consumes a mailed token."""
        email = mailed_tokens.verify_email(call.unit, request.token, outbox=self._desk.outbox)
        return pb.VerifyEmailResponse(email=email)

    def ResendVerification(
        self, request: pb.ResendVerificationRequest, call: Call
    ) -> pb.ResendVerificationResponse:
        """Mails new tokens, or does nothing; the answer is the same."""
        registration.resend_verification(call.unit, request.email, desk=self._desk)
        return pb.ResendVerificationResponse()

    async def LogIn(self, request: pb.LogInRequest, call: Call) -> pb.LogInResponse | Refused:
        """Counts the try, checks the password outside of any transaction, opens the session."""
        who = identifier_from_pb(request)
        device = device_of(call, request.device_name)
        with self._passwords.place() as place:
            begun = await call.run(
                lambda unit: log_in.begin_log_in(unit, who, device, keyring=self._sign_in.keyring)
            )
            if isinstance(begun, Refused):
                return begun
            verdict = await self._passwords.check(
                place, request.password, begun.password_hash, begun.algorithm
            )
        ended = await call.run(
            lambda unit: log_in.complete_log_in(unit, begun, verdict, device, desk=self._sign_in)
        )
        return ended if isinstance(ended, Refused) else outcome_to_pb(ended, pb.LogInResponse())

    def RefreshToken(
        self, request: pb.RefreshTokenRequest, call: Call
    ) -> pb.RefreshTokenResponse | Refused:
        """Trades a refresh token for a new pair."""
        tokens = sessions.refresh_tokens(call.unit, request.refresh_token, desk=self._sign_in)
        if isinstance(tokens, Refused):
            return tokens
        return pb.RefreshTokenResponse(tokens=tokens_to_pb(tokens))

    def LogOut(self, request: pb.LogOutRequest, call: Call) -> pb.LogOutResponse:
        """Ends the session of the calling token."""
        sessions.log_out(call.unit)
        return pb.LogOutResponse()

    async def Reauthenticate(
        self, request: pb.ReauthenticateRequest, call: Call
    ) -> pb.ReauthenticateResponse | Refused:
        """Raises the calling session by whichever proof was given."""
        if request.WhichOneof("proof") == "password":
            until = await self._raise_by_password(request.password, call)
        elif request.WhichOneof("proof") == "passkey_json":
            until = await call.run(
                lambda unit: passkeys.reauthenticate(
                    unit, request.passkey_json, desk=self._passkeys
                )
            )
        else:
            until = await self._raise_by_code(code_from_pb(request), call)
        if isinstance(until, Refused):
            return until
        return pb.ReauthenticateResponse(privileged_until_time=time_to_pb(until))

    async def _raise_by_password(self, password: str, call: Call) -> datetime | Refused:
        device = device_of(call)
        keyring = self._sign_in.keyring
        with self._passwords.place() as place:
            begun = await call.run(
                lambda unit: reauthentication.begin_by_password(unit, device, keyring=keyring)
            )
            if isinstance(begun, Refused):
                return begun
            verdict = await self._passwords.check(
                place, password, begun.password_hash, begun.algorithm
            )
        return await call.run(
            lambda unit: reauthentication.complete_by_password(
                unit, begun, verdict, desk=self._sign_in
            )
        )

    async def _raise_by_code(self, code: Code, call: Call) -> datetime | Refused:
        begun = await call.run(lambda unit: reauthentication.begin_by_code(unit, code))
        if isinstance(begun, Refused):
            return begun
        return await call.run(
            lambda unit: reauthentication.complete_by_code(unit, code, begun, desk=self._sign_in)
        )

    async def GetMe(self, request: pb.GetMeRequest, call: Call) -> bytes:
        """The encoded reply, from memory when it is there."""
        user_id = call.caller.user_id
        kept = self._me.get(user_id)
        if kept is not None:
            return kept
        mark = self._me.begin()
        encoded = me_to_bytes(await call.run(users.get_me, write=False))
        self._me.put(user_id, encoded, mark)
        return encoded

    async def GetJwks(self, request: pb.GetJwksRequest, call: Call) -> pb.GetJwksResponse:
        """The published keys."""
        return keys_to_pb(self._keys.published(call.clock.now()))

"""PasswordService: forgotten and changed passwords."""

from greenroom.auth.v1 import password_service_pb2 as pb
from server.auth.convert.sign_in import device_of
from server.auth.passwords import Passwords
from server.auth.usecases import password_changes, password_resets
from server.auth.usecases.password_resets import PasswordDesk
from server.core.errors import Refused
from server.wire.call import Call


class PasswordServicer:
    """greenroom.auth.v1.PasswordService."""

    def __init__(self, desk: PasswordDesk, passwords: Passwords) -> None:
        self._desk = desk
        self._passwords = passwords

    def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, call: Call
    ) -> pb.RequestPasswordResetResponse:
        """Leaves it to a job whether a token is mailed."""
        password_resets.ask_reset(call.unit, request.email, desk=self._desk)
        return pb.RequestPasswordResetResponse()

    async def ResetPassword(
        self, request: pb.ResetPasswordRequest, call: Call
    ) -> pb.ResetPasswordResponse:
        """Looks at the token, hashes the password outside of any transaction, uses up the token."""
        known = await call.run(
            lambda unit: password_resets.owner_of_token(unit, request.token), write=False
        )
        hashed = await self._passwords.accept(request.password, known)
        await call.run(
            lambda unit: password_resets.reset_password(
                unit, request.token, hashed, desk=self._desk
            )
        )
        return pb.ResetPasswordResponse()

    async def ChangePassword(
        self, request: pb.ChangePasswordRequest, call: Call
    ) -> pb.ChangePasswordResponse | Refused:
        """Rates the new password, then counts the try and checks the old one."""
        device, keyring = device_of(call), self._desk.keyring
        with self._passwords.place() as place:
            known = await call.run(password_changes.known_of_caller, write=False)
            await self._passwords.rate(place, request.new_password, known)
            begun = await call.run(
                lambda unit: password_changes.begin_change(unit, device, keyring=keyring)
            )
            if isinstance(begun, Refused):
                return begun
            old = await self._passwords.check(
                place, request.old_password, begun.password_hash, begun.algorithm
            )
            hashed = ""
            if old.matches:
                hashed = await self._passwords.hash(place, request.new_password)
        refused = await call.run(
            lambda unit: password_changes.complete_change(unit, begun, old, hashed, desk=self._desk)
        )
        return refused or pb.ChangePasswordResponse()

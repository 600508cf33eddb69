"""What a mail brings is good for what it was mailed for, and for nothing else."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import otp_service_pb2 as otp_pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from tests.rpc.auth.otp_scenes import INVALID as CODE_INVALID
from tests.rpc.auth.otp_scenes import start
from tests.rpc.auth.scenes import ANOTHER_PASSWORD, mail_number, sign_up_request, tokens_in
from tests.rpc.auth.test_email_change import ask as ask_change
from tests.rpc.auth.test_passwords_reset import token_for
from tests.support.serve import Greenroom
from tests.support.statuses import refused

TOKEN_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID")


async def _newest(server: Greenroom, email: str, number: int) -> str:
    (token,) = tokens_in(await mail_number(server, email, number))
    return token


async def _of_a_sign_up(server: Greenroom) -> str:
    await server.auth.SignUp(sign_up_request("new@example.com"))
    return await _newest(server, "new@example.com", 1)


async def _of_a_change(server: Greenroom) -> str:
    """To the address that the account has already, unproven: only its purpose keeps it from setting a
    password."""
    await server.auth.SignUp(sign_up_request("early@example.com"))
    early = await server.log_in("early@example.com")
    await mail_number(server, early.email, 1)
    server.clock.advance(61)  # type: ignore[attr-defined]
    await ask_change(server, early, early.email)
    return await _newest(server, early.email, 2)


async def _of_a_reset(server: Greenroom) -> str:
    return await token_for(server, await server.person("Ada"), 2)


async def _of_a_link(server: Greenroom) -> str:
    ada = await server.person("Ada")
    await start(server, ada.email, otp_pb.OTP_PURPOSE_MAGIC_LINK)
    return await _newest(server, ada.email, 2)


def _verify_email(server: Greenroom, token: str) -> Awaitable[object]:
    return server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))


def _reset_password(server: Greenroom, token: str) -> Awaitable[object]:
    request = password_pb.ResetPasswordRequest(token=token, password=ANOTHER_PASSWORD)
    return server.passwords.ResetPassword(request)


def _sign_in(server: Greenroom, token: str) -> Awaitable[object]:
    return server.otps.VerifyOtp(otp_pb.VerifyOtpRequest(token=token))


_Use = Callable[[Greenroom, str], Awaitable[object]]

_REFUSALS: dict[_Use, tuple[StatusCode, str]] = {
    _verify_email: TOKEN_INVALID,
    _reset_password: TOKEN_INVALID,
    _sign_in: CODE_INVALID,
}


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (_of_a_sign_up, _verify_email),
        (_of_a_change, _verify_email),
        (_of_a_reset, _reset_password),
        (_of_a_link, _sign_in),
    ],
)
async def test_a_token_is_taken_by_its_own_method_only(
    serve: Callable[..., Any],
    made: Callable[[Greenroom], Awaitable[str]],
    right: _Use,
) -> None:
    server: Greenroom = await serve(auto_activate=True)
    token = await made(server)
    for use, refusal in _REFUSALS.items():
        if use is not right:
            await refused(use(server, token), *refusal)
    await right(server, token)
    await refused(right(server, token), *_REFUSALS[right])

"""What the tests of one-time codes do over and over."""

import asyncio
import itertools
import re
import time
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import otp_service_pb2 as pb
from greenroom.auth.v1 import user_pb2
from server.auth.models import Otp
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit, mail_number
from tests.support.serve import PASSWORD, Greenroom, Person

PHONE = "+491701234567"
OTHER_PHONE = "+491701234568"

INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_OTP_INVALID")
RECENTLY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_OTP_SENT_RECENTLY")
TOO_MANY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_TOO_MANY_ATTEMPTS")
BAD_PHONE = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PHONE_INVALID")
DOWN = (StatusCode.UNAVAILABLE, "AUTH_ERROR_REASON_OTP_SENDER_UNAVAILABLE")

_numbers = itertools.count(1)


def new_phone() -> str:
    """A number that no other test uses."""
    return f"+4917020{next(_numbers):05}"


def texts_to(server: Greenroom, phone: str) -> list[str]:
    """Every text to a number so far, oldest first."""
    found = sorted(server.settings.mail_dir.glob("*.txt"))
    texts = [path.read_text() for path in found]
    return [text for text in texts if text.startswith(f"To: {phone}\n")]


async def until(ready: Callable[[], bool], what: str) -> None:
    """Waits for what a job does."""
    end = time.monotonic() + 10
    while not ready():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.01)


async def texted_code(server: Greenroom, phone: str, count: int = 1) -> str:
    """The code of the newest text to a number, once there are ``count`` of them."""
    await until(lambda: len(texts_to(server, phone)) >= count, f"no text {count} to {phone}")
    match = re.search(r"\b[0-9]{6}\b", texts_to(server, phone)[count - 1].partition("\n")[2])
    assert match
    return match[0]


async def mailed_code(server: Greenroom, address: str, number: int) -> str:
    """The code in one of the mails to an address, counted from 1."""
    body = (await mail_number(server, address, number)).get_body(("plain",))
    assert body is not None
    match = re.search(r"^Code: ([0-9]{6})\s*$", body.get_content(), re.MULTILINE)
    assert match, body.get_content()
    return match[1]


def another(code: str) -> str:
    """A wrong code."""
    return f"{(int(code) + 1) % 10**6:06}"


async def start(
    server: Greenroom, to: str, purpose: pb.OtpPurpose = pb.OTP_PURPOSE_SIGN_IN, otp_id: str = ""
) -> pb.OtpChallenge:
    """Asks for a code."""
    request = pb.StartOtpRequest(purpose=purpose, otp_id=otp_id)
    setattr(request, "email" if "@" in to else "phone", to)
    return (await server.otps.StartOtp(request)).otp


def verify(server: Greenroom, otp_id: str, code: str) -> Awaitable[pb.VerifyOtpResponse]:
    """Gives a code."""
    return server.otps.VerifyOtp(pb.VerifyOtpRequest(otp_id=otp_id, code=code))


def sign_up_by_phone(
    server: Greenroom, phone: str, password: str = PASSWORD
) -> Awaitable[auth_pb.SignUpResponse]:
    """Signs up."""
    request = auth_pb.SignUpRequest(
        phone=phone, password=password, persona=user_pb2.PERSONA_BRAND, display_name="Ada"
    )
    return server.auth.SignUp(request)


def log_in_by_phone(
    server: Greenroom, phone: str, password: str = PASSWORD
) -> Awaitable[auth_pb.LogInResponse]:
    """Logs in."""
    return server.auth.LogIn(auth_pb.LogInRequest(phone=phone, password=password))


async def settled(server: Greenroom, phone: str) -> str:
    """Somebody new with a proven number and a password; the id of the account."""
    signed_up = await sign_up_by_phone(server, phone)
    await verify(server, signed_up.otp_id, await texted_code(server, phone))
    reply = await log_in_by_phone(server, phone)
    return reply.signed_in.user.id


async def change_phone(server: Greenroom, person: Person, phone: str) -> pb.OtpChallenge:
    """Asks for a code to a new number."""
    request = pb.ChangePhoneRequest(new_phone=phone)
    return (await server.otps.ChangePhone(request, metadata=person.metadata)).otp


async def otp_row(server: Greenroom, otp_id: str) -> Otp:
    """The row of a code."""

    def read(_unit: Unit) -> Otp:
        found: Otp = Otp.get_by_id(otp_id)
        return found

    return await in_unit(server, read)


def bytes_but_ids(message: Message, *known: str) -> bytes:
    """A reply without what must differ: ids, and what the caller said itself."""
    encoded = message.SerializeToString()
    ids = rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
    encoded = re.sub(ids, b"?", encoded)
    for text in known:
        encoded = encoded.replace(text.encode(), b"?" * 13)
    return encoded

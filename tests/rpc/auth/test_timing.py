"""How long answers take says nothing about who is known here (A-8). Only by ``make soak-timing``: a machine
that does something else meanwhile says nothing either."""

import os
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import otp_service_pb2 as otp_pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from tests.rpc.auth.scenes import sign_up_request, turn
from tests.support.serve import Greenroom
from tests.support.statuses import code_of
from tests.support.timing import median_interval

pytestmark = pytest.mark.soak

PAIRS = int(os.environ.get("TIMING_PAIRS", "2000"))
MOST_MS = 2.0
HALF_A_DAY = 13 * 3600.0
"""After this long no count of tries or of mails is left of the calls before."""

Way = Callable[[Greenroom, str], Awaitable[object]]


def log_in(server: Greenroom, email: str) -> Awaitable[object]:
    """With a wrong password."""
    return server.auth.LogIn(auth_pb.LogInRequest(email=email, password="not this one at all"))


def sign_up(server: Greenroom, email: str) -> Awaitable[object]:
    """With an address that has an account, or has none."""
    return server.auth.SignUp(sign_up_request(email))


def reset(server: Greenroom, email: str) -> Awaitable[object]:
    """Asks for a mail."""
    return server.passwords.RequestPasswordReset(
        password_pb.RequestPasswordResetRequest(email=email)
    )


def start_otp(server: Greenroom, email: str) -> Awaitable[object]:
    """Asks for a code to sign in with."""
    return server.otps.StartOtp(
        otp_pb.StartOtpRequest(purpose=otp_pb.OTP_PURPOSE_SIGN_IN, email=email)
    )


@pytest.mark.parametrize("way", [log_in, sign_up, reset, start_otp])
async def test_the_known_take_as_long_as_the_unknown(
    serve: Callable[..., Awaitable[Greenroom]], way: Way
) -> None:
    server = await serve(bcrypt_cost=6)
    ada = await server.person("Ada")
    order = random.Random(1)
    differences = []
    async with server.jobs_at_rest():
        for number in range(PAIRS + 20):
            turn(server, HALF_A_DAY)
            pair = [(1, ada.email), (-1, f"nobody-{number}@example.com")]
            order.shuffle(pair)
            difference = 0.0
            for sign, email in pair:
                began = time.perf_counter()
                await code_of(way(server, email))
                difference += sign * (time.perf_counter() - began) * 1000
            differences.append(difference)
    low, high = median_interval(differences[20:])
    print(f"{way.__name__}: {low:+.3f} to {high:+.3f} ms, n = {PAIRS}")
    assert low > -MOST_MS and high < MOST_MS

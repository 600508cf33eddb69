"""The Python client where an account has a second factor, and its example."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from server.core.clock import SystemClock
from tests.rpc.auth.second_factors import code_now, enrolled, wrong_code
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import refused

ROOT = Path(__file__).resolve().parents[3]
CODE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_MFA_CODE_INVALID")


@pytest.mark.parametrize("kind", ["totp", "backup_code"])
async def test_a_challenge_is_raised_and_completed(server: Greenroom, kind: str) -> None:
    who = await enrolled(server)

    def now() -> float:
        return server.clock.now().timestamp()

    async with greenroom_client.connect(server.address, now=now) as client:
        with pytest.raises(greenroom_client.SecondFactorNeeded) as raised:
            await client.log_in(email=who.person.email, password=PASSWORD)
        challenge = raised.value.challenge
        assert not client.is_signed_in
        wrong = client.complete_mfa(challenge, totp=wrong_code(server, who.secret))
        await refused(wrong, *CODE_INVALID)
        right = code_now(server, who.secret) if kind == "totp" else who.backup_codes[0]
        signed_in = await client.complete_mfa(challenge, **{kind: right})
        assert signed_in.user.id == who.person.id and client.is_signed_in
        me = await client.auth.GetMe(auth_pb.GetMeRequest())
        assert me.user.id == who.person.id


async def test_the_example_draws_a_picture_and_signs_in(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve(clock=SystemClock())
    ada = await server.person("Ada")
    example = ROOT / "clients/python/examples/two_factors.py"
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        str(example),
        server.address,
        ada.email,
        PASSWORD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "clients/python/src")},
    )
    assert program.stdin is not None and program.stdout is not None

    async def read_until(question: bytes) -> str:
        assert program.stdout is not None
        return (await program.stdout.readuntil(question)).decode()

    shown = await read_until(b"shows: ")
    assert shown.count("█") > 100
    secret = re.findall(r"^[A-Z2-7]{32}$", shown, re.MULTILINE)[0]
    program.stdin.write(code_now(server, secret).encode() + b"\n")
    codes = re.findall(r"^\w{5}-\w{5}$", await read_until(b"backup code: "), re.MULTILINE)
    assert len(codes) == 10
    program.stdin.write(codes[3].encode() + b"\n")
    rest = (await program.stdout.read()).decode()
    assert rest.strip() == "Hello, Ada" and await program.wait() == 0

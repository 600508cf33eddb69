"""What the tests of auth do over and over."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any, TypeVar

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import user_pb2
from server.auth.models import AuditEvent, User
from server.auth.wiring import AuthModule
from server.core import engine
from server.core.clock import ManualClock
from server.core.unit import Unit
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import code_of

T = TypeVar("T")

ANOTHER_PASSWORD = "an entirely different secret"


def sign_up_request(
    email: str, password: str = PASSWORD, persona: user_pb2.Persona = user_pb2.PERSONA_CREATOR
) -> pb.SignUpRequest:
    """A request that is right in every field."""
    return pb.SignUpRequest(email=email, password=password, persona=persona)


@contextmanager
def rows_inserted() -> Iterator[Counter[str]]:
    """Counts, by table, the rows that this process inserts meanwhile, also those it takes back."""
    counts: Counter[str] = Counter()
    execute = engine._Engine._execute_cursor

    def counted(self: Any, sql: str, params: Any, **options: Any) -> Any:
        if sql.startswith("INSERT INTO"):
            counts[sql.split()[2].strip('"')] += 1
        return execute(self, sql, params, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine._Engine, "_execute_cursor", counted)
        yield counts


def bearer(access_token: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call with a token."""
    return (("authorization", f"Bearer {access_token}"),)


async def get_me(server: Greenroom, metadata: tuple[tuple[str, str], ...]) -> user_pb2.User:
    """The calling user."""
    return (await server.auth.GetMe(pb.GetMeRequest(), metadata=metadata)).user


async def refused_after(server: Greenroom, metadata: tuple[tuple[str, str], ...]) -> float:
    """Seconds until GetMe is refused."""
    began = time.monotonic()
    while (code := await code_of(get_me(server, metadata))) is StatusCode.OK:
        assert time.monotonic() - began < 3, "never refused"
        await asyncio.sleep(0.02)
    assert code is StatusCode.UNAUTHENTICATED
    return time.monotonic() - began


async def refresh(server: Greenroom, token: str) -> pb.RefreshTokenResponse:
    """Trades a refresh token."""
    return await server.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=token))


def turn(server: Greenroom, seconds: float) -> None:
    """Moves the server's clock."""
    assert isinstance(server.clock, ManualClock)
    server.clock.advance(seconds)


def module_of(server: Greenroom) -> AuthModule:
    """The auth module of the running server."""
    return next(module for module in server.running._modules if isinstance(module, AuthModule))


async def in_unit(server: Greenroom, work: Callable[[Unit], T], *, write: bool = False) -> T:
    """Runs work on the server's database, past all services and without telling anybody."""
    return await server.running.parts.database.run(work, write=write)


async def set_user(server: Greenroom, person: Person, **values: Any) -> None:
    """Changes a user's row behind the server's back, as another process would."""

    def change(unit: Unit) -> None:
        User.update(update_time=unit.now, **values).where(User.id == person.id).execute()

    await in_unit(server, change, write=True)


async def mail_number(server: Greenroom, to: str, number: int) -> EmailMessage:
    """One of the mails to an address, counted from 1, once it has come."""
    end = time.monotonic() + 10
    while len(server.mails(to)) < number:
        assert time.monotonic() < end, f"no mail number {number} to {to}"
        await asyncio.sleep(0.01)
    return server.mails(to)[number - 1]


def tokens_in(mail: EmailMessage) -> list[str]:
    """The tokens that stand alone on a line of a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    lines = body.get_content().splitlines()
    return [line.removeprefix("Token: ") for line in lines if line.startswith("Token: ")]


async def audit_rows(server: Greenroom) -> list[tuple[str, str]]:
    """Action and result of every audit row, oldest first."""

    def read(_unit: Unit) -> list[tuple[str, str]]:
        return [(row.action, row.result) for row in AuditEvent.select().order_by(AuditEvent.id)]

    return await in_unit(server, read)

"""Every kind of caller before every method of all services: let in, or turned away, just as decided
(A-2); and every method on what is one's own, somebody else's and nobody's (``test_matrix_objects``).

The policy is looked at before a request is decoded, so a request that cannot be decoded tells
whether somebody was let in and has no effect.
"""

import asyncio
import csv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import StatusCode, aio

from server.auth.models import Role, User
from server.core.unit import Unit
from tests.rpc.auth.scenes import bearer, in_unit
from tests.rpc.auth.staff import member_of_staff
from tests.support.demands import ADMITTED, TABLE, demands
from tests.support.digests import table_digests
from tests.support.principals import Principal, as_user, powerless, principals, resigned
from tests.support.serve import Greenroom
from tests.support.services import all_methods
from tests.support.statuses import reason_of

UNDECODABLE = b"\xff"
ROOT = Path(__file__).parents[2]
LETTERS = {
    "P": "PUBLIC",
    "U": "USER",
    "O": "OWNER",
    "M": "MEMBER",
    "A": "ADMIN",
    "SA": "SUPER_ADMIN",
    "K": "SERVICE",
}


async def knock(server: Greenroom, method: MethodDescriptor, who: Principal) -> str:
    """How the door answers: the reason of the refusal, or ``ADMITTED``.

    A write that meets the shut door may cost this side of the call the trailers: then it asks again.
    """
    for _ in range(3):
        reason = await _knock_once(server, method, who)
        if reason:
            break
    return reason


async def _knock_once(server: Greenroom, method: MethodDescriptor, who: Principal) -> str:
    path = f"/{method.containing_service.full_name}/{method.name}"
    channel: Any = server.channel
    try:
        if method.client_streaming:
            await _knock_with_a_stream(channel.stream_stream(path)(metadata=who.metadata))
        elif method.server_streaming:
            call = channel.unary_stream(path)(UNDECODABLE, metadata=who.metadata)
            await call.read()
        else:
            await channel.unary_unary(path)(UNDECODABLE, metadata=who.metadata)
    except aio.AioRpcError as error:
        if error.code() is StatusCode.INVALID_ARGUMENT:
            return ADMITTED
        return reason_of(error)
    raise AssertionError(f"{method.full_name} took bytes that are no request")


async def _knock_with_a_stream(stream: Any) -> None:
    """The door may be shut before anything is written, which the write is told, without a reason."""
    with suppress(aio.AioRpcError, asyncio.InvalidStateError):
        await stream.write(UNDECODABLE)
    with suppress(aio.AioRpcError):
        await stream.read()
    code, trailing = await stream.code(), await stream.trailing_metadata()
    raise aio.AioRpcError(code, aio.Metadata(), trailing, details=await stream.details())


async def surprises(
    server: Greenroom, methods: list[MethodDescriptor], callers: list[Principal]
) -> list[tuple[str, str, str, str]]:
    """Method, caller, what was expected and what came, wherever these differ."""
    found = []
    for method in methods:
        demand = demands()[method.full_name]
        for who in callers:
            expected, answer = demand.answer_to(who), await knock(server, method, who)
            if answer != expected:
                found.append((method.full_name, who.name, expected, answer))
    return found


def test_every_method_has_its_row() -> None:
    """Whoever adds a method says in tests/rpc/demands.tsv who may call it."""
    names = {method.full_name for method in all_methods()}
    table = set(demands())
    assert names - table == set(), f"add these to {TABLE.name}"
    assert table - names == set(), f"remove these from {TABLE.name}"


def test_the_table_says_what_the_specification_says() -> None:
    with (ROOT / "tests/contract/rpcs.tsv").open() as file:
        callers = {row["name"]: row["callers"] for row in csv.DictReader(file, delimiter="\t")}
    wrong = {}
    for demand in demands().values():
        specified = callers.get(demand.method.rpartition(".")[2])
        if specified is not None:
            wanted = {LETTERS[letter] for letter in specified.split(",")}
            if wanted != demand.access:
                wrong[demand.method] = (specified, sorted(demand.access))
    assert wrong == {}


async def test_the_door(server: Greenroom) -> None:
    callers = await principals(server)
    assert len(callers) >= 28 and len({who.name for who in callers}) == len(callers)
    async with server.jobs_at_rest():
        before = await in_unit(server, table_digests)
        found = await surprises(server, all_methods(), callers)
        assert found == []
        assert await in_unit(server, table_digests) == before


async def test_a_role_without_its_permissions_opens_less(server: Greenroom) -> None:
    callers = [await powerless(server, role) for role in ("admin", "super_admin")]
    assert all(not who.permissions for who in callers)
    async with server.jobs_at_rest():
        before = await in_unit(server, table_digests)
        assert await surprises(server, all_methods(), callers) == []
        assert await in_unit(server, table_digests) == before


async def test_a_permission_that_is_taken_away_is_missed_at_once(server: Greenroom) -> None:
    staff = await member_of_staff(server, "admin")
    who = await as_user(server, "admin", staff)
    (method,) = (one for one in all_methods() if one.name == "ListUsers")
    assert await knock(server, method, who) == ADMITTED

    def take(unit: Unit) -> None:
        Role.update(permissions=[]).where(Role.name == "admin").execute()
        User.update(update_time=unit.now).where(User.id == staff.id).execute()

    await in_unit(server, take, write=True)
    await _forgotten(server, staff.metadata)
    assert await knock(server, method, who) == "WIRE_ERROR_REASON_ACCESS_DENIED"


async def _forgotten(server: Greenroom, metadata: tuple[tuple[str, str], ...]) -> None:
    from tests.rpc.auth.scenes import module_of, turn

    turn(server, 1)
    await module_of(server).authenticator.look()


async def test_a_token_is_refused_for_what_is_wrong_with_it_alone(server: Greenroom) -> None:
    """Signed anew and else unchanged it is good."""
    person = await server.person("Ada")
    again = resigned(server, person.tokens.tokens.access_token)
    (method,) = (one for one in all_methods() if one.name == "GetMe")
    assert await knock(server, method, Principal("ada", "user", bearer(again))) == ADMITTED


@pytest.mark.parametrize("name", ["GetMe"])
async def test_the_knock_tells_who_was_let_in(serve: Callable[..., Any], name: str) -> None:
    """Against a test that lets everything pass: a demand that is not met is a surprise."""
    server: Greenroom = await serve()
    (method,) = (one for one in all_methods() if one.name == name)
    stranger = Principal("liar", "user", roles=frozenset({"admin"}))
    assert await surprises(server, [method], [stranger]) == [
        (method.full_name, "liar", ADMITTED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
    ]

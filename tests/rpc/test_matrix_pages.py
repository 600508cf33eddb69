"""A page token never authorizes (A-2): for every list, the token that one caller got is nothing to another,
and nothing to the same caller for another list."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode, aio

from greenroom.chat.v1 import message_service_pb2 as message_pb
from server.auth.usecases import (
    api_keys,
    audit_events,
    identities,
    mfa,
    passkeys,
    reviews,
    roles,
    sessions,
    users,
)
from server.core.ids import new_id
from tests.rpc.test_matrix_mutants import fresh
from tests.rpc.test_matrix_objects import somebody
from tests.support.demands import ADMITTED, demands
from tests.support.mutants import without
from tests.support.principals import Principal
from tests.support.resources import RESOURCES
from tests.support.serve import Greenroom
from tests.support.services import all_methods
from tests.support.statuses import reason_of

BY_THEMSELVES = {"ListReplies", "SearchMessages"}
"""Need a thread, or words to look for; tests/rpc/chat has the same for them."""
LISTS = [
    method
    for method in all_methods()
    if "page_token" in method.input_type.fields_by_name and method.name not in BY_THEMSELVES
]
INVALID = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN")
ROLES = {"creator": "viewer", "super_admin": "admin"}
"""Who gets a token, and who else tries it."""


async def _listed(
    server: Greenroom, method: MethodDescriptor, who: Principal, **fields: Any
) -> Any:
    request: Any = GetMessageClass(method.input_type)(page_size=1, **fields)
    channel: Any = server.channel
    call = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return await call(request.SerializeToString(), metadata=who.metadata)


async def _furnished(server: Greenroom, role: str) -> tuple[Principal, dict[str, str]]:
    """Somebody who has two of everything, and the fields that a list demands."""
    who = await somebody(server, role)
    assert who.person is not None
    made = [
        {path: await make(server, who.person) for path, make in RESOURCES.items()} for _ in range(2)
    ]
    return who, {"channel_id": made[0]["channel_id"]}


async def _tokens(server: Greenroom, who: Principal, needed: dict[str, str]) -> dict[str, str]:
    """A token of every list that somebody may have."""
    found = {}
    for method in LISTS:
        demand = demands()[method.full_name]
        if demand.answer_to(who) == ADMITTED and "SERVICE" not in demand.access:
            if method.name == "ListMessages":
                await _second_message(server, who, needed["channel_id"])
            page = await _listed(server, method, who, **_fields(method, needed))
            assert page.next_page_token, f"{method.name} has one page only"
            found[method.full_name] = page.next_page_token
    return found


def _fields(method: MethodDescriptor, needed: dict[str, str]) -> dict[str, str]:
    names = method.input_type.fields_by_name
    return {name: value for name, value in needed.items() if name in names}


async def misused(server: Greenroom, role: str) -> tuple[int, list[tuple[str, str, str]]]:
    """How many tokens there were; and method, token and caller where one was not refused that is
    somebody else's or another list's."""
    who, needed = await _furnished(server, role)
    other = await somebody(server, ROLES[role])
    tokens = await _tokens(server, who, needed)
    wrong = []
    for method in LISTS:
        for name, token in tokens.items():
            for caller in (who, other):
                own = caller is who and name == method.full_name
                if demands()[method.full_name].answer_to(caller) != ADMITTED:
                    continue
                fields = _fields(method, needed)
                if await _is_taken(server, method, caller, token, fields) != own:
                    wrong.append((method.full_name, name, caller.name))
    return len(tokens), wrong


async def _is_taken(
    server: Greenroom, method: MethodDescriptor, who: Principal, token: str, fields: dict[str, str]
) -> bool:
    try:
        await _listed(server, method, who, page_token=token, **fields)
    except aio.AioRpcError as error:
        # Of a channel that is not theirs a stranger is not even told that the token is wrong.
        hidden = error.code() is StatusCode.NOT_FOUND and "channel_id" in fields
        return not hidden and (error.code(), reason_of(error)) != INVALID
    return True


@pytest.mark.parametrize("role", ROLES)
async def test_a_page_token_is_its_callers_alone(server: Greenroom, role: str) -> None:
    count, wrong = await misused(server, role)
    assert count >= (6 if role == "creator" else 9)
    assert wrong == []


BINDINGS: list[tuple[Callable[..., Any], str, str]] = [
    (audit_events.list_audit_events, ', "reader": unit.caller.user_id', "creator"),
    (sessions.list_sessions, ', "user": unit.caller.user_id', "creator"),
    (mfa.list_factors, ', "user": unit.caller.user_id', "creator"),
    (identities.list_identities, ', "user": unit.caller.user_id', "creator"),
    (passkeys.list_passkeys, ', "user": unit.caller.user_id', "creator"),
    (api_keys.list_api_keys, '"user": whose, "caller": unit.caller.user_id', "creator"),
    (users.list_users, '"caller": unit.caller.user_id,', "super_admin"),
    (roles.list_roles, ', "caller": unit.caller.user_id', "super_admin"),
    (reviews.list_registrations, '"caller": unit.caller.user_id,', "super_admin"),
]
"""What binds the token of a list to its caller."""


@pytest.mark.parametrize(
    ("where", "there", "role"), BINDINGS, ids=[one[0].__name__ for one in BINDINGS]
)
async def test_a_token_that_is_bound_to_nobody_is_noticed(
    tmp_path: Path, where: Callable[..., Any], there: str, role: str
) -> None:
    async with fresh(tmp_path) as server:
        with without(where, there, ""):
            assert (await misused(server, role))[1]


async def _second_message(server: Greenroom, who: Principal, channel_id: str) -> None:
    request = message_pb.SendMessageRequest(channel_id=channel_id, client_id=new_id(), text="two")
    await server.messages.SendMessage(request, metadata=who.metadata)

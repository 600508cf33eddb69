"""Every method on what is one's own, somebody else's and nobody's (A-2): somebody else's looks like
nobody's, to the byte, and stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from grpc import StatusCode, aio

from server.auth.models import User
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit
from tests.rpc.auth.staff import member_of_staff
from tests.support.demands import ADMITTED, demands
from tests.support.digests import table_digests
from tests.support.principals import (
    Principal,
    admin_permitted,
    as_user,
    clerk,
    deleted,
    powerful_admin,
    powerless,
    service,
)
from tests.support.resources import (
    CANARY,
    FOR_EVERYBODY,
    NO_RESOURCE,
    RESOURCES,
    REST_OF_REQUEST,
    TESTED_ELSEWHERE,
    id_paths,
)
from tests.support.serve import Greenroom, Person
from tests.support.services import all_methods

STRANGERS = ("creator", "agent", "viewer", "staff_editor", "clerk", "powerless admin", "deleted")
STAFF = ("admin", "super_admin")
ODD = {
    "clerk": clerk,
    "deleted": deleted,
    "powerful admin": powerful_admin,
    "service": service("full", "auth.web_storage", "auth.tokens.introspect"),
    "reading admin": lambda server: admin_permitted(server, "auth.users.read"),
    "powerless admin": lambda server: powerless(server, "admin"),
}
REFUSED = {StatusCode.NOT_FOUND, StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED}


def paths_of(method: MethodDescriptor) -> list[str]:
    return [path for path in id_paths(method.input_type) if path not in NO_RESOURCE]


def _is_for_services(method: MethodDescriptor) -> bool:
    demand = demands().get(method.full_name)
    return demand is not None and demand.access == {"SERVICE"}


METHODS = [
    method
    for method in all_methods()
    if paths_of(method)
    and not _is_for_services(method)
    and method.full_name not in TESTED_ELSEWHERE | FOR_EVERYBODY
]


@dataclass(frozen=True)
class Answer:
    """What a caller gets to see, with the id that was asked for blotted out."""

    code: StatusCode
    text: str
    details: bytes
    reply: bytes


async def ask(
    server: Greenroom, method: MethodDescriptor, who: Principal, path: str, value: str
) -> Answer:
    """Makes the call about one thing."""
    rest = REST_OF_REQUEST.get(method.name, lambda _server: {})
    request: Any = GetMessageClass(method.input_type)(**rest(server))
    *outer, name = path.split(".")
    setattr(getattr(request, outer[0]) if outer else request, name, value)
    call = server.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
    try:
        reply = await call(request.SerializeToString(), metadata=who.metadata)
    except aio.AioRpcError as error:
        return _refusal(error, value)
    return Answer(StatusCode.OK, "", b"", reply.replace(value.encode(), b"ID"))


def _refusal(error: aio.AioRpcError, value: str) -> Answer:
    details = b""
    for key, raw in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(raw)  # type: ignore[arg-type]
            kept = [one for one in status.details if not one.type_url.endswith("RequestInfo")]
            details = b"\n".join(one.SerializeToString() for one in kept)
            details += status.message.encode()
    text = (error.details() or "").replace(value, "ID")
    return Answer(error.code(), text, details.replace(value.encode(), b"ID"), b"")


def _reaches(method: MethodDescriptor, who: Principal) -> bool:
    """Whether somebody may do it to what belongs to others: who permits is the role, not its name."""
    admin = bool(who.roles & set(STAFF)) and bool(who.permissions)
    return "ADMIN" in demands()[method.full_name].access and admin


def test_every_id_has_a_factory() -> None:
    """Whoever adds a field that names a resource says in tests/support/resources.py how to make
    one, or why it is none."""
    missing = {
        f"{method.full_name}: {path}"
        for method in all_methods()
        if not _is_for_services(method) and method.full_name not in TESTED_ELSEWHERE
        for path in paths_of(method)
        if path not in RESOURCES
    }
    assert missing == set(), "add these to RESOURCES in tests/support/resources.py"


async def somebody(server: Greenroom, role: str) -> Principal:
    """Somebody new who is signed in."""
    if role in ODD:
        return await ODD[role](server)
    person = await (
        server.person("Somebody") if role == "creator" else member_of_staff(server, role, "Staff")
    )
    return await as_user(server, role, person)


async def _other(server: Greenroom) -> Person:
    other = await server.person("Other")

    def mark(_unit: Unit) -> None:
        User.update(display_name=CANARY).where(User.id == other.id).execute()

    await in_unit(server, mark, write=True)
    for make in RESOURCES.values():
        await make(server, other)
    return other


@pytest.mark.parametrize("role", [*STRANGERS, *STAFF])
async def test_what_is_not_ones_own_is_not_there(server: Greenroom, role: str) -> None:
    assert await laid_open(server, await somebody(server, role), METHODS) == []


async def laid_open(
    server: Greenroom, who: Principal, methods: Sequence[MethodDescriptor]
) -> list[tuple[object, ...]]:
    """Where somebody else's thing can be told from nobody's, or is changed."""
    other = await _other(server)
    differing: list[tuple[object, ...]] = []
    for method in methods:
        if _reaches(method, who) or demands()[method.full_name].answer_to(who) != ADMITTED:
            continue
        for path in paths_of(method):
            foreign_id = await RESOURCES[path](server, other)
            async with server.jobs_at_rest():
                before = await in_unit(server, table_digests)
                foreign = await ask(server, method, who, path, foreign_id)
                absent = await ask(server, method, who, path, new_id())
                after = await in_unit(server, table_digests)
            changed = {name for name in after if after[name] != before.get(name)}
            seen = foreign.reply + foreign.details + foreign.text.encode()
            told = CANARY.encode() in seen or other.email.encode() in seen
            if foreign != absent or changed - {"idempotency_keys"} or told:
                differing.append((method.full_name, path, foreign, absent, changed))
    return differing


async def test_what_is_ones_own_is_reached(server: Greenroom) -> None:
    unreached = []
    for method in METHODS:
        demand = demands()[method.full_name]
        if not demand.access & {"USER", "OWNER", "MEMBER"}:
            continue
        for path in paths_of(method):
            who = await somebody(server, "creator")
            assert who.person is not None
            value = await RESOURCES[path](server, who.person)
            answer = await ask(server, method, who, path, value)
            if answer.code in REFUSED and not _is_own_refusal(method, answer):
                unreached.append((method.full_name, path, answer))
            if answer.code is StatusCode.INVALID_ARGUMENT and b"FIELD" in answer.details:
                unreached.append((method.full_name, "add to REST_OF_REQUEST", answer))
    assert unreached == []


def _is_own_refusal(method: MethodDescriptor, answer: Answer) -> bool:
    """A wrong code is refused on one's own things too."""
    return answer.code is StatusCode.UNAUTHENTICATED and b"CODE" in answer.details


@pytest.mark.parametrize("role", STAFF)
async def test_staff_reach_what_belongs_to_others(server: Greenroom, role: str) -> None:
    who = await somebody(server, role)
    unreached = []
    for method in METHODS:
        if not _reaches(method, who):
            continue
        for path in paths_of(method):
            value = await RESOURCES[path](server, await _other(server))
            absent = await ask(server, method, who, path, new_id())
            answer = await ask(server, method, who, path, value)
            if answer.code in REFUSED or answer.code is StatusCode.INVALID_ARGUMENT:
                unreached.append((method.full_name, path, answer))
            if not method.name.startswith("List") and absent.code is not StatusCode.NOT_FOUND:
                unreached.append((method.full_name, path, absent))
    assert unreached == []


@pytest.mark.parametrize("role", STRANGERS)
async def test_no_list_shows_what_is_somebody_elses(server: Greenroom, role: str) -> None:
    assert await shown_to(server, await somebody(server, role), all_methods()) == []


async def shown_to(
    server: Greenroom, who: Principal, methods: Sequence[MethodDescriptor]
) -> list[str]:
    """The reads whose replies hold anything of somebody else."""
    other = await _other(server)
    shown = []
    for method in methods:
        if method.client_streaming or method.server_streaming or _is_for_services(method):
            continue
        reads = method.GetOptions().idempotency_level == 1
        if not reads or demands()[method.full_name].answer_to(who) != ADMITTED:
            continue
        call = server.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
        try:
            reply = await call(b"", metadata=who.metadata)
        except aio.AioRpcError:
            continue
        if CANARY.encode() in reply or other.email.encode() in reply or other.id.encode() in reply:
            shown.append(method.full_name)
    return shown

"""ListAuditEvents: who may read which events, the filters, the pages."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from greenroom.auth.v1 import audit_event_pb2
from greenroom.auth.v1 import audit_service_pb2 as pb
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from server.auth.models import AuditEvent, Role
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit, module_of, turn
from tests.rpc.auth.staff import give, member_of_staff
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, refused

MISSING = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
INVALID = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")
BAD_PAGE = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN")


async def _page(server: Greenroom, by: Person, **query: Any) -> pb.ListAuditEventsResponse:
    request = pb.ListAuditEventsRequest(**query)
    return await server.audit.ListAuditEvents(request, metadata=by.metadata)


async def _all(
    server: Greenroom, by: Person, page_size: int = 200, **query: Any
) -> list[audit_event_pb2.AuditEvent]:
    found: list[audit_event_pb2.AuditEvent] = []
    token = ""
    while True:
        page = await _page(server, by, page_size=page_size, page_token=token, **query)
        found += page.events
        token = page.next_page_token
        if not token:
            return found


def _ids(events: Sequence[audit_event_pb2.AuditEvent]) -> list[str]:
    return [event.id for event in events]


async def test_staff_read_all_and_others_their_own(server: Greenroom) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    await failure_of(server.log_in(bob.email, "wrong"))
    for role in ("admin", "super_admin"):
        staff = await member_of_staff(server, role, role)
        everything = await _all(server, staff)
        count = await in_unit(server, lambda _unit: AuditEvent.select().count())
        assert len(everything) == count and {ada.id, bob.id} < {e.actor_id for e in everything}
    for role in ("agent", "viewer", "staff_editor"):
        other = await member_of_staff(server, role, role)
        assert {event.actor_id for event in await _all(server, other)} == {other.id}
    mine = await _all(server, ada)
    assert mine and {event.actor_id for event in mine} == {ada.id}


async def test_a_filter_widens_nothing(server: Greenroom) -> None:
    ada = await server.person("Ada")
    bob = await server.person("Bob")
    for query in (
        {"actor_id": bob.id},
        {"resource": f"sessions/{bob.session_id}"},
        {"resource": f"users/{bob.id}"},
    ):
        foreign = await _page(server, ada, **query)
        absent = await _page(server, ada, actor_id="nobody")
        assert foreign.SerializeToString() == absent.SerializeToString() == b""


async def test_an_administrator_without_the_permission_reads_only_their_own(
    server: Greenroom,
) -> None:
    await server.person("Ada")

    def take_away(_unit: Unit) -> None:
        role = Role.get(Role.name == "admin")
        kept = [name for name in role.permissions if name != "auth.audit.read"]
        Role.update(permissions=kept).where(Role.id == role.id).execute()

    await in_unit(server, take_away, write=True)
    staff = await member_of_staff(server, "admin")
    assert {event.actor_id for event in await _all(server, staff)} == {staff.id}


async def test_an_event_tells_who_did_what_from_where(server: Greenroom) -> None:
    staff = await member_of_staff(server)
    ada = await server.person("Ada")
    await server.auth.LogOut(auth_pb.LogOutRequest(), metadata=ada.metadata)
    await module_of(server).sealer.seal_all()
    event = (await _page(server, staff, page_size=1)).events[0]
    assert (event.actor_kind, event.actor_id, event.session_id) == ("user", ada.id, ada.session_id)
    assert (event.action, event.result) == ("session.log_out", "OK")
    assert event.resource == f"sessions/{ada.session_id}" and event.ip_address == "127.0.0.1"
    assert event.method == "greenroom.auth.v1.AuthService.LogOut" and event.request_id
    assert event.user_agent.startswith("grpc-python") and len(event.chain_hash) == 64
    count = await in_unit(server, lambda _unit: AuditEvent.select().count())
    assert event.sequence_number == count
    signed_in = (await _page(server, staff, action="session.log_in", actor_id=ada.id)).events[0]
    assert dict(signed_in.details) == {"by": "password"}


def _fill(unit: Unit) -> None:
    rounds = random.Random(5)
    for number in range(60):
        AuditEvent.insert(
            id=f"{number:036d}",
            create_time=unit.now + timedelta(seconds=rounds.randint(0, 20)),
            actor_kind="user",
            actor_id=rounds.choice(["one", "two"]),
            action=rounds.choice(["test.a", "test.b", "Test.A"]),
            resource=rounds.choice(["things/1", "things/2"]),
            result=rounds.choice(["OK", "NOT_OK"]),
            metadata='{"count":3,"text":"x","flag":true,"list":[1]}',
        ).execute()


def _stamp(server: Greenroom, seconds: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(server.clock.now() + timedelta(seconds=seconds))
    return stamp


async def test_filters_are_exact_and_go_together(server: Greenroom) -> None:
    staff = await member_of_staff(server)
    turn(server, 100)
    await in_unit(server, _fill, write=True)
    everything = await _all(server, staff, start_time=_stamp(server, 0))
    assert len(everything) == 60
    assert dict(everything[0].details) == {
        "count": "3",
        "text": "x",
        "flag": "true",
        "list": "[1]",
    }
    queries: list[dict[str, str]] = [
        {"actor_id": "one"},
        {"action": "test.a"},
        {"resource": "things/2"},
        {"result": "NOT_OK"},
        {"actor_id": "two", "action": "test.b", "resource": "things/1", "result": "OK"},
        {"action": "test.%"},
        {"action": "TEST.A"},
    ]
    for query in queries:
        expected = [
            event.id
            for event in everything
            if all(getattr(event, name) == value for name, value in query.items())
        ]
        assert _ids(await _all(server, staff, 7, **query)) == expected, query
    start, end = _stamp(server, 5), _stamp(server, 9)
    within = [e.id for e in everything if start.seconds <= e.create_time.seconds < end.seconds]
    assert _ids(await _all(server, staff, 3, start_time=start, end_time=end)) == within != []


async def test_pages_come_newest_first_and_without_gaps(server: Greenroom) -> None:
    staff = await member_of_staff(server)
    turn(server, 100)
    await in_unit(server, _fill, write=True)
    start = _stamp(server, 0)
    for size in (1, 7, 59, 60, 200):
        found = await _all(server, staff, size, start_time=start)
        keys = [(e.create_time.seconds, e.create_time.nanos, e.id) for e in found]
        assert len(set(keys)) == 60 and keys == sorted(keys, reverse=True)


async def test_what_happens_meanwhile_moves_no_page(server: Greenroom) -> None:
    staff = await member_of_staff(server)
    turn(server, 100)
    await in_unit(server, _fill, write=True)
    first = await _page(server, staff, page_size=10)
    turn(server, 60)
    await server.person("Ada")
    second = await _page(server, staff, page_size=10, page_token=first.next_page_token)
    rest = await _all(server, staff)
    ids = _ids(rest)
    at = ids.index(first.events[0].id)
    assert _ids(first.events) + _ids(second.events) == ids[at : at + 20]


async def test_a_page_token_is_bound_to_reader_and_filters(server: Greenroom) -> None:
    staff = await member_of_staff(server)
    other = await member_of_staff(server, "admin", "Other")
    token = (await _page(server, staff, page_size=1)).next_page_token
    for by, query in (
        (other, {}),
        (staff, {"action": "session.log_in"}),
        (staff, {"start_time": _stamp(server, -(10**6))}),
        (staff, {"end_time": _stamp(server, 10**6)}),
    ):
        await refused(_page(server, by, page_size=1, page_token=token, **query), *BAD_PAGE)
    await refused(_page(server, staff, page_token=token[:-1]), *BAD_PAGE)


@pytest.mark.parametrize(
    "query",
    [
        {"page_size": -1},
        {"page_size": 201},
        {"action": "x" * 101},
        {"resource": "x" * 201},
        {"start_time": Timestamp(seconds=5), "end_time": Timestamp(seconds=5)},
        {"start_time": Timestamp(seconds=-1)},
        {"end_time": Timestamp(seconds=5, nanos=-5)},
        {"end_time": Timestamp(seconds=10**15)},
    ],
)
async def test_a_wrong_question_is_refused(server: Greenroom, query: dict[str, Any]) -> None:
    ada = await server.person("Ada")
    await refused(_page(server, ada, **query), *INVALID)


async def test_nobody_reads_it_without_signing_in(server: Greenroom) -> None:
    await refused(server.audit.ListAuditEvents(pb.ListAuditEventsRequest()), *MISSING)


async def test_a_role_that_is_taken_away_takes_the_reading_along(server: Greenroom) -> None:
    await server.person("Bob")
    ada = await server.person("Ada")
    await give(server, ada, "admin")
    assert len({event.actor_id for event in await _all(server, ada)}) > 1

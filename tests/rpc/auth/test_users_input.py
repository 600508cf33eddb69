"""Whatever a member of staff sends, the answer is a documented one: nothing reaches the database
that it does not take."""

from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc import StatusCode

from greenroom.auth.v1 import registration_service_pb2, role_service_pb2, user_pb2, user_service_pb2
from greenroom.auth.v1 import user_service_pb2 as pb
from tests.rpc.auth.staff import later, list_users, member_of_staff, set_roles, update
from tests.support.messages import examples, messages
from tests.support.serve import Greenroom
from tests.support.statuses import code_of

METHODS = [
    method
    for file in (user_service_pb2, role_service_pb2, registration_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
BUGS = {StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.UNIMPLEMENTED}
ODD = ("\0", "a\0b", "%", "_", "\\", "'", "\u202e", "\ufffe", "\U0010ffff", "x" * 100, "ß" * 50)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_generated_requests(server: Greenroom, method: MethodDescriptor) -> None:
    top = await member_of_staff(server, "super_admin")
    ada = await server.person("Ada")
    found = examples(messages(method.input_type), 40)
    path = f"/{method.containing_service.full_name}/{method.name}"
    call = server.channel.unary_unary(path)
    for message in found:
        for request in (message, _aimed(message, ada.id)):
            code = await code_of(call(request.SerializeToString(), metadata=top.metadata))
            assert code not in BUGS, (code, request)


def _aimed(message: Any, user_id: str) -> Any:
    """The same request about an account that exists."""
    aimed = type(message)()
    aimed.CopyFrom(message)
    if "user_id" in aimed.DESCRIPTOR.fields_by_name:
        aimed.user_id = user_id
    if "user" in aimed.DESCRIPTOR.fields_by_name:
        aimed.user.id, aimed.user.etag = user_id, ""
        aimed.update_mask.paths[:] = ["display_name", "first_name", "language", "avatar_url"]
    return aimed


@pytest.mark.parametrize("text", ODD, ids=ascii)
async def test_odd_texts(server: Greenroom, text: str) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    calls = [
        list_users(server, admin, text=text),
        list_users(server, admin, role=text),
        set_roles(server, admin, ada.id, text),
        update(server, admin, ada.id, display_name=text, first_name=text, last_name=text),
        update(server, ada, ada.id, avatar_url=f"https://x/{text}"),
        update(server, admin, ada.id, primary_role=text),
        update(server, admin, ada.id, etag=text[:60], display_name="x"),
        server.users.BanUser(
            pb.BanUserRequest(user_id=ada.id, reason=text), metadata=admin.metadata
        ),
    ]
    for call in calls:
        code = await code_of(call)
        assert code not in BUGS, text


async def test_odd_times(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    for seconds, nanos in (
        (-(2**63), 0),
        (2**63 - 1, 0),
        (253402300800, 0),
        (253402300799, 999_999_999),
        (later(server).seconds, -1),
        (later(server).seconds, 2**31 - 1),
    ):
        request = pb.SuspendUserRequest(user_id=ada.id, reason="x")
        request.until_time.seconds, request.until_time.nanos = seconds, nanos
        code = await code_of(server.users.SuspendUser(request, metadata=admin.metadata))
        assert code is StatusCode.INVALID_ARGUMENT, (seconds, nanos)


async def test_odd_masks(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for path in ("*", "Display_Name", "display_name.x", "user.display_name", "", "\0", "x" * 9000):
        request = pb.UpdateUserRequest(user=user_pb2.User(id=ada.id, display_name="x"))
        request.update_mask.paths.append(path)
        code = await code_of(server.users.UpdateUser(request, metadata=ada.metadata))
        assert code is StatusCode.INVALID_ARGUMENT, path


async def test_an_unknown_enum_value_is_refused(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    request = pb.UpdateUserRequest(user=user_pb2.User(id=admin.id, access_level=99))  # type: ignore[arg-type]
    request.update_mask.paths.append("access_level")
    code = await code_of(server.users.UpdateUser(request, metadata=admin.metadata))
    assert code is StatusCode.INVALID_ARGUMENT

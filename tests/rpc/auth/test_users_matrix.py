"""Who may call what: every kind of caller against every method of accounts, roles and sign-ups, on
their own account and on somebody else's."""

from collections.abc import Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import registration_service_pb2 as registration_pb
from greenroom.auth.v1 import role_service_pb2 as role_pb
from greenroom.auth.v1 import user_pb2
from greenroom.auth.v1 import user_service_pb2 as pb
from tests.rpc.auth.staff import later, member_of_staff
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of

ABSENT = "01a1fd55-5306-7254-b82c-94e8d6883617"
CALLERS = ("nobody", "person", "agent", "staff_editor", "viewer", "admin", "super_admin")
ADMINS = {"admin", "super_admin"}

Build = Callable[[Greenroom, str], Any]


def _update(_server: Greenroom, user_id: str) -> pb.UpdateUserRequest:
    request = pb.UpdateUserRequest(user=user_pb2.User(id=user_id, display_name="new"))
    request.update_mask.paths.append("display_name")
    return request


METHODS: dict[str, tuple[str, bool, Build]] = {
    "ListUsers": ("users", False, lambda _server, _id: pb.ListUsersRequest()),
    "GetUser": ("users", True, lambda _server, user_id: pb.GetUserRequest(user_id=user_id)),
    "CreateUser": (
        "users",
        False,
        lambda _server, user_id: pb.CreateUserRequest(email=f"{user_id[-12:]}@example.com"),
    ),
    "UpdateUser": ("users", True, _update),
    "SuspendUser": (
        "users",
        False,
        lambda server, user_id: pb.SuspendUserRequest(
            user_id=user_id, until_time=later(server), reason="x"
        ),
    ),
    "ReinstateUser": (
        "users",
        False,
        lambda _server, user_id: pb.ReinstateUserRequest(user_id=user_id),
    ),
    "BanUser": (
        "users",
        False,
        lambda _server, user_id: pb.BanUserRequest(user_id=user_id, reason="x"),
    ),
    "UndeleteUser": (
        "users",
        True,
        lambda _server, user_id: pb.UndeleteUserRequest(user_id=user_id),
    ),
    "DeleteUser": ("users", True, lambda _server, user_id: pb.DeleteUserRequest(user_id=user_id)),
    "SetUserRoles": (
        "users",
        False,
        lambda _server, user_id: pb.SetUserRolesRequest(user_id=user_id, roles=["brand"]),
    ),
    "ListRoles": ("roles", False, lambda _server, _id: role_pb.ListRolesRequest()),
    "ListRegistrations": (
        "registrations",
        False,
        lambda _server, _id: registration_pb.ListRegistrationsRequest(),
    ),
    "ApproveRegistration": (
        "registrations",
        False,
        lambda _server, _id: registration_pb.ApproveRegistrationRequest(registration_id=ABSENT),
    ),
    "RejectRegistration": (
        "registrations",
        False,
        lambda _server, _id: registration_pb.RejectRegistrationRequest(
            registration_id=ABSENT, reason="x"
        ),
    ),
}
"""Stub, whether owners are let in, and a request about one account."""

NEVER_ON_ONESELF = {"SuspendUser", "ReinstateUser", "BanUser", "SetUserRoles"}
ABOUT_NOTHING = {"ApproveRegistration", "RejectRegistration"}


def _expected(method: str, caller: str, target: str) -> StatusCode:
    owners = METHODS[method][1]
    if caller == "nobody":
        return StatusCode.UNAUTHENTICATED
    if caller not in ADMINS and not owners:
        return StatusCode.PERMISSION_DENIED
    if method in ABOUT_NOTHING:
        return StatusCode.NOT_FOUND
    if caller not in ADMINS:
        return StatusCode.OK if target == "own" else StatusCode.NOT_FOUND
    if target == "own" and method in NEVER_ON_ONESELF:
        return StatusCode.PERMISSION_DENIED
    return StatusCode.OK


@pytest.mark.parametrize("caller", CALLERS)
async def test_the_matrix(server: Greenroom, caller: str) -> None:
    found, expected = {}, {}
    # There is always a second super_admin, so that the last one is not at stake here.
    await member_of_staff(server, "super_admin", "Second")
    for method, (stub, _owners, build) in METHODS.items():
        for target in ("own", "foreign"):
            other = await server.person("Other")
            who = other if caller == "nobody" else await _caller(server, caller)
            user_id = who.id if target == "own" else other.id
            call = getattr(getattr(server, stub), method)
            metadata = () if caller == "nobody" else who.metadata
            key = (method, target)
            found[key] = await code_of(call(build(server, user_id), metadata=metadata))
            expected[key] = _expected(method, caller, target)
    assert found == expected


async def _caller(server: Greenroom, role: str) -> Person:
    return await (server.person("P") if role == "person" else member_of_staff(server, role))


def test_the_matrix_has_every_method() -> None:
    services = (pb, role_pb, registration_pb)
    methods = {
        method.name
        for file in services
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods == set(METHODS)

"""Members of staff, and what the tests of accounts ask of the server."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from greenroom.auth.v1 import user_pb2
from greenroom.auth.v1 import user_service_pb2 as pb
from server.auth.models import Role, UserRole
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit
from tests.support.serve import Greenroom, Person

NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_USER_NOT_FOUND")
DENIED = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_ACCESS_DENIED")
REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")
MISSING = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
OWN = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_OWN_ACCOUNT")
SUPER_ONLY = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_SUPER_ADMIN_ONLY")
LAST = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_LAST_SUPER_ADMIN")
STATUS = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_STATUS_FORBIDS")
ETAG = (StatusCode.ABORTED, "WIRE_ERROR_REASON_ETAG_MISMATCH")
INVALID = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")

DAY = 86_400.0


async def member_of_staff(server: Greenroom, role: str = "admin", name: str = "Staff") -> Person:
    """Somebody new who holds a role, given behind the server's back before their first call."""
    person = await server.person(name)
    await give(server, person, role)
    return person


async def give(server: Greenroom, person: Person, role: str) -> None:
    """Gives a role behind the server's back."""

    def work(unit: Unit) -> None:
        held = Role.get(Role.name == role)
        UserRole.create(user=person.id, role=held.id, create_time=unit.now)

    await in_unit(server, work, write=True)


def later(server: Greenroom, seconds: float = DAY) -> Timestamp:
    """A time that lies ahead, by the server's clock."""
    stamp = Timestamp()
    stamp.FromMicroseconds(int((server.clock.now().timestamp() + seconds) * 1_000_000))
    return stamp


async def get_user(server: Greenroom, by: Person, user_id: str) -> user_pb2.User:
    """One account as somebody sees it."""
    return (
        await server.users.GetUser(pb.GetUserRequest(user_id=user_id), metadata=by.metadata)
    ).user


async def list_users(server: Greenroom, by: Person, **query: Any) -> pb.ListUsersResponse:
    """A page of accounts."""
    return await server.users.ListUsers(pb.ListUsersRequest(**query), metadata=by.metadata)


async def update(
    server: Greenroom, by: Person, user_id: str, *, etag: str = "", **values: Any
) -> user_pb2.User:
    """Changes just the given fields."""
    request = pb.UpdateUserRequest(
        user=user_pb2.User(id=user_id, etag=etag, **values), update_mask=FieldMask(paths=[*values])
    )
    return (await server.users.UpdateUser(request, metadata=by.metadata)).user


async def suspend(
    server: Greenroom, by: Person, user_id: str, seconds: float = DAY
) -> user_pb2.User:
    """Locks an account for some time."""
    request = pb.SuspendUserRequest(
        user_id=user_id, until_time=later(server, seconds), reason="spam in three channels"
    )
    return (await server.users.SuspendUser(request, metadata=by.metadata)).user


async def reinstate(server: Greenroom, by: Person, user_id: str) -> user_pb2.User:
    """Lifts a lock."""
    request = pb.ReinstateUserRequest(user_id=user_id)
    return (await server.users.ReinstateUser(request, metadata=by.metadata)).user


async def ban(server: Greenroom, by: Person, user_id: str) -> user_pb2.User:
    """Locks an account for good."""
    request = pb.BanUserRequest(user_id=user_id, reason="fraud")
    return (await server.users.BanUser(request, metadata=by.metadata)).user


async def delete(server: Greenroom, by: Person, user_id: str) -> user_pb2.User:
    """Deletes an account."""
    request = pb.DeleteUserRequest(user_id=user_id)
    return (await server.users.DeleteUser(request, metadata=by.metadata)).user


async def undelete(server: Greenroom, by: Person, user_id: str) -> user_pb2.User:
    """Brings an account back."""
    request = pb.UndeleteUserRequest(user_id=user_id)
    return (await server.users.UndeleteUser(request, metadata=by.metadata)).user


async def set_roles(
    server: Greenroom, by: Person, user_id: str, *roles: str, etag: str = ""
) -> user_pb2.User:
    """Replaces the roles of an account."""
    request = pb.SetUserRolesRequest(user_id=user_id, roles=roles, etag=etag)
    return (await server.users.SetUserRoles(request, metadata=by.metadata)).user

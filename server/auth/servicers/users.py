"""UserService: accounts, for staff and for their owners."""

from greenroom.auth.v1 import user_service_pb2 as pb
from server.auth.convert.accounts import user_to_pb
from server.auth.convert.times import time_from_pb
from server.auth.convert.users import (
    changes_from_pb,
    new_user_from_pb,
    role_names_from_pb,
    user_query_from_pb,
    users_to_pb,
)
from server.auth.usecases import new_accounts, roles, user_status, users
from server.auth.usecases.new_accounts import InviteDesk
from server.auth.usecases.user_status import StaffDesk
from server.core.pagination import Pages
from server.wire.call import Call


class UserServicer:
    """greenroom.auth.v1.UserService."""

    def __init__(self, pages: Pages, desk: StaffDesk) -> None:
        self._pages = pages
        self._desk = desk
        self._invites = InviteDesk(desk.outbox, desk.public_url)

    def ListUsers(self, request: pb.ListUsersRequest, call: Call) -> pb.ListUsersResponse:
        """One page of accounts."""
        views, token = users.list_users(call.unit, self._pages, user_query_from_pb(request))
        return users_to_pb(views, token)

    def GetUser(self, request: pb.GetUserRequest, call: Call) -> pb.GetUserResponse:
        """One account."""
        return pb.GetUserResponse(user=user_to_pb(users.get_user(call.unit, request.user_id)))

    def CreateUser(self, request: pb.CreateUserRequest, call: Call) -> pb.CreateUserResponse:
        """Makes an account, and invites its person when asked to."""
        view = new_accounts.create_user(call.unit, new_user_from_pb(request), desk=self._invites)
        return pb.CreateUserResponse(user=user_to_pb(view))

    def UpdateUser(self, request: pb.UpdateUserRequest, call: Call) -> pb.UpdateUserResponse:
        """Changes the fields that the mask names."""
        changes = changes_from_pb(request)
        view = users.update_user(call.unit, request.user.id, changes, request.user.etag)
        return pb.UpdateUserResponse(user=user_to_pb(view))

    def SuspendUser(self, request: pb.SuspendUserRequest, call: Call) -> pb.SuspendUserResponse:
        """Locks an account until a time."""
        until = time_from_pb(request.until_time, "until_time")
        view = user_status.suspend(
            call.unit, request.user_id, until, request.reason, desk=self._desk
        )
        return pb.SuspendUserResponse(user=user_to_pb(view))

    def ReinstateUser(
        self, request: pb.ReinstateUserRequest, call: Call
    ) -> pb.ReinstateUserResponse:
        """Lifts a suspension or a ban."""
        view = user_status.reinstate(call.unit, request.user_id, desk=self._desk)
        return pb.ReinstateUserResponse(user=user_to_pb(view))

    def BanUser(self, request: pb.BanUserRequest, call: Call) -> pb.BanUserResponse:
        """Locks an account for good."""
        view = user_status.ban(call.unit, request.user_id, request.reason, desk=self._desk)
        return pb.BanUserResponse(user=user_to_pb(view))

    def DeleteUser(self, request: pb.DeleteUserRequest, call: Call) -> pb.DeleteUserResponse:
        """Deletes an account, to be purged after the grace."""
        view = user_status.delete(call.unit, request.user_id, request.reason, desk=self._desk)
        return pb.DeleteUserResponse(user=user_to_pb(view))

    def UndeleteUser(self, request: pb.UndeleteUserRequest, call: Call) -> pb.UndeleteUserResponse:
        """Brings a deleted account back."""
        view = user_status.undelete(call.unit, request.user_id, desk=self._desk)
        return pb.UndeleteUserResponse(user=user_to_pb(view))

    def SetUserRoles(self, request: pb.SetUserRolesRequest, call: Call) -> pb.SetUserRolesResponse:
        """Replaces the roles of an account."""
        names = role_names_from_pb(request.roles)
        view = roles.set_user_roles(call.unit, request.user_id, names, request.etag)
        return pb.SetUserRolesResponse(user=user_to_pb(view))

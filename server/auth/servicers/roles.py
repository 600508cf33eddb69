"""RoleService: the roles that there are."""

from greenroom.auth.v1 import role_service_pb2 as pb
from server.auth.convert.users import roles_to_pb
from server.auth.usecases import roles
from server.core.pagination import Pages
from server.wire.call import Call


class RoleServicer:
    """greenroom.auth.v1.RoleService."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def ListRoles(self, request: pb.ListRolesRequest, call: Call) -> pb.ListRolesResponse:
        """One page of roles."""
        page = roles.list_roles(
            call.unit, self._pages, page_size=request.page_size, page_token=request.page_token
        )
        return roles_to_pb(page)

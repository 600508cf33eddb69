"""WebUserService and WebAccountService: users of web frameworks and what is linked to them."""

from greenroom.auth.v1 import web_account_service_pb2 as account_pb
from greenroom.auth.v1 import web_user_service_pb2 as pb
from server.auth.convert.web import (
    account_from_pb,
    account_to_pb,
    new_web_user_from_pb,
    web_changes_from_pb,
    web_user_to_pb,
)
from server.auth.usecases import web_accounts, web_users
from server.auth.usecases.web_accounts import WebAccountDesk
from server.wire.call import Call


class WebUserServicer:
    """greenroom.auth.v1.WebUserService."""

    def CreateWebUser(
        self, request: pb.CreateWebUserRequest, call: Call
    ) -> pb.CreateWebUserResponse:
        """Makes an account."""
        view = web_users.create_web_user(call.unit, new_web_user_from_pb(request))
        return pb.CreateWebUserResponse(user=web_user_to_pb(view))

    def GetWebUser(self, request: pb.GetWebUserRequest, call: Call) -> pb.GetWebUserResponse:
        """The account of an id."""
        view = web_users.get_web_user(call.unit, request.user_id)
        return pb.GetWebUserResponse(user=web_user_to_pb(view))

    def FindWebUserByEmail(
        self, request: pb.FindWebUserByEmailRequest, call: Call
    ) -> pb.FindWebUserByEmailResponse:
        """The account of an address."""
        view = web_users.find_web_user_by_email(call.unit, request.email)
        return pb.FindWebUserByEmailResponse(user=web_user_to_pb(view))

    def FindWebUserByAccount(
        self, request: pb.FindWebUserByAccountRequest, call: Call
    ) -> pb.FindWebUserByAccountResponse:
        """The account that a provider's account is linked to."""
        view = web_users.find_web_user_by_account(
            call.unit, request.provider, request.provider_account_id
        )
        return pb.FindWebUserByAccountResponse(user=web_user_to_pb(view))

    def UpdateWebUser(
        self, request: pb.UpdateWebUserRequest, call: Call
    ) -> pb.UpdateWebUserResponse:
        """Changes the fields that the mask names."""
        changes = web_changes_from_pb(request)
        user = request.user
        view = web_users.update_web_user(call.unit, user.id, changes, user.etag)
        return pb.UpdateWebUserResponse(user=web_user_to_pb(view))

    def DeleteWebUser(
        self, request: pb.DeleteWebUserRequest, call: Call
    ) -> pb.DeleteWebUserResponse:
        """Deletes an account for good."""
        deleted = web_users.delete_web_user(call.unit, request.user_id)
        return pb.DeleteWebUserResponse(deleted=deleted)


class WebAccountServicer:
    """greenroom.auth.v1.WebAccountService."""

    def __init__(self, desk: WebAccountDesk) -> None:
        self._desk = desk

    def LinkWebAccount(
        self, request: account_pb.LinkWebAccountRequest, call: Call
    ) -> account_pb.LinkWebAccountResponse:
        """Links an account to a user."""
        account = account_from_pb(request.account)
        web_accounts.link_web_account(call.unit, account, desk=self._desk)
        return account_pb.LinkWebAccountResponse()

    def FindWebAccount(
        self, request: account_pb.FindWebAccountRequest, call: Call
    ) -> account_pb.FindWebAccountResponse:
        """A linked account with its tokens."""
        account = web_accounts.find_web_account(
            call.unit,
            request.provider,
            request.provider_account_id,
            keyring=self._desk.keyring,
        )
        return account_pb.FindWebAccountResponse(account=account_to_pb(account))

    def UnlinkWebAccount(
        self, request: account_pb.UnlinkWebAccountRequest, call: Call
    ) -> account_pb.UnlinkWebAccountResponse:
        """Takes a link away."""
        unlinked = web_accounts.unlink_web_account(
            call.unit, request.provider, request.provider_account_id
        )
        return account_pb.UnlinkWebAccountResponse(unlinked=unlinked)

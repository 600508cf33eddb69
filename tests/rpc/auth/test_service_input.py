"""Whatever somebody signed in, a member of staff or a service sends to whatever method of auth, the answer
is a documented one; and a text that not every database can hold is refused by name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from greenroom.auth.v1 import audit_service_pb2 as audit_pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from greenroom.auth.v1 import user_service_pb2 as user_pb
from greenroom.auth.v1 import web_account_service_pb2 as account_pb
from greenroom.auth.v1 import web_authenticator_service_pb2 as authenticator_pb
from greenroom.auth.v1 import web_user_service_pb2 as web_pb
from greenroom.auth.v1 import web_verification_service_pb2 as verification_pb
from server.wire.policies import is_secret
from tests.rpc.auth.keys import WEB_STORAGE, service
from tests.rpc.auth.staff import INVALID, member_of_staff
from tests.support.databases import fresh_database, require
from tests.support.messages import examples, messages
from tests.support.serve import serving
from tests.support.services import all_methods
from tests.support.statuses import code_of, field_names, refused

METHODS = [
    method
    for method in all_methods()
    if method.full_name.startswith("greenroom.auth.")
    and not method.client_streaming
    and not method.server_streaming
    # What would end the caller's own session or account makes all later cases the same one.
    and method.name not in ("LogOut", "DeleteUser", "SuspendUser", "BanUser", "SetUserRoles")
]
BUGS = {StatusCode.UNKNOWN, StatusCode.INTERNAL, StatusCode.UNIMPLEMENTED}
USER_ID = "01890000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def fuzzed(request: Any, tmp_path_factory: Any) -> Any:
    """One server for all the wrong input, with a member of staff and a service."""
    require(request.param)
    folder: Path = tmp_path_factory.mktemp("fuzz")
    async with serving(fresh_database(request.param), folder) as server:
        staff = await member_of_staff(server, "super_admin")
        yield server, await service(server, WEB_STORAGE), staff.metadata


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name[18:])
async def test_generated_requests_meet_no_bug(fuzzed: Any, method: MethodDescriptor) -> None:
    server, key, staff = fuzzed
    found = examples(messages(method.input_type), 15)
    found.extend(_with_a_nul(method))
    call = server.channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
    for message in found:
        for metadata in (key, staff):
            code = await code_of(call(message.SerializeToString(), metadata=metadata))
            assert code not in BUGS, (code, message)


def _with_a_nul(method: MethodDescriptor) -> Iterator[Any]:
    """A message for each text of the request's own that may hold anything, with the others such that
    they are mostly let through."""
    texts = [field for field in method.input_type.fields if _is_text(field)]
    for odd in texts:
        message = GetMessageClass(method.input_type)()
        for field in texts:
            text = "\0" if field is odd else _likely(field)
            if field.is_repeated:
                getattr(message, field.name).append(text)
            elif field.containing_oneof is None or field is odd:
                setattr(message, field.name, text)
        yield message


def _is_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING


def _likely(field: FieldDescriptor) -> str:
    if field.name == "page_token" or field.name == "request_id":
        return ""
    if field.name.endswith("_id") and field.name != "provider_account_id":
        return USER_ID
    return "nobody@example.com" if "email" in field.name else "x"


async def test_a_nul_is_refused_by_the_name_of_its_field(fuzzed: Any) -> None:
    server, key, staff = fuzzed
    update = web_pb.UpdateWebUserRequest()
    update.user.id, update.user.display_name = USER_ID, "a\0b"
    update.update_mask.paths.append("display_name\0")
    calls = [
        (
            server.audit.ListAuditEvents(
                audit_pb.ListAuditEventsRequest(action="\0", resource="x\0"),
                metadata=staff,
            ),
            {"action", "resource"},
        ),
        (
            server.users.ListUsers(user_pb.ListUsersRequest(text="\0"), metadata=staff),
            {"text"},
        ),
        (server.web_users.UpdateWebUser(update, metadata=key), {"user.display_name"}),
        (
            server.web_accounts.FindWebAccount(
                account_pb.FindWebAccountRequest(provider="x", provider_account_id="\0"),
                metadata=key,
            ),
            {"provider_account_id"},
        ),
        (
            server.web_authenticators.FindWebAuthenticator(
                authenticator_pb.FindWebAuthenticatorRequest(credential_id="\0"), metadata=key
            ),
            {"credential_id"},
        ),
        (
            server.web_verification.UseWebVerificationToken(
                verification_pb.UseWebVerificationTokenRequest(identifier="\0", token="\0"),
                metadata=key,
            ),
            {"identifier"},
        ),
    ]
    for call, fields in calls:
        error = await refused(call, *INVALID)
        assert fields <= set(field_names(error))
        assert "token" not in field_names(error)


async def test_a_secret_with_a_nul_is_a_wrong_secret(fuzzed: Any) -> None:
    """It is hashed before anybody looks for it, so there is nothing to refuse."""
    server, _key, _staff = fuzzed
    field = mfa_pb.CompleteMfaChallengeRequest.DESCRIPTOR.fields_by_name["challenge_token"]
    assert is_secret(field)
    request = mfa_pb.CompleteMfaChallengeRequest(challenge_token="grm_\0", totp_code="123456")
    await refused(
        server.mfa.CompleteMfaChallenge(request),
        StatusCode.UNAUTHENTICATED,
        "AUTH_ERROR_REASON_MFA_CHALLENGE_INVALID",
    )

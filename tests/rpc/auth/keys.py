"""Keys of services, and what the tests of web storage ask of the server with them."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode

from greenroom.auth.v1 import api_key_pb2, token_service_pb2, web_user_pb2
from greenroom.auth.v1 import api_key_service_pb2 as pb
from greenroom.auth.v1 import web_account_service_pb2 as account_pb
from greenroom.auth.v1 import web_session_service_pb2 as session_pb
from greenroom.auth.v1 import web_user_service_pb2 as web_pb
from server.auth.models import AuditEvent
from server.core.unit import Unit
from tests.rpc.auth.scenes import bearer, in_unit
from tests.rpc.auth.staff import DAY, later, member_of_staff
from tests.support.serve import Greenroom, Person

Metadata = tuple[tuple[str, str], ...]

WEB_STORAGE = "auth.web_storage"
INTROSPECT = "auth.tokens.introspect"
BEYOND = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_SCOPE_BEYOND_CALLER")
EXPIRY = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_API_KEY_EXPIRY_INVALID")
KEY_NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_API_KEY_NOT_FOUND")
TOO_MANY = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_TOO_MANY_API_KEYS")
PROTECTED = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_ACCOUNT_PROTECTED")
EXISTS = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_ACCOUNT_EXISTS")
TAKEN = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_IDENTITY_TAKEN")
SESSION_EXISTS = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_WEB_SESSION_EXISTS")


async def create_key(
    server: Greenroom,
    by: Person,
    *scopes: str,
    name: str = "a service",
    expire_time: Timestamp | None = None,
) -> pb.CreateApiKeyResponse:
    """A key of somebody's own."""
    request = pb.CreateApiKeyRequest(name=name, scopes=scopes, expire_time=expire_time)
    return await server.api_keys.CreateApiKey(request, metadata=by.metadata)


async def revoke_key(server: Greenroom, by: Person, api_key_id: str) -> api_key_pb2.ApiKey:
    """Ends a key."""
    request = pb.RevokeApiKeyRequest(api_key_id=api_key_id)
    return (await server.api_keys.RevokeApiKey(request, metadata=by.metadata)).api_key


async def list_keys(server: Greenroom, by: Person, **query: Any) -> pb.ListApiKeysResponse:
    """A page of keys."""
    return await server.api_keys.ListApiKeys(pb.ListApiKeysRequest(**query), metadata=by.metadata)


async def service(server: Greenroom, *scopes: str, life: float = 90 * DAY) -> Metadata:
    """A service with a key of a new super_admin's; ``life`` is in seconds."""
    owner = await member_of_staff(server, "super_admin")
    made = await create_key(server, owner, *scopes, expire_time=later(server, life))
    return bearer(made.key)


async def validate(
    server: Greenroom, metadata: Metadata, token: str
) -> token_service_pb2.ValidateTokenResponse:
    """What a token is worth to somebody."""
    request = token_service_pb2.ValidateTokenRequest(token=token)
    return await server.tokens.ValidateToken(request, metadata=metadata)


async def create_web_user(
    server: Greenroom, key: Metadata, email: str = "", **values: Any
) -> web_user_pb2.WebUser:
    """An account that a framework makes, with a proven address unless told otherwise."""
    values.setdefault("email_verified_time", later(server, -5.25) if email else None)
    request = web_pb.CreateWebUserRequest(email=email, **values)
    return (await server.web_users.CreateWebUser(request, metadata=key)).user


async def get_web_user(
    server: Greenroom, key: Metadata, user_id: str
) -> web_user_pb2.WebUser | None:
    """The account of an id."""
    request = web_pb.GetWebUserRequest(user_id=user_id)
    reply = await server.web_users.GetWebUser(request, metadata=key)
    return reply.user if reply.HasField("user") else None


async def find_by_email(
    server: Greenroom, key: Metadata, email: str
) -> web_user_pb2.WebUser | None:
    """The account of an address."""
    request = web_pb.FindWebUserByEmailRequest(email=email)
    reply = await server.web_users.FindWebUserByEmail(request, metadata=key)
    return reply.user if reply.HasField("user") else None


async def find_by_account(
    server: Greenroom, key: Metadata, provider: str, account_id: str
) -> web_user_pb2.WebUser | None:
    """The account that a provider's account is linked to."""
    request = web_pb.FindWebUserByAccountRequest(provider=provider, provider_account_id=account_id)
    reply = await server.web_users.FindWebUserByAccount(request, metadata=key)
    return reply.user if reply.HasField("user") else None


async def update_web_user(
    server: Greenroom, key: Metadata, user_id: str, *, etag: str = "", **values: Any
) -> web_user_pb2.WebUser | None:
    """Changes just the given fields."""
    request = web_pb.UpdateWebUserRequest(
        user=web_user_pb2.WebUser(id=user_id, etag=etag, **values),
        update_mask=FieldMask(paths=[*values]),
    )
    reply = await server.web_users.UpdateWebUser(request, metadata=key)
    return reply.user if reply.HasField("user") else None


async def delete_web_user(server: Greenroom, key: Metadata, user_id: str) -> bool:
    """Deletes an account for good."""
    request = web_pb.DeleteWebUserRequest(user_id=user_id)
    return (await server.web_users.DeleteWebUser(request, metadata=key)).deleted


async def link(
    server: Greenroom,
    key: Metadata,
    user_id: str,
    provider: str = "acme",
    account_id: str = "4711",
    **values: Any,
) -> None:
    """Links a provider's account."""
    account = account_pb.WebAccount(
        user_id=user_id,
        type="oidc",
        provider=provider,
        provider_account_id=account_id,
        **values,
    )
    await server.web_accounts.LinkWebAccount(
        account_pb.LinkWebAccountRequest(account=account), metadata=key
    )


async def find_account(
    server: Greenroom, key: Metadata, provider: str = "acme", account_id: str = "4711"
) -> account_pb.WebAccount | None:
    """A linked account with its tokens."""
    request = account_pb.FindWebAccountRequest(provider=provider, provider_account_id=account_id)
    reply = await server.web_accounts.FindWebAccount(request, metadata=key)
    return reply.account if reply.HasField("account") else None


async def unlink(
    server: Greenroom, key: Metadata, provider: str = "acme", account_id: str = "4711"
) -> bool:
    """Takes a link away."""
    request = account_pb.UnlinkWebAccountRequest(provider=provider, provider_account_id=account_id)
    return (await server.web_accounts.UnlinkWebAccount(request, metadata=key)).unlinked


async def open_session(
    server: Greenroom, key: Metadata, user_id: str, token: str, seconds: float = 86_400
) -> session_pb.WebSession:
    """Opens a session under the caller's own token."""
    request = session_pb.CreateWebSessionRequest(
        session_token=token, user_id=user_id, expire_time=later(server, seconds)
    )
    return (await server.web_sessions.CreateWebSession(request, metadata=key)).session


async def find_session(
    server: Greenroom, key: Metadata, token: str
) -> session_pb.FindWebSessionResponse | None:
    """The open session of a token, with its user."""
    request = session_pb.FindWebSessionRequest(session_token=token)
    reply = await server.web_sessions.FindWebSession(request, metadata=key)
    assert reply.HasField("session") == reply.HasField("user")
    return reply if reply.HasField("session") else None


async def delete_session(server: Greenroom, key: Metadata, token: str) -> bool:
    """Ends a session."""
    request = session_pb.DeleteWebSessionRequest(session_token=token)
    return (await server.web_sessions.DeleteWebSession(request, metadata=key)).deleted


async def audited(server: Greenroom, action: str) -> list[AuditEvent]:
    """The audit rows of an action, oldest first."""

    def read(_unit: Unit) -> list[AuditEvent]:
        rows = AuditEvent.select().where(AuditEvent.action == action).order_by(AuditEvent.id)
        return list(rows)

    return await in_unit(server, read)

"""What requests can name by an id, and how to make one of each that belongs to somebody.

Whoever adds a field that names a resource adds how to make one here; ``test_matrix_objects`` says so
where one is missing. Rows are made behind the server's back, with a canary in what only their owner
may see.
"""

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_pb2
from greenroom.chat.v1 import channel_pb2
from greenroom.chat.v1 import channel_pb2 as channel_message_pb
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from server.auth.models import ApiKey, Identity, MfaFactor, Passkey, Registration
from server.chat.wiring import ChatModule
from server.core.ids import new_id, new_secret
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit
from tests.rpc.auth.staff import later
from tests.support.serve import PASSWORD, Greenroom, Person

CANARY = "canary-7f3a91"

Make = Callable[[Greenroom, Person], Awaitable[str]]


def _row(model: Any, values: Callable[[Unit, Person], dict[str, Any]]) -> Make:
    async def make(server: Greenroom, owner: Person) -> str:
        def work(unit: Unit) -> str:
            row_id: str = model.create(**values(unit, owner)).id
            return row_id

        return await in_unit(server, work, write=True)

    return make


async def _session(server: Greenroom, owner: Person) -> str:
    request = auth_pb.LogInRequest(email=owner.email, password=PASSWORD, device_name=CANARY)
    return (await server.auth.LogIn(request)).signed_in.session.id


async def _user(_server: Greenroom, owner: Person) -> str:
    return owner.id


async def _channel(server: Greenroom, owner: Person) -> str:
    friend = await server.person("Friend")
    reply = await server.channels.GetDirectChannel(
        channel_pb.GetDirectChannelRequest(user_id=friend.id), metadata=owner.metadata
    )
    await server.messages.SendMessage(
        message_pb.SendMessageRequest(channel_id=reply.channel.id, client_id=new_id(), text=CANARY),
        metadata=owner.metadata,
    )
    return reply.channel.id


async def _message(server: Greenroom, owner: Person) -> str:
    reply = await server.messages.SendMessage(
        message_pb.SendMessageRequest(
            channel_id=await _channel(server, owner), client_id=new_id(), text=CANARY
        ),
        metadata=owner.metadata,
    )
    return reply.message.id


async def _order(server: Greenroom, owner: Person) -> str:
    """An order with a channel, as the module of orders opens it."""
    [module] = [one for one in server.running._modules if isinstance(one, ChatModule)]
    order_id = new_id()

    def open_channel(unit: Unit) -> None:
        channel_id = module.doors.open_order(unit, order_id, [owner.id])
        module.doors.post_system(unit, channel_id, CANARY)

    await in_unit(server, open_channel, write=True)
    return order_id


def _api_key(unit: Unit, owner: Person) -> dict[str, Any]:
    return {
        "user": owner.id,
        "name": CANARY,
        "prefix": new_secret(12),
        "key_hash": new_secret(32),
        "expires_at": unit.now + timedelta(days=1),
    }


def _factor(unit: Unit, owner: Person) -> dict[str, Any]:
    end = unit.now + timedelta(minutes=5)
    return {"user": owner.id, "label": CANARY, "secret_enc": "x", "expires_at": end}


def _passkey(_unit: Unit, owner: Person) -> dict[str, Any]:
    return {
        "user": owner.id,
        "user_handle": new_secret(16),
        "credential_id": new_secret(16),
        "public_key": "x",
        "label": CANARY,
    }


def _identity(_unit: Unit, owner: Person) -> dict[str, Any]:
    return {
        "user": owner.id,
        "type": "oidc",
        "provider": "acme",
        "provider_account_id": CANARY + new_secret(8),
        "profile": {"name": CANARY},
    }


def _registration(unit: Unit, _owner: Person) -> dict[str, Any]:
    return {
        "email": f"{new_id()}@example.com",
        "name": CANARY,
        "password_hash": "x",
        "algorithm": "bcrypt",
        "role": "creator",
        "expires_at": unit.now + timedelta(days=1),
    }


RESOURCES: dict[str, Make] = {
    "session_id": _session,
    "user_id": _user,
    "user.id": _user,
    "channel_id": _channel,
    "channel.id": _channel,
    "order_id": _order,
    "message_id": _message,
    "message.id": _message,
    "api_key_id": _row(ApiKey, _api_key),
    "factor_id": _row(MfaFactor, _factor),
    "passkey_id": _row(Passkey, _passkey),
    "identity_id": _row(Identity, _identity),
    "registration_id": _row(Registration, _registration),
}
"""By the path of the field in its request."""

NO_RESOURCE = {
    "request_id": "the caller's own, for repeats",
    "client_id": "the caller's own, for repeats",
    "command_id": "the caller's own, within one stream",
    "otp_id": "a capability: whoever asked for a code may have it sent again and answer it",
    "sender_id": "a filter; test_search holds that it widens nothing",
    "reply_to_id": "of the channel that is named beside it; test_threads holds that others look absent",
    "mentioned_user_ids": "members of the channel; test_mentions holds that others look absent",
    "attachment_media_ids": "the caller's own; test_attachments holds that others look absent",
    "member_ids": "anybody may have a group with anybody; test_groups and test_blocks hold who may not",
    "user_ids": "as member_ids; test_members holds who can be added",
    "avatar_media_id": "test_groups holds that it is the caller's own",
    "actor_id": "a filter; test_audit_service holds that it widens nothing",
}
"""Fields that are named like ids and yet stand for nothing that somebody owns."""

TESTED_ELSEWHERE = {
    "greenroom.chat.v1.EventService.WatchEvents": "tests/rpc/chat/test_watch.py",
    "greenroom.chat.v1.EventService.Connect": "tests/rpc/chat/test_connect.py",
    "greenroom.chat.v1.MemberService.RemoveMember": "tests/rpc/chat/test_members.py: two ids in one request",
}

FOR_EVERYBODY = {
    "greenroom.chat.v1.ChannelService.GetDirectChannel": "anybody may write to anybody",
}

REST_OF_REQUEST: dict[str, Callable[[Greenroom], dict[str, Any]]] = {
    "SendMessage": lambda _server: {"client_id": new_id(), "text": "hello"},
    "UpdateMessage": lambda _server: {
        "message": channel_pb2.Message(text="renamed"),
        "update_mask": FieldMask(paths=["text"]),
    },
    "SearchMessages": lambda _server: {"query": CANARY},
    "AddReaction": lambda _server: {"emoji": "👍"},
    "RemoveReaction": lambda _server: {"emoji": "👍"},
    "AddMember": lambda _server: {"user_ids": [new_id()]},
    "UpdateChannel": lambda _server: {
        "channel": channel_message_pb.Channel(title="renamed"),
        "update_mask": FieldMask(paths=["title"]),
    },
    "MarkRead": lambda _server: {"seq": 1},
    "MarkUnread": lambda _server: {"seq": 1},
    "MarkDelivered": lambda _server: {"seq": 1},
    "UpdateUser": lambda _server: {
        "user": user_pb2.User(display_name="renamed"),
        "update_mask": FieldMask(paths=["display_name"]),
    },
    "SuspendUser": lambda server: {"until_time": later(server), "reason": "spam"},
    "BanUser": lambda _server: {"reason": "spam"},
    "SetUserRoles": lambda _server: {"roles": ["brand"]},
    "RejectRegistration": lambda _server: {"reason": "spam"},
    "ActivateMfaFactor": lambda _server: {"totp_code": "000000"},
}
"""What else a request needs to be a good one, by the name of the method."""


def id_paths(message: Descriptor, prefix: str = "") -> Iterator[str]:
    """Paths of the fields of a request that are named like ids, in it and in its resource."""
    for field in message.fields:
        path = prefix + field.name
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.name == "id" or field.name.endswith(("_id", "_ids")):
                yield path
        elif _is_ours(field) and not prefix and not field.is_repeated:
            assert field.message_type is not None
            for found in id_paths(field.message_type, f"{path}."):
                if found.endswith(".id"):
                    yield found


def _is_ours(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name.startswith("greenroom.")

"""Just enough of the wire format to make requests and count events at little cost.

The load generator shares two cores with the server, so it decodes no more than it counts.
"""

import itertools
import os
from collections.abc import Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from greenroom.chat.v1 import event_service_pb2, message_service_pb2


def _event_counter() -> Any:
    """A message whose field 1 is opaque: decoding it finds the events and leaves them alone."""
    file = descriptor_pb2.FileDescriptorProto(name="bench_events.proto", package="bench")
    message = file.message_type.add(name="Events")
    message.field.add(
        name="events",
        number=1,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("bench.Events"))


_Events = _event_counter()


def count_events(raw: bytes) -> int:
    """How many events a WatchEventsResponse holds."""
    return len(_Events.FromString(raw).events)


def send_request(channel: str, client_id: str, text: str) -> bytes:
    """An encoded SendMessageRequest."""
    return message_service_pb2.SendMessageRequest(
        channel_id=channel, client_id=client_id, text=text
    ).SerializeToString()


def send_requests(channels: list[str], text_bytes: int) -> Iterator[bytes]:
    """Encoded SendMessageRequests with client ids that were never used before."""
    run = os.urandom(6).hex()
    heads = [
        message_service_pb2.SendMessageRequest(
            channel_id=channel, text="x" * text_bytes
        ).SerializeToString()
        for channel in channels
    ]
    for number in itertools.count():
        client_id = f"{run}-{number}".encode()
        yield heads[number % len(heads)] + b"\x12" + bytes([len(client_id)]) + client_id


def send_command(command_id: int, channel: str, client_id: str, text: str) -> bytes:
    """An encoded ConnectRequest that sends a message."""
    return event_service_pb2.ConnectRequest(
        command_id=command_id,
        send=event_service_pb2.SendMessageCommand(
            channel_id=channel, client_id=client_id, text=text
        ),
    ).SerializeToString()


def command_done(raw: bytes) -> int:
    """The number of the command whose result this is, 0 when it is none. A refusal is an error."""
    reply = event_service_pb2.ConnectResponse.FromString(raw)
    if reply.HasField("result") and reply.result.HasField("error"):
        raise RuntimeError(str(reply.result.error))
    return reply.result.command_id

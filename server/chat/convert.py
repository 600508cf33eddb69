"""Between what the chat knows and what goes over the wire.

A message is encoded once. The reply to its sender, the event of every subscriber and the replies that
hold many events are made of these bytes by prefixing them: field 1 of every reply that holds events is
``events``, so replies are the concatenation of their events.
"""

from google.protobuf.timestamp_pb2 import Timestamp

from greenroom.chat.v1 import channel_pb2

_MICROS = 1_000_000


def _varint(value: int) -> bytes:
    """A number as protobuf writes it (base 128, lowest group first)."""
    if value < 0x80:
        return bytes((value,))
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def message_to_bytes(
    message_id: str,
    channel_id: str,
    seq: int,
    sender_id: str,
    client_id: str,
    text: str,
    create_time: int,
) -> bytes:
    """``Message`` encoded; the time is in microseconds since 1970."""
    return channel_pb2.Message(
        id=message_id,
        channel_id=channel_id,
        seq=seq,
        sender_id=sender_id,
        client_id=client_id,
        text=text,
        create_time=Timestamp(
            seconds=create_time // _MICROS, nanos=create_time % _MICROS * 1000
        ),
    ).SerializeToString()


def field_1(encoded: bytes) -> bytes:
    """A message of which the given one is field 1: ``SendMessageResponse``, or a reply of one event."""
    return b"\x0a" + _varint(len(encoded)) + encoded


def message_event(channel_id: str, epoch: int, seq: int, message: bytes) -> bytes:
    """``ChatEvent`` with an encoded message, framed as field 1 of the replies that hold events."""
    key = channel_id.encode()
    event = b"".join(
        (
            b"\x0a",
            _varint(len(key)),
            key,
            b"\x10",
            _varint(epoch),
            b"\x18",
            _varint(seq),
            b"\x22",
            _varint(len(message)),
            message,
        )
    )
    return field_1(event)

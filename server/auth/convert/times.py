"""Instants."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from server.core.errors import InvalidArgument


def time_to_pb(moment: datetime) -> Timestamp:
    """An instant, to the microsecond."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def optional_time_to_pb(moment: datetime | None) -> Timestamp | None:
    """The same, or nothing."""
    return None if moment is None else time_to_pb(moment)


class TimeInvalid(InvalidArgument):
    """The timestamp is none: it lies outside of the years 1 to 9999."""

    message = "This is not a time."


def time_from_pb(stamp: Timestamp, field: str) -> datetime:
    """An instant that a request names, to the microsecond; ``TimeInvalid`` for what is none."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise TimeInvalid(field=field) from None


def optional_time_from_pb(message: Message, field: str) -> datetime | None:
    """The instant in a field of a message, or nothing; as above."""
    return time_from_pb(getattr(message, field), field) if message.HasField(field) else None

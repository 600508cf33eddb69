"""Instants."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def time_to_pb(moment: datetime) -> Timestamp:
    """An instant, to the microsecond."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def optional_time_to_pb(moment: datetime | None) -> Timestamp | None:
    """The same, or nothing."""
    return None if moment is None else time_to_pb(moment)

"""Column types that mean the same on both databases."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import orjson
import peewee

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """``instant`` as it is stored: microseconds since 1970 in UTC. It must be aware."""
    return (instant - _EPOCH) // _MICROSECOND


def instant(stored: int) -> datetime:
    """The aware UTC time that was stored as microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=stored)


class _StoredTimestamp(peewee.Field):
    """An instant, stored as a BIGINT of microseconds, so that order, equality and raw SQL agree."""

    field_type = "BIGINT"

    def db_value(self, value: datetime | int | None) -> int | None:
        if value is None or isinstance(value, int):
            return value
        return (value - _EPOCH) // _MICROSECOND

    def python_value(self, value: int | None) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class _StoredJson(peewee.TextField):
    """A JSON value, stored as text."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def python_value(self, value: str | None) -> Any:
        return None if value is None else orjson.loads(value)


if TYPE_CHECKING:
    _V = TypeVar("_V", default=Any)

    class TimestampField(peewee.Field[_V]):
        """An instant: aware UTC datetimes, to the microsecond."""

        @overload
        def __new__(
            cls, *args: Any, null: Literal[True], **kwargs: Any
        ) -> "TimestampField[datetime | None]": ...
        @overload
        def __new__(
            cls, *args: Any, null: Literal[False] = ..., **kwargs: Any
        ) -> "TimestampField[datetime]": ...
        def __new__(cls, *args: Any, **kwargs: Any) -> Any: ...

    class JsonField(peewee.Field[Any]):
        """A JSON value. ``None`` is stored as NULL."""

else:
    TimestampField = _StoredTimestamp
    JsonField = _StoredJson

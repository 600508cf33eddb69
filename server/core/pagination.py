"""Lists in pages: by key, never by offset, with tokens that nobody else can make or use."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Generic, TypeVar

import orjson
import peewee

from server.core.cache import VersionedCache
from server.core.errors import InvalidArgument, InvalidPageToken
from server.core.sealing import Keyring, SealBroken

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
TOKENS_BYTES = 4 << 20
"""So much memory the tokens take that may be given out again."""

M = TypeVar("M", bound=peewee.Model)


@dataclass(frozen=True, slots=True)
class Order:
    """One key of the order. The columns of an order are never NULL, and its last one is unique."""

    field: "peewee.Field[Any]"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """Some items of a list, and how to get the next ones; the token is empty on the last page."""

    items: list[M] = field(default_factory=list)
    next_page_token: str = ""


class Pages:
    """Makes and reads page tokens: sealed, and bound to the list they were made for."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._made: VersionedCache[str] = VersionedCache(TOKENS_BYTES)

    def token(self, position: Sequence[object], scope: str) -> str:
        """A token for the place after ``position`` in the list that ``scope`` describes.

        The same place has the same token for a while: a key is good for so many seals only, and lists
        are read again and again.
        """
        key = scope, tuple(position)
        token = self._made.get(key)
        if token is None:
            token = self._keyring.seal(orjson.dumps(position), f"page|{scope}")
            self._made.put(key, token, 2 * len(scope) + len(token))
        return token

    def position(self, token: str, scope: str) -> list[Any]:
        """The place a token stands for; ``InvalidPageToken`` unless it was made for ``scope``."""
        try:
            position: list[Any] = orjson.loads(self._keyring.open(token, f"page|{scope}"))
        except SealBroken:
            raise InvalidPageToken() from None
        return position


def paginate(
    pages: Pages,
    query: "peewee.ModelSelect[M]",
    *,
    order: Sequence[Order],
    page_size: int,
    page_token: str,
    scope: Mapping[str, str],
) -> Page[M]:
    """One page of ``query`` in ``order``, after the place that ``page_token`` stands for.

    ``scope`` names the list: method, filter, order and caller; a token of another scope raises
    ``InvalidPageToken``. A ``page_size`` of 0 means 50, above 200 means 200, below 0 is
    ``InvalidArgument``. The columns of ``order`` must be selected. What is inserted or deleted
    meanwhile never makes an item appear twice or skips one that stays.
    """
    if any(entry.field.null for entry in order):
        raise ValueError("a column that may be NULL cannot order a list")
    size = _size(page_size)
    bound = _scope_text(order, scope)
    if page_token:
        position = pages.position(page_token, bound)
        query = query.where(_after(order, position))
    keys = [entry.field.desc() if entry.descending else entry.field.asc() for entry in order]
    rows: list[M] = list(query.order_by(*keys).limit(size + 1))
    if len(rows) <= size:
        return Page(rows)
    items = rows[:size]
    return Page(items, pages.token(_position_of(items[-1], order), bound))


def _size(page_size: int) -> int:
    if page_size < 0:
        raise InvalidArgument(field="page_size")
    return min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _scope_text(order: Sequence[Order], scope: Mapping[str, str]) -> str:
    keys = [
        [entry.field.model._meta.table_name, entry.field.column_name, entry.descending]
        for entry in order
    ]
    return orjson.dumps([keys, sorted(scope.items())]).decode()


def _position_of(item: object, order: Sequence[Order]) -> list[object]:
    return [_stored(entry.field, getattr(item, entry.field.name)) for entry in order]


def _stored(field: Any, value: object) -> object:
    return field.db_value(value)


def _bindable(field: Any, stored: object) -> Any:
    return peewee.Value(field.python_value(stored), converter=field.db_value, unpack=False)


def _after(order: Sequence[Order], position: Sequence[Any]) -> Any:
    """The condition for what comes after ``position``.

    In one direction it is a comparison of rows, which both databases answer from an index. In mixed
    directions it is spelled out, (a > x) or (a = x and b < y) or ..., all of it within a >= x, so
    that an index can find the start.
    """
    values = [_bindable(entry.field, stored) for entry, stored in zip(order, position, strict=True)]
    fields = [entry.field for entry in order]
    if len({entry.descending for entry in order}) == 1:
        compare = operator.lt if order[0].descending else operator.gt
        if len(order) == 1:
            return compare(fields[0], values[0])
        return compare(peewee.Tuple(*fields), peewee.Tuple(*values))
    alternatives = []
    for index, entry in enumerate(order):
        equal = [fields[before] == values[before] for before in range(index)]
        compare = operator.lt if entry.descending else operator.gt
        alternatives.append(reduce(operator.and_, [*equal, compare(fields[index], values[index])]))
    first = fields[0] <= values[0] if order[0].descending else fields[0] >= values[0]
    return first & reduce(operator.or_, alternatives)

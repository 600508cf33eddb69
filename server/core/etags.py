"""Etags: a short hash of a row's content, so that nobody overwrites what they have not seen."""

import hashlib
import hmac
from collections.abc import Collection, Sequence

import orjson
import peewee

from server.core.errors import EtagMismatch


def etag_of(row: peewee.Model, *, ignoring: Collection[str] = (), also: Sequence[str] = ()) -> str:
    """Changes when any column of ``row`` changes; the same on both databases. 22 characters.

    Computed from the values the row holds, so take it from a row as it was read or saved.
    ``ignoring`` names columns that change without anybody's editing, ``also`` is what belongs to
    the resource and stands in other rows.
    """
    meta = row._meta
    content = [meta.table_name]
    for field in meta.sorted_fields:
        if field.name in ignoring:
            continue
        value = row.__data__.get(field.name)
        content.append(_plain(value) if _is_binary(value) else _plain(field.db_value(value)))
    content.extend(also)
    return hashlib.blake2b(orjson.dumps(content), digest_size=11).hexdigest()


def check_etag(row: peewee.Model, etag: str) -> None:
    """Raises ``EtagMismatch`` unless ``etag`` is the row's; an empty one is accepted (AIP-154).

    Lock the row first (``db.locked``): without it another unit may change it before this one does.
    """
    check_same(etag, etag_of(row))


def check_same(etag: str, present: str) -> None:
    """Raises ``EtagMismatch`` unless ``etag`` is empty or the present one."""
    if etag and not hmac.compare_digest(etag.encode(), present.encode()):
        raise EtagMismatch()


def _is_binary(value: object) -> bool:
    return isinstance(value, memoryview | bytearray | bytes)


def _plain(value: object) -> object:
    if isinstance(value, memoryview | bytearray | bytes):
        return bytes(value).hex()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)

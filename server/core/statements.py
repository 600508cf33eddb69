"""The simplest statements on one table, each put together once: to put it together takes Peewee about ten
times as long as SQLite takes to run it. Texts have ``?`` for each parameter, see ``rows.sql``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import peewee
from peewee import OP, Expression, Field, Node

Names = tuple[str, ...]


def equalities(model: type[peewee.Model], conditions: Sequence[Any]) -> dict[str, Any] | None:
    """The columns of ``model`` that conditions compare with a value each, by name, as stored; ``None`` when
    they say anything else, or one column twice."""
    found: dict[str, Any] = {}
    waiting = list(conditions)
    while waiting:
        node = waiting.pop()
        if type(node) is not Expression:
            return None
        if node.op == OP.AND:
            waiting += (node.rhs, node.lhs)
            continue
        field: Any = node.lhs
        value = node.rhs
        if node.op != OP.EQ or not _is_of(model, field):
            return None
        if isinstance(value, Node) or field.name in found:
            return None
        found[field.name] = field.db_value(value)
    return found or None


def _is_of(model: type[peewee.Model], field: object) -> bool:
    return isinstance(field, Field) and field.model is model


def stored(model: type[peewee.Model], names: Iterable[str], values: Mapping[str, Any]) -> list[Any]:
    """The values of these fields as they are stored; none at all when one of them is SQL."""
    fields = model._meta.fields
    if any(isinstance(values[name], Node) for name in names):
        return []
    return [fields[name].db_value(values[name]) for name in names]


@cache
def readers(model: type[peewee.Model]) -> list[tuple[str, Callable[[Any], Any]]]:
    """What makes the value of each field out of what is stored, in the order of :func:`selection`."""
    return [(field.name, field.python_value) for field in model._meta.sorted_fields]


@cache
def selection(model: type[peewee.Model], names: Names, *, lock: bool = False) -> str:
    """Reads the first row in which these columns equal."""
    columns = ", ".join(f'"{field.column_name}"' for field in model._meta.sorted_fields)
    text = f"SELECT {columns} FROM {_table(model)} WHERE {_each(model, names, ' AND ')} LIMIT 1"  # noqa: S608
    return text + " FOR UPDATE" if lock else text


@cache
def insertion(model: type[peewee.Model], names: Names, *, lenient: bool = False) -> str:
    """Inserts a row; ``lenient`` leaves one that is there already as it is."""
    columns = ", ".join(_column(model, name) for name in names)
    marks = ", ".join("?" * len(names))
    text = f"INSERT INTO {_table(model)} ({columns}) VALUES ({marks})"  # noqa: S608
    return text + " ON CONFLICT DO NOTHING" if lenient else text


@cache
def change(model: type[peewee.Model], names: Names, keys: Names) -> str:
    """Sets columns of the row with this primary key."""
    return (
        f"UPDATE {_table(model)} SET {_each(model, names, ', ')} "  # noqa: S608
        f"WHERE {_each(model, keys, ' AND ')}"
    )


def _table(model: type[peewee.Model]) -> str:
    return f'"{model._meta.table_name}"'


def _column(model: type[peewee.Model], name: str) -> str:
    return f'"{model._meta.fields[name].column_name}"'


def _each(model: type[peewee.Model], names: Names, between: str) -> str:
    return between.join(f"{_column(model, name)} = ?" for name in names)

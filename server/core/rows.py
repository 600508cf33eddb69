"""What all models are made of: the database they are bound to, rows, locks, SQL by hand."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import peewee

from server.core import statements
from server.core.errors import Aborted
from server.core.fields import TimestampField
from server.core.ids import new_id

database = peewee.DatabaseProxy()
"""What all models are bound to: the engine of the :class:`Database` that is open."""


class Model(peewee.Model):
    """A row of some table; ``save()`` writes only the columns that were assigned.

    It does what Peewee's own does. For the most common statements the text is put together once and
    not at every call, see ``statements``; all others are left to Peewee.
    """

    class Meta:
        database = database
        legacy_table_names = False
        only_save_dirty = True

    def save(self, force_insert: bool = False, only: Any = None) -> int | bool:
        """Writes what was assigned; the number of rows that were changed."""
        meta, data = self._meta, self.__data__
        ordinary = only is None and not self.__rel__ and not meta.auto_increment
        if not ordinary or meta.primary_key is False or self._pk is None:  # type: ignore[attr-defined]
            return super().save(force_insert=force_insert, only=only)
        keys = meta.primary_key.field_names if meta.composite_key else (meta.primary_key.name,)
        names = tuple(data) if force_insert else self._assigned(keys)
        values = statements.stored(type(self), names, data)
        if not values:
            return super().save(force_insert=force_insert)
        if force_insert:
            sql(statements.insertion(type(self), names), *values)
            written = 1
        else:
            where = statements.stored(type(self), keys, data)
            written = sql(statements.change(type(self), names, keys), *values, *where).rowcount
        self._dirty.difference_update(names)  # type: ignore[attr-defined]
        return written

    def _assigned(self, keys: Collection[str]) -> tuple[str, ...]:
        names = (field.name for field in self.dirty_fields)
        return tuple(name for name in names if name not in keys)

    @classmethod
    def get(cls, *query: Any, **filters: Any) -> Self:
        """The row that these conditions name; raises ``DoesNotExist``."""
        wanted = None if filters else statements.equalities(cls, query)
        if wanted is None:
            return super().get(*query, **filters)
        row = _first(cls, wanted)
        if row is None:
            raise cls.DoesNotExist(f"there is no such {cls.__name__}")  # type: ignore[attr-defined]
        return row

    @classmethod
    def get_or_none(cls, *query: Any, **filters: Any) -> Self | None:
        """The row that these conditions name, if there is one."""
        wanted = None if filters else statements.equalities(cls, query)
        if wanted is None:
            return super().get_or_none(*query, **filters)
        return _first(cls, wanted)


def _instant() -> datetime:
    """The present unit's instant; outside a unit, as for rows in tests, the machine's time."""
    engine = database.obj
    unit = None if engine is None else engine.turn.unit
    return datetime.now(UTC) if unit is None else unit.now


class Row(Model):
    """A row with a UUIDv7 and the times of its making and its last change."""

    id = peewee.CharField(max_length=36, primary_key=True, default=new_id)
    create_time = TimestampField(default=_instant)
    update_time = TimestampField(default=_instant)

    def save(self, force_insert: bool = False, only: Any = None) -> int | bool:
        """Writes what was assigned, and moves ``update_time`` to the unit's instant.

        It changes a row that exists, or raises :class:`RowGone`; ``create()`` inserts.
        """
        if force_insert:
            return super().save(force_insert=True, only=only)
        self.update_time = _instant()
        if only is not None:
            only = [*only, type(self).update_time]
        if not super().save(only=only):
            raise RowGone()
        return 1


class RowGone(Aborted):
    """The row to be changed is not in its table: never inserted, or deleted meanwhile."""


def sql(text: str, *parameters: Any) -> Any:
    """Runs SQL written by hand, for the hottest paths: the driver's cursor, within the unit.

    ``?`` marks a parameter on both databases; ``text`` is constant and holds no ``%`` and no other
    ``?``. Peewee needs about ten times as long to put a statement together as SQLite to run it.
    """
    engine = database.obj
    return engine.execute_sql(engine.native(text), parameters)


Query = TypeVar("Query", bound=peewee.Query)
M = TypeVar("M", bound=Model)


def locked(query: Query) -> Query:
    """Locks what ``query`` selects until the unit ends; a writer on SQLite has it locked anyway."""
    if database.obj is None or not database.obj.for_update:
        return query
    return query.for_update()  # type: ignore[attr-defined, no-any-return]


def locked_one(model: type[M], *conditions: Any) -> M | None:
    """The row that these conditions name, locked until the unit ends, if there is one."""
    wanted = statements.equalities(model, conditions)
    if wanted is None:
        row: M | None = locked(model.select().where(*conditions)).get_or_none()
        return row
    return _first(model, wanted, lock=True)


def locked_or_new(model: type[M], key: Mapping[str, Any], **values: Any) -> M:
    """The row with this key, locked until the unit ends; one with ``values`` is made where there is none.

    It inserts first and looks then, so that it takes the same statements, and the same time, either way.
    Whoever makes the row in the same moment is waited for.
    """
    new = model(**key, **values).__data__
    sql(
        statements.insertion(model, tuple(new), lenient=True),
        *statements.stored(model, new, new),
    )
    row = locked_one(model, *(getattr(model, name) == value for name, value in key.items()))
    assert row is not None
    return row


def _first(model: type[M], wanted: Mapping[str, Any], *, lock: bool = False) -> M | None:
    """The first row in which these columns equal, as they are stored."""
    lock = lock and database.obj.for_update
    text = statements.selection(model, tuple(wanted), lock=lock)
    found = sql(text, *wanted.values()).fetchone()
    if found is None:
        return None
    row = model(__no_default__=True)
    data = row.__data__
    for (name, read), value in zip(statements.readers(model), found, strict=True):
        data[name] = read(value)
    return row

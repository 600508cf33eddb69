"""What all models are made of: the database they are bound to, rows, locks, SQL by hand."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import peewee

from server.core.errors import Aborted
from server.core.fields import TimestampField
from server.core.ids import new_id

database = peewee.DatabaseProxy()
"""What all models are bound to: the engine of the :class:`Database` that is open."""


class Model(peewee.Model):
    """A row of some table; ``save()`` writes only the columns that were assigned."""

    class Meta:
        database = database
        legacy_table_names = False
        only_save_dirty = True


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

    @classmethod
    def get_by_id(cls, pk: Any) -> Self:
        """The row with this id; raises ``DoesNotExist``.

        As Peewee's own, but with the statement put together once and not at every call.
        """
        text, fields = _selections.get(cls) or _remember_selection(cls)
        found = sql(text, pk).fetchone()
        if found is None:
            raise cls.DoesNotExist(f"{cls.__name__} {pk} does not exist")  # type: ignore[attr-defined]
        row = cls(__no_default__=True)
        for name, read, stored in zip(fields, fields.values(), found, strict=True):
            row.__data__[name] = read(stored)
        row._dirty.clear()  # type: ignore[attr-defined]
        return row


_selections: dict[type[Row], tuple[str, dict[str, Callable[[Any], Any]]]] = {}


def _remember_selection(model: type[Row]) -> tuple[str, dict[str, Callable[[Any], Any]]]:
    fields = model._meta.sorted_fields
    columns = ", ".join(f'"{field.column_name}"' for field in fields)
    text = f'SELECT {columns} FROM "{model._meta.table_name}" WHERE "id" = ?'  # noqa: S608
    selection = text, {field.name: field.python_value for field in fields}
    _selections[model] = selection
    return selection


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


def locked_or_new(model: type[M], key: Mapping[str, Any], **values: Any) -> M:
    """The row with this key, locked until the unit ends; one with ``values`` is made where there is none.

    It inserts first and looks then, so that it takes the same statements, and the same time, either way.
    Whoever makes the row in the same moment is waited for.
    """
    model.insert(**key, **values).on_conflict_ignore().execute()
    own = [getattr(model, name) == value for name, value in key.items()]
    row: M = locked(model.select().where(*own)).get()
    return row

"""Pages: put together they are the list, whatever happens meanwhile; tokens serve one list only."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.core.db import Database, sql
from server.core.errors import InvalidArgument, InvalidPageToken
from server.core.pagination import Order, Page, Pages, paginate
from server.core.sealing import Keyring
from server.core.unit import Unit
from tests.unit.core.things import Thing, opened

PAGES = Pages(Keyring({"k1": b"1" * 32}))
SCOPE = {"method": "ListThings", "caller": "user:1"}
ORDERS = {
    "ascending": (Order(Thing.id),),
    "descending": (Order(Thing.id, descending=True),),
    "two_ascending": (Order(Thing.rank), Order(Thing.id)),
    "two_descending": (Order(Thing.name, descending=True), Order(Thing.id, descending=True)),
    "mixed": (Order(Thing.rank, descending=True), Order(Thing.name), Order(Thing.id)),
    "mixed_last": (Order(Thing.name), Order(Thing.rank), Order(Thing.id, descending=True)),
    "times": (Order(Thing.create_time, descending=True), Order(Thing.id, descending=True)),
}


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with opened(database_url) as database:
        yield database


def page(order: tuple[Order, ...], size: int = 3, token: str = "", **more: Any) -> Page[Thing]:
    scope = more.pop("scope", SCOPE)
    pages = more.pop("pages", PAGES)
    return paginate(
        pages, Thing.select(), order=order, page_size=size, page_token=token, scope=scope
    )


def everything(order: tuple[Order, ...]) -> list[str]:
    keys = [entry.field.desc() if entry.descending else entry.field.asc() for entry in order]
    return [row.id for row in Thing.select().order_by(*keys)]


def fill(rows: list[tuple[str, int]]) -> None:
    sql("DELETE FROM things")
    for name, rank in rows:
        Thing.create(name=name, rank=rank)


def here(db: Database, work: Callable[[], Any]) -> Any:
    return db.run_here(lambda _unit: work(), write=True)


rows_of_a_few_kinds = st.lists(
    st.tuples(st.sampled_from(["", "a", "A", "ä", "b'", "%_"]), st.integers(-2, 2)), max_size=25
)


@pytest.mark.parametrize("name", ORDERS)
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(rows=rows_of_a_few_kinds, size=st.integers(1, 7))
def test_pages_put_together_are_the_list(
    db: Database, name: str, rows: list[tuple[str, int]], size: int
) -> None:
    order = ORDERS[name]

    def work() -> tuple[list[str], list[str], list[int]]:
        fill(rows)
        found, sizes, token = [], [], ""
        while True:
            got = page(order, size, token)
            found += [row.id for row in got.items]
            sizes.append(len(got.items))
            token = got.next_page_token
            if not token:
                return found, everything(order), sizes

    found, expected, sizes = here(db, work)
    assert found == expected
    assert all(count == size for count in sizes[:-1])
    assert sizes[-1] or not rows


@pytest.mark.parametrize("name", ["mixed", "times", "two_ascending"])
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(rows=rows_of_a_few_kinds, late=rows_of_a_few_kinds, size=st.integers(1, 5))
def test_changes_meanwhile_repeat_nothing_and_skip_nothing_that_stays(
    db: Database, name: str, rows: list[tuple[str, int]], late: list[tuple[str, int]], size: int
) -> None:
    order = ORDERS[name]

    def work() -> None:
        fill(rows)
        before = everything(order)
        kept, found, token, waiting = set(before), [], "", list(late)
        while True:
            got = page(order, size, token)
            found += [row.id for row in got.items]
            token = got.next_page_token
            if not token:
                break
            if waiting:
                fresh, rank = waiting.pop()
                Thing.create(name=fresh, rank=rank)
                # The very row that the token stands on may go.
                kept.discard(found[-1])
                Thing.delete().where(Thing.id == found[-1]).execute()
        assert len(found) == len(set(found))
        assert kept <= set(found)

    here(db, work)


def test_sizes_have_a_default_and_a_limit(db: Database) -> None:
    def work() -> None:
        rows = [{"name": str(index)} for index in range(230)]
        Thing.insert_many(rows).execute()
        order = ORDERS["ascending"]
        assert len(page(order, 0).items) == 50
        assert len(page(order, 1000).items) == 200
        assert page(order, 200, page(order, 30).next_page_token).next_page_token == ""
        with pytest.raises(InvalidArgument) as caught:
            page(order, -1)
        assert caught.value.violations[0].field == "page_size"

    here(db, work)


def test_a_token_serves_one_list_only(db: Database) -> None:
    order = ORDERS["mixed"]

    def work() -> str:
        fill([(str(index), 0) for index in range(5)])
        return page(order, 2).next_page_token

    token = here(db, work)
    kid, _, body = token.partition(".")
    raw = bytearray(base64.urlsafe_b64decode(body + "=="))
    raw[15] ^= 1
    forged = f"{kid}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"
    other = Pages(Keyring({"k1": b"2" * 32}))
    wrong: list[tuple[str, dict[str, Any]]] = [
        (token, {"scope": {**SCOPE, "caller": "user:2"}}),
        (token, {"scope": {**SCOPE, "filter": "x"}}),
        (token, {"order": ORDERS["ascending"]}),
        (token, {"order": (order[0], order[1], Order(Thing.id, descending=True))}),
        (token, {"pages": other}),
        (forged, {}),
        ("nonsense", {}),
        (token[:-1], {}),
        (token + "A", {}),
        ("k1.", {}),
        ("\ud800", {}),
    ]

    def refused(_unit: Unit) -> None:
        for text, more in wrong:
            with pytest.raises(InvalidPageToken):
                page(more.pop("order", order), 2, text, **more)
        assert page(order, 2, token).items

    db.run_here(refused, write=False)


def test_a_token_outlives_the_rotation_of_keys(db: Database) -> None:
    rotated = Pages(Keyring({"k2": b"2" * 32, "k1": b"1" * 32}))

    def work() -> None:
        fill([(str(index), 0) for index in range(5)])
        token = page(ORDERS["ascending"], 2).next_page_token
        assert page(ORDERS["ascending"], 2, token, pages=rotated).items

    here(db, work)


def test_a_column_that_may_be_null_orders_nothing(db: Database) -> None:
    with pytest.raises(ValueError, match="NULL"):
        here(db, lambda: page((Order(Thing.seen_time), Order(Thing.id))))


def test_a_page_is_found_through_the_index(db: Database) -> None:
    """The plan of the second page seeks in the key instead of reading the list from its start."""
    if db.kind != "sqlite":
        pytest.skip(reason="the planner of PostgreSQL reads small tables whole")

    def work() -> str:
        fill([(str(index), 0) for index in range(5)])
        sql("CREATE INDEX things_order ON things (rank, id)")
        order = ORDERS["two_ascending"]
        token = page(order, 2).next_page_token
        seen: list[str] = []
        from server.core.db import database

        original = database.obj.execute_sql

        def spy(text: str, parameters: Any = None) -> Any:
            plan = original(f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()
            seen.append(" ".join(str(row[-1]) for row in plan))
            return original(text, parameters)

        database.obj.execute_sql = spy
        try:
            page(order, 2, token)
        finally:
            del database.obj.execute_sql
        return seen[0]

    plan = here(db, work)
    assert "SEARCH" in plan
    assert "things_order" in plan
    assert "TEMP B-TREE" not in plan

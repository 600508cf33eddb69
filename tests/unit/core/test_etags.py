"""Etags change with the content, are the same on both databases, and stop lost updates."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from server.core.db import Database, locked
from server.core.errors import EtagMismatch
from server.core.etags import check_etag, etag_of
from server.core.unit import Unit
from tests.unit.core.things import Thing, opened

FIXED = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with opened(database_url, DATABASE_WAIT_SECONDS="30") as database:
        yield database


def make(_unit: Unit) -> str:
    row = Thing.create(
        id="t1", name="a", details={"a": 1}, content=b"x\0", create_time=FIXED, update_time=FIXED
    )
    assert etag_of(row) == etag_of(Thing.get_by_id("t1"))
    return etag_of(row)


async def test_an_etag_says_the_same_on_both_databases(db: Database) -> None:
    assert await db.run(make, write=True) == "bd1178f87e40e7f0bb0b19"


async def test_every_column_counts(db: Database) -> None:
    def work(unit: Unit) -> None:
        seen = {make(unit)}
        for name, value in {
            "name": "b", "rank": 2, "seen_time": FIXED, "details": None, "content": b"y",
        }.items():  # fmt: skip
            row = Thing.get_by_id("t1")
            setattr(row, name, value)
            row.save(only=[name])
            seen.add(etag_of(Thing.get_by_id("t1")))
        assert len(seen) == 6

    await db.run(work, write=True)


async def test_of_many_who_edit_what_they_read_none_is_lost(db: Database) -> None:
    await db.run(make, write=True)

    async def edit() -> None:
        while True:
            seen = await db.run(lambda unit: Thing.get_by_id("t1"), write=False)
            etag = etag_of(seen)

            def change(_unit: Unit, etag: str = etag) -> None:
                row = locked(Thing.select().where(Thing.id == "t1")).get()
                check_etag(row, etag)
                row.rank += 1
                row.save()

            try:
                await db.run(change, write=True)
            except EtagMismatch:
                continue
            return

    await asyncio.gather(*(edit() for _ in range(16)))
    assert await db.run(lambda unit: Thing.get_by_id("t1").rank, write=False) == 16


async def test_an_empty_etag_is_accepted_and_a_strange_one_is_not(db: Database) -> None:
    def work(unit: Unit) -> None:
        etag = make(unit)
        row = Thing.get_by_id("t1")
        check_etag(row, "")
        check_etag(row, etag)
        for wrong in (etag[:-1], etag.upper(), "ä", "0" * 22):
            with pytest.raises(EtagMismatch):
                check_etag(row, wrong)

    await db.run(work, write=True)

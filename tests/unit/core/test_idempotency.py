"""Request ids: one owner, one reply, forgotten after a day; on both databases."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from server.core import idempotency
from server.core.caller import CallContext, Caller
from server.core.clock import ManualClock
from server.core.db import Database
from server.core.errors import FailedPrecondition
from server.core.idempotency import IdempotencyKey, StoredReply
from server.core.unit import Unit
from tests.unit.core.things import Account, opened

METHOD = "greenroom.test.v1.TestService.Make"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def db(database_url: str, clock: ManualClock) -> Iterator[Database]:
    with opened(database_url, clock=clock, DATABASE_WAIT_SECONDS="30") as database:
        yield database


def claim(unit: Unit, request_id: str = "r1") -> StoredReply | None:
    return idempotency.claim(unit, METHOD, request_id, b"\0print")


def make(unit: Unit) -> bytes:
    """An effect that must not happen twice under one id."""
    stored = claim(unit)
    if stored is not None:
        assert stored.fingerprint == b"\0print"
        assert stored.response is not None
        return stored.response
    Account.insert(name="effect").execute()
    idempotency.store(unit, METHOD, "r1", b"reply\xff")
    return b"reply\xff"


async def test_the_first_reply_is_played_back(db: Database) -> None:
    assert [await db.run(make, write=True) for _ in range(3)] == [b"reply\xff"] * 3


async def test_of_many_at_once_one_has_the_effect_and_all_have_the_reply(db: Database) -> None:
    replies = await asyncio.gather(*(db.run(make, write=True) for _ in range(32)))
    assert replies == [b"reply\xff"] * 32
    assert await db.run(lambda unit: Account.select().count(), write=False) == 1


async def test_many_at_once_under_full_isolation(db: Database) -> None:
    replies = await asyncio.gather(*(db.run(make, write=True, serializable=True) for _ in range(8)))
    assert replies == [b"reply\xff"] * 8


async def test_a_unit_that_fails_leaves_the_id_free(db: Database) -> None:
    def fail(unit: Unit) -> None:
        make(unit)
        raise FailedPrecondition()

    with pytest.raises(FailedPrecondition):
        await db.run(fail, write=True)
    assert await db.run(claim, write=True) is None


async def test_an_id_that_was_given_back_is_free(db: Database) -> None:
    def refuse(unit: Unit) -> None:
        claim(unit)
        idempotency.forget(unit, METHOD, "r1")

    await db.run(refuse, write=True)
    assert await db.run(claim, write=True) is None


async def test_ids_of_others_and_of_other_methods_are_others(db: Database) -> None:
    await db.run(make, write=True)
    someone = CallContext(Caller("user", "u1"))
    assert await db.run(claim, write=True, context=someone) is None
    other = await db.run(
        lambda unit: idempotency.claim(unit, METHOD + "Other", "r1", b""), write=True
    )
    assert other is None


async def test_an_id_is_forgotten_after_a_day(db: Database, clock: ManualClock) -> None:
    await db.run(make, write=True)
    clock.advance(timedelta(hours=24).total_seconds() - 1)
    assert await db.run(claim, write=True) == StoredReply(b"\0print", b"reply\xff")
    clock.advance(1)

    def again(unit: Unit) -> StoredReply | None:
        owned = idempotency.claim(unit, METHOD, "r1", b"other")
        assert owned is None
        return idempotency.claim(unit, METHOD, "r1", b"third")

    assert await db.run(again, write=True) == StoredReply(b"other", None)


async def test_the_clean_up_deletes_what_is_expired_in_small_units(
    db: Database, clock: ManualClock
) -> None:
    def fill(unit: Unit) -> None:
        for index in range(25):
            claim(unit, f"r{index}")

    await db.run(fill, write=True)
    clock.advance(3600)
    await db.run(lambda unit: claim(unit, "later"), write=True)
    clock.advance(23 * 3600)
    assert await db.run(lambda unit: idempotency.delete_expired(unit, 10), write=True) == 10

    class Run:
        units = 0

        def run(self, work: object, *, write: bool = True) -> object:
            self.units += 1
            return db.run_here(work, write=write)  # type: ignore[arg-type]

    run = Run()
    await asyncio.to_thread(idempotency.forget_expired, run)
    assert run.units == 2
    left = await db.run(
        lambda unit: [row.request_id for row in IdempotencyKey.select()], write=False
    )
    assert left == ["later"]

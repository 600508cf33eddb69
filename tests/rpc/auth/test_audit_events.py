"""Each security event leaves exactly its rows in the audit log, in the transaction of its effect: without
the row there is no effect either (A-17)."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from server.auth import audit_actions
from server.auth.models import AuditEvent
from server.core.unit import Unit
from tests.rpc.auth import more_security_events  # noqa: F401 (fills the table)
from tests.rpc.auth.keys import WEB_STORAGE, service
from tests.rpc.auth.oauth_scenes import settings_for
from tests.rpc.auth.scenes import in_unit
from tests.rpc.auth.security_events import EVENTS, SecurityEvent, Stage
from tests.rpc.auth.staff import member_of_staff
from tests.support.databases import fresh_database, require
from tests.support.digests import table_digests
from tests.support.fake_discord import FakeDiscord
from tests.support.serve import serving
from tests.support.statuses import code_of

ELSEWHERE = {
    "key.rotate": "test_signing_keys.py",
    "key.revoke": "test_signing_keys.py",
    "admin.create": "test_admin_create.py",
}
"""Actions of the command line, and the file that holds each to its row."""

USED_UP = frozenset({"oauth_authorizations", "mfa_challenges", "otps"})
"""Tables that note a try in a unit of its own, before the unit of the effect."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
async def house(request: Any, tmp_path_factory: Any) -> Any:
    """One server for all scenes."""
    require(request.param)
    folder: Path = tmp_path_factory.mktemp("events")
    with FakeDiscord() as discord:
        settings = settings_for("discord", discord.url)
        url = fresh_database(request.param)
        async with serving(url, folder, refresh_grace_seconds=10, **settings) as server:
            staff = await member_of_staff(server, "super_admin")
            yield Stage(server, staff, await service(server, WEB_STORAGE), discord)


@pytest.fixture
async def stage(house: Stage) -> Stage:
    """The server, with staff who have just signed in: scenes move the clock."""
    return replace(house, staff=await house.server.log_in(house.staff.email))


def _newest(_unit: Unit) -> str:
    row = AuditEvent.select(AuditEvent.id).order_by(AuditEvent.id.desc()).first()
    return "" if row is None else row.id


def _rows_after(newest: str) -> Any:
    def read(_unit: Unit) -> list[tuple[str, str]]:
        rows = AuditEvent.select().where(AuditEvent.id > newest).order_by(AuditEvent.id)
        return [(row.action, row.result) for row in rows]

    return read


@pytest.mark.parametrize("event", EVENTS, ids=[event.name for event in EVENTS])
async def test_an_event_leaves_its_rows(stage: Stage, event: SecurityEvent) -> None:
    act = await event.scene(stage)
    newest = await in_unit(stage.server, _newest)
    await code_of(act())
    assert tuple(await in_unit(stage.server, _rows_after(newest))) == event.rows


@pytest.mark.parametrize("event", EVENTS, ids=[event.name for event in EVENTS])
async def test_without_its_row_there_is_no_event(
    stage: Stage, event: SecurityEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = await event.scene(stage)

    def full(*_arguments: object, **_more: object) -> None:
        raise OSError("the audit log is full")

    async with stage.server.jobs_at_rest():
        before = await in_unit(stage.server, table_digests)
        monkeypatch.setattr(stage.server.running.parts.database, "audit_sink", full)
        assert await code_of(act()) is StatusCode.INTERNAL
        monkeypatch.undo()
        after = await in_unit(stage.server, table_digests)
    changed = {table for table, digest in before.items() if after[table] != digest}
    assert changed <= USED_UP


def test_the_table_is_whole() -> None:
    known = {value for name, value in vars(audit_actions).items() if name.isupper()}
    told = {action for event in EVENTS for action, _ in event.rows}
    assert known - told == set(ELSEWHERE)
    assert len(EVENTS) >= 40
    folder = Path(__file__).parent
    for action, file in ELSEWHERE.items():
        assert f'"{action}"' in (folder / file).read_text()

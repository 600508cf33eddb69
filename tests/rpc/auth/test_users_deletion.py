"""DeleteUser, UndeleteUser and the purge: the grace, the way back, and what is left at the end."""

import asyncio

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import session_service_pb2 as session_pb
from greenroom.auth.v1 import user_pb2
from server.auth.models import AuditEvent, User
from server.auth.usecases import user_status
from server.core.db import sql
from server.core.jobs import JobRunner
from server.core.unit import Unit
from tests.rpc.auth.scenes import (
    audit_rows,
    get_me,
    in_unit,
    refresh,
    set_user,
    sign_up_request,
    turn,
)
from tests.rpc.auth.staff import (
    DAY,
    LAST,
    MISSING,
    NOT_FOUND,
    REVOKED,
    STATUS,
    STEP_UP,
    SUPER_ONLY,
    ban,
    delete,
    get_user,
    list_users,
    member_of_staff,
    reinstate,
    set_roles,
    suspend,
    undelete,
    update,
)
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused

BAD = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
SPENT = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID")
ACTIVE, DELETED = user_pb2.USER_STATUS_ACTIVE, user_pb2.USER_STATUS_DELETED


async def _purge(server: Greenroom) -> int:
    """What the daily job does, in a runner of its own."""
    parts = server.running.parts
    runner = JobRunner(parts.database, parts.jobs, parts.clock)
    return await asyncio.to_thread(_run, runner, parts.database.close_here)


def _run(runner: JobRunner, close: object) -> int:
    try:
        return runner.run_pending()
    finally:
        close()  # type: ignore[operator]


async def _exists(server: Greenroom, person: Person) -> bool:
    return await in_unit(server, lambda _unit: User.get_or_none(User.id == person.id) is not None)


async def test_an_account_is_deleted_by_its_owner_after_a_fresh_factor(server: Greenroom) -> None:
    ada = await server.person("Ada")
    phone = await server.log_in(ada.email)
    await server.stale(ada)
    await refused(delete(server, ada, ada.id), *STEP_UP)
    gone = await delete(server, phone, ada.id)
    assert gone.status == DELETED
    assert gone.purge_time.ToSeconds() - gone.delete_time.ToSeconds() == 30 * DAY
    for person in (ada, phone):
        await refused(get_me(server, person.metadata), *REVOKED)
        await refused(refresh(server, person.tokens.tokens.refresh_token), *SPENT)
    assert (await audit_rows(server)).count(("user.delete", "OK")) == 1


async def test_who_deleted_their_account_comes_back_to_undelete_it_and_for_nothing_else(
    server: Greenroom,
) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await delete(server, ada, ada.id)
    turn(server, 20 * DAY)
    back = await server.log_in(ada.email)
    assert back.tokens.user.status == DELETED
    await refused(get_me(server, back.metadata), *REVOKED)
    await refused(get_user(server, back, ada.id), *REVOKED)
    await refused(update(server, back, ada.id, display_name="x"), *REVOKED)
    await refused(delete(server, back, ada.id), *REVOKED)
    await refused(refresh(server, back.tokens.tokens.refresh_token), *SPENT)
    await refused(
        server.sessions.ListSessions(session_pb.ListSessionsRequest(), metadata=back.metadata),
        *REVOKED,
    )
    await refused(undelete(server, back, admin.id), *NOT_FOUND)
    restored = await undelete(server, back, ada.id)
    assert restored.status == ACTIVE
    assert not restored.HasField("delete_time") and not restored.HasField("purge_time")
    assert (await get_me(server, back.metadata)).status == ACTIVE, "the session goes on"
    assert (await undelete(server, back, ada.id)).status == ACTIVE
    assert (await audit_rows(server)).count(("user.undelete", "OK")) == 1


async def test_a_deleted_administrator_has_no_rights_until_they_are_back(
    server: Greenroom,
) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    second = await member_of_staff(server)
    await delete(server, second, ada.id)
    await delete(server, admin, admin.id)
    back = await server.log_in(admin.email)
    await refused(list_users(server, back), *REVOKED)
    await refused(undelete(server, back, ada.id), *NOT_FOUND)
    await undelete(server, back, admin.id)
    assert (await undelete(server, back, ada.id)).status == ACTIVE


async def test_what_staff_deleted_is_brought_back_by_staff_only(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await suspend(server, admin, ada.id, 90 * DAY)
    first = await delete(server, admin, ada.id)
    turn(server, 60)
    again = await delete(server, admin, ada.id)
    assert again.purge_time == first.purge_time, "a repeat does not move the purge"
    await refused(server.log_in(ada.email), *BAD)
    back = await undelete(server, admin, ada.id)
    assert back.status == user_pb2.USER_STATUS_SUSPENDED, "as it was before"
    await ban(server, admin, ada.id)
    await delete(server, admin, ada.id)
    assert (await undelete(server, admin, ada.id)).status == user_pb2.USER_STATUS_BANNED


async def test_a_ban_is_not_outlived_by_going(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await delete(server, ada, ada.id)
    banned = await ban(server, admin, ada.id)
    assert not banned.HasField("purge_time")
    await refused(server.log_in(ada.email), *BAD)
    assert (await reinstate(server, admin, ada.id)).status == ACTIVE
    await delete(server, admin, ada.id)
    await refused(reinstate(server, admin, ada.id), *STATUS)
    await refused(suspend(server, admin, ada.id), *STATUS)
    await refused(set_roles(server, await member_of_staff(server, "super_admin"), ada.id), *STATUS)


async def test_who_may_delete_whom(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    bob, top = await server.person("Bob"), await member_of_staff(server, "super_admin")
    await refused(delete(server, bob, ada.id), *NOT_FOUND)
    await refused(delete(server, admin, top.id), *SUPER_ONLY)
    await refused(delete(server, Person("", "", bob.tokens, ()), ada.id), *MISSING)
    await refused(delete(server, top, top.id), *LAST)
    other = await member_of_staff(server, "super_admin")
    await delete(server, other, top.id)
    await refused(undelete(server, admin, top.id), *SUPER_ONLY)
    await refused(undelete(server, bob, ada.id), *NOT_FOUND)


async def test_two_last_super_admins_who_go_at_once(server: Greenroom) -> None:
    tops = [await member_of_staff(server, "super_admin", f"top{number}") for number in range(2)]
    codes = await asyncio.gather(*(code_of(delete(server, top, top.id)) for top in tops))
    assert sorted(code.name for code in codes) == ["FAILED_PRECONDITION", "OK"]


async def test_after_the_grace_nothing_is_left_but_the_audit_log(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    bob = await server.person("Bob")
    await delete(server, ada, ada.id)
    await delete(server, bob, bob.id)
    turn(server, 29 * DAY)
    admin = await server.log_in(admin.email)
    await undelete(server, admin, bob.id)
    await _purge(server)
    assert await _exists(server, ada), "the grace is not over"
    turn(server, 2 * DAY)
    await _purge(server)
    await refused(server.log_in(ada.email), *BAD)
    admin = await server.log_in(admin.email)
    assert not await _exists(server, ada) and await _exists(server, bob)
    await refused(get_user(server, admin, ada.id), *NOT_FOUND)

    def left(unit: Unit) -> list[str]:
        return [table for table, column in _references(unit) if _count(table, column, ada.id)]

    assert await in_unit(server, left) == []
    events = await in_unit(
        server,
        lambda _unit: [
            row.action
            for row in AuditEvent.select()
            .where(AuditEvent.resource == f"users/{ada.id}")
            .order_by(AuditEvent.id)
        ],
    )
    # The server's own runner may purge while a log-in is being refused, so the purge need not be last.
    assert {"user.purge", "user.delete"} <= set(events)
    # The address is free again.
    await server.auth.SignUp(sign_up_request(ada.email))
    token = await server.mailed_token(ada.email, 3)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    assert (await server.log_in(ada.email)).id != ada.id


def _references(unit: Unit) -> list[tuple[str, str]]:
    """Tables and columns that refer to users."""
    if unit._database.kind == "postgresql":
        found = sql(
            "SELECT conrelid::regclass::text, attname FROM pg_constraint"
            " JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]"
            " WHERE contype = 'f' AND confrelid = 'users'::regclass"
        ).fetchall()
    else:
        found = sql(
            'SELECT m.name, f."from" FROM sqlite_master m, pragma_foreign_key_list(m.name) f'
            " WHERE m.type = 'table' AND f.\"table\" = 'users'"
        ).fetchall()
    assert len(found) >= 8
    return [(str(table), str(column)) for table, column in found]


def _count(table: str, column: str, user_id: str) -> int:
    return int(sql(f"SELECT count(*) FROM {table} WHERE {column} = ?", user_id).fetchone()[0])


async def test_every_table_lets_go_of_a_purged_user(server: Greenroom) -> None:
    """A reference without ON DELETE would make the purge fail for whoever has such a row."""

    def rules(unit: Unit) -> list[tuple[str, str]]:
        if unit._database.kind == "postgresql":
            return [
                (str(table), str(kind))
                for table, kind in sql(
                    "SELECT conrelid::regclass::text, confdeltype::text FROM pg_constraint"
                    " WHERE contype = 'f' AND confrelid = 'users'::regclass"
                ).fetchall()
            ]
        return [
            (str(table), str(kind))
            for table, kind in sql(
                "SELECT m.name, f.on_delete FROM sqlite_master m, pragma_foreign_key_list(m.name) f"
                " WHERE m.type = 'table' AND f.\"table\" = 'users'"
            ).fetchall()
        ]

    found = await in_unit(server, rules)
    assert [row for row in found if row[1] not in {"CASCADE", "SET NULL", "c", "n"}] == []


async def test_after_the_grace_it_is_too_late_even_before_the_purge(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await delete(server, ada, ada.id)
    back = await server.log_in(ada.email)
    await set_user(server, ada, purge_at=server.clock.now())
    await refused(undelete(server, back, ada.id), *REVOKED)
    await refused(server.log_in(ada.email), *BAD)
    await refused(undelete(server, admin, ada.id), *STATUS)


async def test_an_account_that_comes_back_in_time_is_not_purged(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await delete(server, admin, ada.id)
    assert await in_unit(server, lambda unit: user_status.purge(unit, ada.id), write=True) is False
    await undelete(server, admin, ada.id)
    assert await in_unit(server, lambda unit: user_status.purge(unit, ada.id), write=True) is False
    assert await _exists(server, ada)

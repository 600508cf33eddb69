"""``python -m server admin create``, as a process: the first super_admin, and how often it works."""

import asyncio
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from grpc import StatusCode

from server.auth.models import AuditEvent, User, UserRole
from server.auth.usecases.new_accounts import SuperAdminExists, create_first_admin
from tests.rpc.auth.scenes import get_me, in_unit, set_user, sign_up_request
from tests.rpc.auth.staff import list_users, set_roles
from tests.support.serve import Greenroom
from tests.support.statuses import refused

ROOT = Path(__file__).resolve().parents[3]
STRONG = "a very long sentence about tea"
BAD = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")


async def _create(
    server: Greenroom, email: str, *options: str, password: bytes | None = None
) -> tuple[int, str, str]:
    """Exit status and what was said to whom."""
    parts = server.running.parts.settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", "admin", "create", "--email", email, *options),
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": parts.database_url,
            "STATE_DIR": str(parts.state_dir),
            "BCRYPT_COST": "4",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate(password or b"")
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_first_super_admin_gets_a_password_that_is_shown_once(server: Greenroom) -> None:
    status, out, err = await _create(server, "Root@Example.com")
    assert (status, err) == (0, "")
    assert out.startswith("Made the super_admin root@example.com (")
    password = out.splitlines()[1].removeprefix("Password, shown this once: ")
    assert len(password) == 24
    root = await server.log_in("root@example.com", password)
    me = await get_me(server, root.metadata)
    assert list(me.roles) == ["super_admin"] and me.HasField("email_verified_time")
    assert me.signup_provider == "staff" and me.primary_role == "super_admin"
    await list_users(server, root)

    def row(_unit: object) -> Any:
        return AuditEvent.get(AuditEvent.action == "admin.create")

    written = await in_unit(server, row)
    assert (written.actor_kind, written.resource) == ("operator", f"users/{root.id}")
    assert password not in str(written.__data__)

    status, out, err = await _create(server, "second@example.com")
    assert (status, out) == (1, "") and "There is a super_admin in use" in err
    assert "Traceback" not in err


async def test_a_password_comes_from_standard_input_and_has_to_be_strong(
    server: Greenroom,
) -> None:
    for weak in (
        b"password1\n",
        b"\n",
        b"",
        b"root@example.com\n",
        b"\xff\xfe\n",
        b"x" * 1025 + b"\n",
    ):
        status, out, err = await _create(
            server, "root@example.com", "--password-stdin", password=weak
        )
        assert (status, out) == (1, "") and err and "Traceback" not in err, weak
        assert weak.strip() == b"" or weak.strip().decode(errors="replace") not in err
    status, out, _err = await _create(
        server, "root@example.com", "--password-stdin", password=STRONG.encode() + b"\r\n"
    )
    assert status == 0 and STRONG not in out and len(out.splitlines()) == 1
    await server.log_in("root@example.com", STRONG)


async def test_what_it_refuses(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for address in (ada.email.upper(), "nobody", "a b@example.com", "x@y", "a@b.c,d@e.f"):
        status, out, err = await _create(server, address)
        assert (status, out) == (1, "") and err and "Traceback" not in err, address
    holders = await in_unit(server, lambda _unit: User.holding("super_admin").count())
    assert holders == 0


async def test_of_many_at_once_one_makes_it(server: Greenroom) -> None:
    results = await asyncio.gather(
        *(_create(server, f"root{number}@example.com") for number in range(3))
    )
    assert sorted(status for status, _out, _err in results) == [0, 1, 1]
    assert await in_unit(server, lambda _unit: UserRole.select().count()) == 1


async def test_of_many_in_one_moment_one_makes_it(server: Greenroom) -> None:
    """The same without the time that a process takes to start."""

    def lock_all(_unit: object) -> None:
        User.update(status="BANNED").execute()

    for turn in range(6):
        storm = [
            in_unit(
                server,
                partial(create_first_admin, email=f"r{turn}{number}@x.org", password_hash="x"),
                write=True,
            )
            for number in range(8)
        ]
        results = await asyncio.gather(*storm, return_exceptions=True)
        assert sum(isinstance(result, SuperAdminExists) for result in results) == 7
        assert await in_unit(server, lambda _unit: User.holding("super_admin").count()) == turn + 1
        await in_unit(server, lock_all, write=True)


async def test_a_house_whose_super_admins_are_all_locked_gets_a_new_one(
    server: Greenroom,
) -> None:
    _status, out, _err = await _create(server, "root@example.com")
    root = await server.log_in("root@example.com", out.split()[-1])
    await set_user(server, root, status="BANNED")
    status, _out, _err = await _create(server, "second@example.com")
    assert status == 0


async def test_nothing_else_makes_one(server: Greenroom) -> None:
    """Not a sign-up, and not an administrator: the other tests try the roles one by one."""
    await server.auth.SignUp(sign_up_request("super_admin@example.com"))
    _status, out, _err = await _create(server, "root@example.com")
    root = await server.log_in("root@example.com", out.split()[-1])
    ada = await server.person("Ada")
    await set_roles(server, root, ada.id, "admin")
    call = set_roles(server, ada, (await server.person("Bob")).id, "super_admin")
    await refused(call, StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_SUPER_ADMIN_ONLY")
    await refused(server.log_in("root@example.com", "wrong"), *BAD)

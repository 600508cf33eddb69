"""The checks that stand in the code and not in a policy: each one that is taken out alone makes the matrix
fail (A-3). The policies' own are in ``test_matrix_mutants``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.auth.models import ApiKey, AuditEvent, Identity, MfaFactor, Passkey, Session
from server.auth.rules import Actor
from server.auth.rules.users import check_fields, check_rank, check_roles, check_target
from server.auth.usecases import (
    api_keys,
    user_status,
    users,
    web_accounts,
    web_authenticators,
    web_users,
)
from server.chat.sending import _Batch
from server.chat.usecases import channels, marks, messages
from tests.rpc.test_matrix_mutants import METHODS, fresh
from tests.rpc.test_matrix_objects import laid_open, paths_of, shown_to, somebody
from tests.rpc.test_matrix_ranks import overreached
from tests.support.mutants import without
from tests.support.serve import Greenroom


@dataclass(frozen=True)
class Check:
    """A check, what is left of it without, and who would notice where."""

    where: Callable[..., Any]
    there: str
    instead: str
    role: str
    methods: tuple[str, ...] = ()
    """Those that lay something open; none for the tries of ``test_matrix_ranks``."""

    @property
    def id(self) -> str:
        """For the report."""
        return f"{self.where.__qualname__}: {self.there}"


def _auth(*names: str) -> tuple[str, ...]:
    return tuple(f"greenroom.auth.v1.{name}" for name in names)


USERS = _auth("UserService.GetUser", "UserService.UpdateUser")
REVOKE_SESSION = _auth("SessionService.RevokeSession")
REVOKE_KEY = _auth("ApiKeyService.RevokeApiKey")
AUDIT = _auth("AuditService.ListAuditEvents")
OWN = "cls.user == caller.user_id"
PERMITTED = "is_admin_and_may("
ADMIN_ONLY = "is_admin and str("
NO_ADMIN = "may("

CHECKS = [
    Check(Actor.sees, f"self.{PERMITTED}", f"self.{NO_ADMIN}", "agent", USERS[:1]),
    Check(Actor.sees, PERMITTED, ADMIN_ONLY, "powerless admin", USERS[:1]),
    Check(Actor.sees, "self.user_id == user_id or ", "True or ", "creator", USERS[:1]),
    Check(Session.within_reach_of, OWN, "True", "creator", REVOKE_SESSION),
    Check(Session.within_reach_of, PERMITTED, ADMIN_ONLY, "powerless admin", REVOKE_SESSION),
    Check(Session.within_reach_of, PERMITTED, NO_ADMIN, "clerk", REVOKE_SESSION),
    Check(ApiKey.within_reach_of, OWN, "True", "creator", REVOKE_KEY),
    Check(ApiKey.within_reach_of, PERMITTED, ADMIN_ONLY, "powerless admin", REVOKE_KEY),
    Check(ApiKey.within_reach_of, PERMITTED, NO_ADMIN, "clerk", REVOKE_KEY),
    Check(AuditEvent.within_reach_of, "cls.actor_id == caller.user_id", "True", "creator", AUDIT),
    Check(AuditEvent.within_reach_of, PERMITTED, ADMIN_ONLY, "powerless admin", AUDIT),
    Check(AuditEvent.within_reach_of, PERMITTED, NO_ADMIN, "clerk", AUDIT),
    Check(
        MfaFactor.for_owner,
        f"({OWN}) & ",
        "",
        "creator",
        _auth("MfaService.DeleteMfaFactor", "MfaService.ListMfaFactors"),
    ),
    Check(
        Passkey.for_owner,
        "cls.for_user(caller.user_id)",
        "cls.select()",
        "creator",
        _auth("PasskeyService.DeletePasskey", "PasskeyService.ListPasskeys"),
    ),
    Check(
        Identity.for_user,
        "cls.user == user_id",
        "True",
        "creator",
        _auth("IdentityService.UnlinkIdentity", "IdentityService.ListIdentities"),
    ),
    Check(
        Session.open_for,
        "(cls.user == user_id)\n",
        "(cls.user.is_null(False))\n",
        "creator",
        _auth("SessionService.ListSessions"),
    ),
    Check(
        api_keys.list_api_keys,
        "not acting(unit).sees(whose)",
        "False",
        "creator",
        _auth("ApiKeyService.ListApiKeys"),
    ),
    Check(users.reach, "not actor.sees(user_id)", "False", "creator", USERS[1:]),
    Check(users.get_user, " if actor.sees(user_id) else None", "", "creator", USERS[:1]),
    Check(
        marks._standings,
        " & (Member.user_id == user_id)",
        "",
        "creator",
        ("greenroom.chat.v1.ChannelService.MarkRead",),
    ),
    Check(
        messages.delete_message,
        PERMITTED,
        NO_ADMIN,
        "clerk",
        ("greenroom.chat.v1.MessageService.DeleteMessage",),
    ),
    Check(
        messages.delete_message,
        PERMITTED,
        ADMIN_ONLY,
        "powerless admin",
        ("greenroom.chat.v1.MessageService.DeleteMessage",),
    ),
    Check(
        channels.delete_channel,
        PERMITTED,
        NO_ADMIN,
        "clerk",
        ("greenroom.chat.v1.ChannelService.DeleteChannel",),
    ),
    Check(
        _Batch.take,
        "not is_member",
        "False",
        "creator",
        ("greenroom.chat.v1.MessageService.SendMessage",),
    ),
    # Its other half is out of reach: who is no admin does not see the account.
    Check(Actor.side, PERMITTED, ADMIN_ONLY, "reading admin"),
    Check(
        check_fields, "STAFF_FIELDS if side is Side.STAFF else OWN_FIELDS", "STAFF_FIELDS", "admin"
    ),
    *(
        Check(where, "    check_unprotected(user)\n", "    pass\n", "service")
        for where in (
            web_users._change_address,
            web_users.delete_web_user,
            web_accounts.link_web_account,
            web_accounts.unlink_web_account,
            web_authenticators.create_web_authenticator,
        )
    ),
    Check(check_rank, "and not actor.is_super_admin", "and False", "admin"),
    Check(check_target, "actor.user_id == user_id", "False", "admin"),
    Check(check_target, "    check_rank(actor, roles)\n", "    pass\n", "admin"),
    Check(check_roles, "    check_rank(actor, given | taken)\n", "    pass\n", "powerful admin"),
    Check(check_roles, 'catalogue[name].kind == "SYSTEM"', "False", "admin"),
    Check(users.update_user, "side is Side.STAFF", "False", "admin"),
    Check(user_status.delete, "reached.side is Side.STAFF", "False", "admin"),
    Check(user_status.undelete, "side is Side.STAFF:\n", "False:\n", "admin"),
]


async def _noticed(server: Greenroom, check: Check) -> bool:
    who = await somebody(server, check.role)
    if not check.methods:
        with without(check.where, check.there, check.instead):
            return bool(await overreached(server, who))
    methods = [METHODS[name] for name in check.methods]
    targets = [one for one in methods if paths_of(one)]
    lists = [one for one in methods if one not in targets]
    with without(check.where, check.there, check.instead):
        opened = [name[0] for name in await laid_open(server, who, targets)]
        shown = await shown_to(server, who, lists)
    return {*opened, *shown} == set(check.methods)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
async def test_every_check_that_is_taken_out_is_noticed(tmp_path: Path, check: Check) -> None:
    async with fresh(tmp_path) as server:
        assert await _noticed(server, check), f"nobody misses {check.id}"

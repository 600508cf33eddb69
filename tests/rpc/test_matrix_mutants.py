"""The matrix is worth something: each check that is taken away makes it fail (A-3).

One mutant of each kind runs always; all of them by ``make soak-auth`` (MATRIX_MUTANTS=all).
"""

import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import peewee
import pytest

import server.wire.server as wire_server
from server.auth import models
from server.auth.models import ApiKey, AuditEvent, Identity, MfaFactor, Passkey, Session
from server.auth.rules import Actor
from server.chat import models as chat_models
from server.wire.policies import AccessRule, MethodRule, rule_of
from tests.rpc.test_matrix import surprises
from tests.rpc.test_matrix_objects import laid_open, shown_to, somebody
from tests.support.databases import drop_database, fresh_database
from tests.support.principals import Principal, powerless, principals
from tests.support.serve import Greenroom, serving
from tests.support.services import all_methods

ALL = os.environ.get("MATRIX_MUTANTS") == "all"

METHODS = {method.full_name: method for method in all_methods()}

Mutate = Callable[[AccessRule], AccessRule | None]


def _open(access: AccessRule) -> AccessRule | None:
    return None if access.public else replace(access, public=True, permission="", step_up=False)


def _any_user(access: AccessRule) -> AccessRule | None:
    return (
        None
        if access.public or access.signed_in
        else replace(access, signed_in=True, permission="")
    )


def _any_service(access: AccessRule) -> AccessRule | None:
    return None if access.public or access.service else replace(access, service=True)


def _no_permission(access: AccessRule) -> AccessRule | None:
    return replace(access, permission="") if access.permission else None


def _no_fresh_factor(access: AccessRule) -> AccessRule | None:
    return replace(access, step_up=False) if access.step_up else None


def _deleted_too(access: AccessRule) -> AccessRule | None:
    open_to_users = access.signed_in and not (access.public or access.deleted_too or access.step_up)
    return replace(access, deleted_too=True) if open_to_users else None


PERMISSION = "no permission"

MUTATIONS: dict[str, Mutate] = {
    "public": _open,
    "any user": _any_user,
    "any service": _any_service,
    PERMISSION: _no_permission,
    "no fresh factor": _no_fresh_factor,
    "deleted accounts": _deleted_too,
}


def _policy_mutants() -> Iterator[tuple[str, str]]:
    for kind, mutate in MUTATIONS.items():
        for name, method in METHODS.items():
            if mutate(rule_of(method).access) is not None:
                yield kind, name


@asynccontextmanager
async def fresh(tmp_path: Path) -> AsyncIterator[Greenroom]:
    url = fresh_database("sqlite")
    async with serving(url, tmp_path) as server:
        yield server
    drop_database(url)


@pytest.mark.timeout(3600)
async def test_every_policy_that_is_weakened_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules: dict[str, MethodRule] = {}

    def remembered(descriptor: Any, **options: Any) -> MethodRule:
        # A copy: those of the process are kept, and serve other tests.
        rule = rules[descriptor.full_name] = replace(rule_of(descriptor, **options))
        return rule

    monkeypatch.setattr(wire_server, "rule_of", remembered)
    survivors, tried = [], 0
    for make, kinds in (
        (principals, set(MUTATIONS) - {PERMISSION}),
        (_less_permitted, {PERMISSION}),
    ):
        async with fresh(tmp_path) as server:
            mutants = [one for one in _policy_mutants() if one[0] in kinds and one[1] in rules]
            chosen = (
                mutants if ALL else list({kind: (kind, name) for kind, name in mutants}.values())
            )
            survivors += await _survivors(server, rules, chosen, await make(server))
            tried += len(chosen)
    assert survivors == []
    print(f"{tried} weakened policies, all noticed")


async def _less_permitted(server: Greenroom) -> list[Principal]:
    """Those that a permission keeps out, and nothing else does."""
    narrow = [who for who in await principals(server) if who.name == "narrow service"]
    return narrow + [await powerless(server, role) for role in ("admin", "super_admin")]


async def _survivors(
    server: Greenroom,
    rules: dict[str, MethodRule],
    mutants: list[tuple[str, str]],
    callers: list[Principal],
) -> list[tuple[str, str]]:
    """The mutants that the matrix does not notice."""
    found = []
    for kind, name in mutants:
        rule, whole = rules[name], rules[name].access
        # The server reads its rules at each call, so a check is gone as soon as it is taken out.
        object.__setattr__(rule, "access", MUTATIONS[kind](whole))
        if not await surprises(server, [METHODS[name]], callers):
            found.append((kind, name))
        object.__setattr__(rule, "access", whole)
        assert not await surprises(server, [METHODS[name]], callers)
    return found


def _everything(cls: Any) -> Any:
    return cls.select()


SCOPES: dict[tuple[Any, str], tuple[Any, list[str]]] = {
    (Session, "within_reach_of"): (
        classmethod(lambda cls, _caller: _everything(cls)),
        ["auth.v1.SessionService.RevokeSession"],
    ),
    (ApiKey, "within_reach_of"): (
        classmethod(lambda cls, _caller: _everything(cls)),
        ["auth.v1.ApiKeyService.RevokeApiKey"],
    ),
    (AuditEvent, "within_reach_of"): (
        classmethod(lambda cls, _caller: _everything(cls)),
        ["auth.v1.AuditService.ListAuditEvents"],
    ),
    (MfaFactor, "for_owner"): (
        classmethod(lambda cls, _caller, _now: _everything(cls)),
        ["auth.v1.MfaService.DeleteMfaFactor", "auth.v1.MfaService.ListMfaFactors"],
    ),
    (Passkey, "for_owner"): (
        classmethod(lambda cls, _caller: _everything(cls)),
        ["auth.v1.PasskeyService.DeletePasskey", "auth.v1.PasskeyService.ListPasskeys"],
    ),
    (Identity, "for_user"): (
        classmethod(lambda cls, _user_id: _everything(cls)),
        ["auth.v1.IdentityService.UnlinkIdentity", "auth.v1.IdentityService.ListIdentities"],
    ),
    (Session, "open_for"): (
        classmethod(lambda cls, _user_id, _now: _everything(cls)),
        ["auth.v1.SessionService.ListSessions"],
    ),
    (Actor, "sees"): (
        lambda _self, _user_id: True,
        ["auth.v1.UserService.GetUser", "auth.v1.UserService.UpdateUser"],
    ),
}
"""What limits a caller to their own rows, what it is replaced by, and the methods that show it."""


def test_every_scope_has_its_mutant() -> None:
    """Whoever writes a query that is scoped to a caller adds it here."""
    scoped = {
        (model.__name__, name)
        for module in (models, chat_models)
        for _, model in inspect.getmembers(module, inspect.isclass)
        if issubclass(model, peewee.Model)
        for name, function in inspect.getmembers(model, inspect.ismethod)
        if "caller" in inspect.signature(function).parameters
    }
    assert scoped - {(owner.__name__, name) for owner, name in SCOPES} == set()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scope", list(SCOPES), ids=lambda scope: f"{scope[0].__name__}.{scope[1]}")
async def test_every_scope_that_is_dropped_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: tuple[Any, str]
) -> None:
    owner, name = scope
    replacement, names = SCOPES[scope]
    methods = [METHODS[f"greenroom.{one}"] for one in names]
    async with fresh(tmp_path) as server:
        who = await somebody(server, "creator")
        targets = [one for one in methods if not one.name.startswith("List")]
        lists = [one for one in methods if one.name.startswith("List")]
        monkeypatch.setattr(owner, name, replacement)
        for method in targets:
            assert await laid_open(server, who, [method]), f"{method.full_name} hides nothing less"
        for method in lists:
            assert await shown_to(server, who, [method]), f"{method.full_name} shows nothing more"

"""Who may do what to an account, and what becomes of it."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from server.auth.errors import (
    FieldForbidden,
    OwnAccount,
    RoleBeyondCaller,
    RoleNotAssignable,
    RoleUnknown,
    SuperAdminOnly,
)
from server.auth.rules import (
    STAFF_FIELDS,
    Actor,
    KnownRole,
    Side,
    UserStatus,
    Verb,
    check_fields,
    check_roles,
    check_target,
    may_come_back,
    primary_role_after,
    search_text_of,
    shown_status,
    status_after,
    status_kept,
)
from server.auth.rules.users import OWN_FIELDS, TRANSITIONS

NOW = datetime(2026, 1, 2, tzinfo=UTC)
P, A, S, B, D = UserStatus
STAFF, OWNER = Side.STAFF, Side.OWNER

CATALOGUE = {
    name: KnownRole(name, name, kind, frozenset(permissions))
    for name, kind, permissions in (
        ("creator", "PERSONA", ()),
        ("viewer", "STAFF", ("auth.users.read",)),
        ("treasurer", "STAFF", ("billing.refund",)),
        ("admin", "STAFF", ("auth.users.read", "auth.users.write", "auth.roles.write")),
        ("super_admin", "STAFF", ("auth.users.read", "auth.users.write", "auth.roles.write")),
        ("service", "SYSTEM", ()),
    )
}


def actor(*roles: str, user_id: str = "me") -> Actor:
    permissions = {each for role in roles for each in CATALOGUE[role].permissions}
    return Actor(user_id, frozenset(roles), frozenset(permissions))


@pytest.mark.parametrize(
    ("status", "verb", "side", "after"),
    [
        (P, Verb.SUSPEND, STAFF, None),
        (A, Verb.SUSPEND, STAFF, S),
        (S, Verb.SUSPEND, STAFF, S),
        (B, Verb.SUSPEND, STAFF, None),
        (D, Verb.SUSPEND, STAFF, None),
        (P, Verb.REINSTATE, STAFF, None),
        (A, Verb.REINSTATE, STAFF, A),
        (S, Verb.REINSTATE, STAFF, A),
        (B, Verb.REINSTATE, STAFF, A),
        (D, Verb.REINSTATE, STAFF, None),
        *((status, Verb.BAN, STAFF, B) for status in UserStatus),
        *((status, Verb.DELETE, STAFF, D) for status in UserStatus),
        (P, Verb.UNDELETE, STAFF, P),
        (A, Verb.UNDELETE, STAFF, A),
        (S, Verb.UNDELETE, STAFF, S),
        (B, Verb.UNDELETE, STAFF, B),
        (D, Verb.UNDELETE, STAFF, A),
        (A, Verb.DELETE, OWNER, D),
        (D, Verb.DELETE, OWNER, D),
        (S, Verb.DELETE, OWNER, None),
        (A, Verb.UNDELETE, OWNER, A),
        (D, Verb.UNDELETE, OWNER, A),
        (B, Verb.UNDELETE, OWNER, None),
    ],
)
def test_the_state_machine(
    status: UserStatus, verb: Verb, side: Side, after: UserStatus | None
) -> None:
    assert status_after(status, verb, side, None) == after


def test_owners_neither_lock_nor_unlock() -> None:
    for status, verb in product(UserStatus, (Verb.SUSPEND, Verb.BAN, Verb.REINSTATE)):
        assert status_after(status, verb, OWNER, None) is None
    assert {side for _, _, side in TRANSITIONS} == {OWNER, STAFF}


def test_an_account_comes_back_as_it_was() -> None:
    for status in (P, A, S, B):
        before = status_kept(status, None)
        assert status_after(D, Verb.UNDELETE, STAFF, before) == status
    assert status_after(B, Verb.REINSTATE, STAFF, status_kept(P, None)) == P
    assert status_after(B, Verb.REINSTATE, STAFF, status_kept(S, None)) == A
    banned_when_deleted = status_kept(D, status_kept(A, None))
    assert status_after(B, Verb.REINSTATE, STAFF, banned_when_deleted) == A
    assert status_kept(D, B) == A


def test_a_suspension_ends_by_itself() -> None:
    assert shown_status(S, NOW, NOW) == A
    assert shown_status(S, NOW + timedelta(seconds=1), NOW) == S
    assert shown_status(S, None, NOW) == S and shown_status(B, NOW, NOW) == B


def test_who_comes_back() -> None:
    later = NOW + timedelta(days=1)

    def back(status: str = D, by: str | None = "me", purge: datetime | None = later) -> bool:
        return may_come_back(status, user_id="me", deleted_by=by, purge_at=purge, now=NOW)

    assert back()
    assert not any((back(status=A), back(by="staff"), back(by=None), back(purge=NOW)))
    assert not back(purge=None)


def test_who_sees_and_changes_whom() -> None:
    person, viewer, admin = actor("creator"), actor("viewer"), actor("admin")
    assert person.sees("me") and person.side("me") is OWNER
    for somebody in (person, viewer):
        assert not somebody.sees("you") and somebody.side("you") is None
    assert admin.sees("you") and admin.side("you") is STAFF and admin.side("me") is OWNER
    powerless = Actor("me", frozenset({"admin"}), frozenset())
    assert not powerless.sees("you") and powerless.side("you") is None
    assert Actor("me", frozenset({"admin"}), frozenset({"*"})).sees("you")


def test_nobody_acts_on_themselves_or_upwards() -> None:
    for somebody in (actor("admin"), actor("super_admin")):
        with pytest.raises(OwnAccount):
            check_target(somebody, "me", ())
    with pytest.raises(SuperAdminOnly):
        check_target(actor("admin"), "you", {"super_admin", "creator"})
    check_target(actor("super_admin"), "you", {"super_admin"})
    check_target(actor("admin"), "you", {"admin"})


def test_owners_change_their_own_fields_only() -> None:
    check_fields(OWN_FIELDS, OWNER)
    check_fields(STAFF_FIELDS, STAFF)
    for field in STAFF_FIELDS - OWN_FIELDS:
        with pytest.raises(FieldForbidden):
            check_fields({field}, OWNER)
    assert not {"email", "phone", "status", "roles"} & STAFF_FIELDS


def test_only_what_changes_in_the_roles_is_looked_at() -> None:
    def change(
        somebody: Actor, held: set[str], wanted: set[str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        return check_roles(somebody, held=held, wanted=wanted, catalogue=CATALOGUE)

    admin, top, clerk = actor("admin"), actor("super_admin"), actor("viewer")
    assert change(admin, {"creator"}, {"viewer"}) == ({"viewer"}, {"creator"})
    assert change(admin, {"treasurer"}, {"treasurer", "creator"}) == ({"creator"}, set())
    assert change(top, {"super_admin"}, {"admin"}) == ({"admin"}, {"super_admin"})
    assert change(admin, {"service"}, {"service"}) == (set(), set())
    for held, wanted in (({"treasurer"}, set()), (set(), {"treasurer"})):
        with pytest.raises(RoleBeyondCaller):
            change(admin, held, wanted)
    for held, wanted in (({"super_admin"}, set()), (set(), {"super_admin"})):
        with pytest.raises(SuperAdminOnly):
            change(admin, held, wanted)
    with pytest.raises(RoleUnknown):
        change(top, set(), {"wizard"})
    with pytest.raises(RoleNotAssignable):
        change(top, set(), {"service"})
    with pytest.raises(RoleBeyondCaller):
        change(clerk, set(), {"viewer"})
    assert change(clerk, set(), {"creator"}) == ({"creator"}, set())


def test_the_primary_role_is_one_that_is_held() -> None:
    assert primary_role_after("creator", {"creator", "brand"}) == "creator"
    assert primary_role_after("creator", {"brand"}) is None
    assert primary_role_after(None, {"brand"}) is None


def test_a_search_knows_neither_case_nor_width() -> None:
    kept = search_text_of("Straße \N{FULLWIDTH LATIN CAPITAL LETTER A}", None, "", "x@example.com")
    assert kept == "strasse a\nx@example.com"
    assert search_text_of("STRASSE") in kept and search_text_of("ÅNGSTRÖM") == "ångström"

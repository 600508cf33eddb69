"""ListRoles, SetUserRoles: who gives what to whom, and how soon it counts."""

import asyncio

import jwt
from grpc import StatusCode

from greenroom.auth.v1 import role_pb2, role_service_pb2
from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import event_service_pb2 as events
from server.auth.models import Role, User, UserRole
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.scenes import audit_rows, bearer, get_me, in_unit, refresh, set_user, turn
from tests.rpc.auth.staff import (
    DENIED,
    ETAG,
    INVALID,
    NOT_FOUND,
    OWN,
    SUPER_ONLY,
    get_user,
    give,
    list_users,
    member_of_staff,
    set_roles,
)
from tests.rpc.chat.scenes import Watch
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused

UNKNOWN = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_ROLE_UNKNOWN")
SYSTEM = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_ROLE_NOT_ASSIGNABLE")
BEYOND = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_ROLE_BEYOND_CALLER")
ABSENT = "01a1fd55-5306-7254-b82c-94e8d6883617"


async def _roles(
    server: Greenroom, by: Person, size: int = 0, token: str = ""
) -> role_service_pb2.ListRolesResponse:
    request = role_service_pb2.ListRolesRequest(page_size=size, page_token=token)
    return await server.roles.ListRoles(request, metadata=by.metadata)


async def test_the_catalogue_has_every_role_with_its_permissions(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    roles = (await _roles(server, admin)).roles
    names = [role.name for role in roles]
    assert names == sorted(names) and {"creator", "editor", "brand", "student"} < set(names)
    by_name = {role.name: role for role in roles}
    assert by_name["creator"].kind == role_pb2.ROLE_KIND_PERSONA
    assert by_name["service"].kind == role_pb2.ROLE_KIND_SYSTEM
    assert by_name["super_admin"].kind == role_pb2.ROLE_KIND_STAFF
    assert set(by_name["viewer"].permissions) == {"auth.users.read", "content.read"}
    assert set(by_name["admin"].permissions) >= {"auth.roles.read", "auth.registrations.read"}
    first = await _roles(server, admin, 4)
    rest = await _roles(server, admin, 200, first.next_page_token)
    assert [role.name for role in (*first.roles, *rest.roles)] == names
    await refused(_roles(server, await member_of_staff(server, "viewer")), *DENIED)


def _roles_told(token: str) -> list[str]:
    """What an access token says to those who read it, such as a gateway."""
    payload = jwt.decode(token, options={"verify_signature": False})
    told: list[str] = payload["roles"]
    return told


async def test_a_token_tells_the_roles_and_decides_nothing(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    ada = await server.person("Ada")
    assert _roles_told(ada.tokens.tokens.access_token) == ["creator"]
    await set_roles(server, admin, ada.id, "editor", "brand")
    # The old token still says the old roles, and its caller has the new ones.
    assert list((await get_me(server, ada.metadata)).roles) == ["brand", "editor"]
    renewed = (await refresh(server, ada.tokens.tokens.refresh_token)).tokens
    assert _roles_told(renewed.access_token) == ["brand", "editor"]
    await set_roles(server, admin, ada.id)
    none = (await refresh(server, renewed.refresh_token)).tokens
    assert _roles_told(none.access_token) == []
    assert (await get_me(server, bearer(renewed.access_token))).permissions == []


async def test_the_set_is_replaced_and_counts_at_the_next_call(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await refused(list_users(server, ada), *DENIED)
    changed = await set_roles(server, admin, ada.id, "admin", "brand")
    assert list(changed.roles) == ["admin", "brand"] and changed.primary_role == ""
    await list_users(server, ada)
    await get_me(server, ada.metadata)
    await set_roles(server, admin, ada.id, "viewer", "brand")
    await refused(list_users(server, ada), *DENIED)
    assert list((await get_me(server, ada.metadata)).roles) == ["brand", "viewer"]
    assert list((await set_roles(server, admin, ada.id)).roles) == []

    def granted(_unit: Unit) -> set[str]:
        return {link.granted_by_id for link in UserRole.select()}

    await set_roles(server, admin, ada.id, "agent")
    assert admin.id in await in_unit(server, granted)
    rows = await audit_rows(server)
    assert rows.count(("user.set_roles", "OK")) == 4


async def test_other_processes_hear_of_it_within_a_second(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    await list_users(server, admin)

    def take(_unit: Unit) -> None:
        UserRole.delete().where(UserRole.user == admin.id).execute()

    # The clock stands still, so a look may have seen a change of this very moment: that of the log-in.
    turn(server, 1)
    await in_unit(server, take, write=True)
    await set_user(server, admin)  # The time of the change is what others look for.
    async with asyncio.timeout(3.0):
        while await code_of(list_users(server, admin)) is StatusCode.OK:
            await asyncio.sleep(0.02)
    await refused(list_users(server, admin), *DENIED)


async def test_a_change_ends_the_open_streams(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    watch = Watch(server.events.WatchEvents(events.WatchEventsRequest(), metadata=ada.metadata))
    await watch.caught_up()
    await set_roles(server, admin, ada.id, "creator", "brand")
    async with asyncio.timeout(5):
        await watch.until(lambda watch: watch.ended)
    assert watch.end is not None
    assert watch.end.reason == event_pb2.END_REASON_SESSION_ENDED
    assert list((await get_me(server, ada.metadata)).roles) == ["brand", "creator"]


async def test_only_a_super_admin_gives_and_takes_super_admin(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    top = await member_of_staff(server, "super_admin")
    await refused(set_roles(server, admin, ada.id, "super_admin"), *SUPER_ONLY)
    await refused(set_roles(server, admin, top.id, "creator"), *SUPER_ONLY)
    await refused(set_roles(server, admin, top.id, "creator", "super_admin", "brand"), *SUPER_ONLY)
    await refused(set_roles(server, admin, admin.id, "super_admin"), *OWN)
    await refused(set_roles(server, top, top.id, "creator"), *OWN)
    assert "super_admin" in (await set_roles(server, top, ada.id, "super_admin")).roles
    assert "super_admin" not in (await set_roles(server, ada, top.id, "creator")).roles
    await refused(list_users(server, top), *DENIED)


async def test_only_roles_that_there_are_for_people_and_within_reach(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await refused(set_roles(server, admin, ada.id, "creator", "wizard"), *UNKNOWN)
    await refused(set_roles(server, admin, ada.id, "service"), *SYSTEM)
    await refused(set_roles(server, admin, ada.id, "creator", "creator"), *INVALID)
    await refused(set_roles(server, admin, ABSENT, "creator"), *NOT_FOUND)

    def make(_unit: Unit) -> None:
        Role.create(id=new_id(), name="treasurer", kind="STAFF", permissions=["billing.refund"])

    await in_unit(server, make, write=True)
    await refused(set_roles(server, admin, ada.id, "creator", "treasurer"), *BEYOND)
    await give(server, ada, "treasurer")
    kept = await set_roles(server, admin, ada.id, "treasurer", "brand")
    assert list(kept.roles) == ["brand", "treasurer"], "what is held may stay"
    await refused(set_roles(server, admin, ada.id, "brand"), *BEYOND)
    assert list((await get_user(server, admin, ada.id)).roles) == ["brand", "treasurer"]


async def test_no_change_undoes_another(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    etag = (await get_user(server, admin, ada.id)).etag
    sets = [("creator", name) for name in ("brand", "editor", "agent", "staff_editor", "viewer")]
    codes = await asyncio.gather(
        *(code_of(set_roles(server, admin, ada.id, *roles, etag=etag)) for roles in sets)
    )
    assert sorted(code.name for code in codes) == ["ABORTED"] * 4 + ["OK"]
    await refused(set_roles(server, admin, ada.id, "brand", etag=etag), *ETAG)
    fresh = (await get_user(server, admin, ada.id)).etag
    assert list((await set_roles(server, admin, ada.id, "brand", etag=fresh)).roles) == ["brand"]


async def test_of_two_who_demote_each_other_one_stays(server: Greenroom) -> None:
    for number in range(5):
        tops = [await member_of_staff(server, "super_admin", f"t{number}") for _ in range(2)]
        one, two = tops

        def only_these(_unit: Unit, ids: tuple[str, ...] = (one.id, two.id)) -> None:
            others = User.select(User.id).where(User.id.not_in(ids))
            UserRole.delete().where(UserRole.user.in_(others)).execute()

        await in_unit(server, only_these, write=True)
        for top in tops:
            await list_users(server, top)
        codes = await asyncio.gather(
            code_of(set_roles(server, one, two.id, "creator")),
            code_of(set_roles(server, two, one.id, "creator")),
        )
        assert sorted(code is StatusCode.OK for code in codes) == [False, True], codes
        holders = await in_unit(
            server, lambda _unit: [user.id for user in User.holding("super_admin")]
        )
        assert len(holders) == 1


async def test_in_a_ring_of_demotions_somebody_stays(server: Greenroom) -> None:
    tops = [await member_of_staff(server, "super_admin", f"ring{number}") for number in range(6)]
    storm = [
        code_of(set_roles(server, top, tops[number - 1].id, "viewer"))
        for number, top in enumerate(tops)
    ]
    codes = await asyncio.gather(*storm)
    taken = sum(code is StatusCode.OK for code in codes)
    holders = await in_unit(server, lambda _unit: User.holding("super_admin").count())
    assert holders == 6 - taken >= 1

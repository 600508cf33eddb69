"""CreateUser and invitations: accounts that nobody signed up for."""

import asyncio
import uuid
from typing import Any

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import user_pb2
from greenroom.auth.v1 import user_service_pb2 as pb
from server.auth.errors import VerificationTokenInvalid
from server.auth.models import VerificationToken
from server.auth.passwords import Passwords
from server.auth.usecases import new_accounts
from tests.rpc.auth.scenes import audit_rows, get_me, in_unit, module_of, sign_up_request, turn
from tests.rpc.auth.staff import (
    DAY,
    DENIED,
    INVALID,
    SUPER_ONLY,
    ban,
    give,
    list_users,
    member_of_staff,
)
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import code_of, refused

EXISTS = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_ACCOUNT_EXISTS")
TAKEN = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_USERNAME_TAKEN")
UNKNOWN = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_ROLE_UNKNOWN")
STALE = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
BEYOND = (StatusCode.PERMISSION_DENIED, "AUTH_ERROR_REASON_ROLE_BEYOND_CALLER")
BAD = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
PENDING = user_pb2.USER_STATUS_PENDING


async def _create(server: Greenroom, by: Person, **values: Any) -> user_pb2.User:
    request = pb.CreateUserRequest(**values)
    return (await server.users.CreateUser(request, metadata=by.metadata)).user


async def _accept(server: Greenroom, token: str, password: str = PASSWORD) -> str:
    """What the method that takes the token does: rate, hash, consume."""
    passwords: Passwords = module_of(server).passwords
    user = await in_unit(server, lambda unit: new_accounts.invited_user(unit, token))
    hashed = await passwords.accept(password, (user.email or "",))
    accepted = await in_unit(
        server, lambda unit: new_accounts.accept_invite(unit, token, hashed), write=True
    )
    return str(accepted.id)


async def test_an_account_is_made_with_roles_and_waits(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    made = await _create(
        server,
        admin,
        email="New.Person@Example.com",
        phone="+491701234567",
        first_name="New",
        last_name="Person",
        username="New.Person",
        language="de",
        roles=["agent", "teacher"],
    )
    assert made.email == "new.person@example.com" and made.display_name == "new.person"
    assert made.status == PENDING and made.signup_provider == "staff"
    assert (made.username, made.phone, made.language) == ("new.person", "+491701234567", "de")
    assert list(made.roles) == ["agent", "teacher"] and made.primary_role == "teacher"
    assert not made.HasField("email_verified_time") and not made.HasField("phone_verified_time")
    assert (await audit_rows(server)).count(("user.create", "OK")) == 1
    await refused(server.log_in("new.person@example.com"), *BAD)
    found = await list_users(server, admin, status=PENDING, role="agent")
    assert [user.id for user in found.users] == [made.id]
    by_phone = await _create(server, admin, phone="+491701234568", display_name="Phone")
    assert by_phone.email == "" and by_phone.display_name == "Phone"


async def test_what_must_not_be_made(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    top = await member_of_staff(server, "super_admin")
    await _create(server, admin, email="a@example.com", phone="+491701234567", username="first")
    for values in ({"email": ada.email.upper()}, {"email": "b@x.com", "phone": "+491701234567"}):
        await refused(_create(server, admin, **values), *EXISTS)
    await refused(_create(server, admin, email="b@example.com", username="FIRST"), *TAKEN)
    await refused(_create(server, admin, email="b@example.com", roles=["wizard"]), *UNKNOWN)
    supers = {"email": "b@example.com", "roles": ["super_admin"]}
    await refused(_create(server, admin, **supers), *SUPER_ONLY)
    assert list((await _create(server, top, **supers)).roles) == ["super_admin"]
    for values in (
        {},
        {"phone": "+491701234569", "send_invite": True},
        {"email": "nobody"},
        {"phone": "0170"},
        {"email": "c@example.com", "request_id": "1"},
    ):
        await refused(_create(server, admin, **values), *INVALID)
    await refused(_create(server, ada, email="c@example.com"), *DENIED)


async def test_who_writes_users_but_no_roles_gives_personas_only(server: Greenroom) -> None:
    def lower(_unit: object) -> None:
        from server.auth.models import Role

        row = Role.get(Role.name == "admin")
        row.permissions = [each for each in row.permissions if each != "auth.roles.write"]
        row.save()

    await in_unit(server, lower, write=True)
    admin = await member_of_staff(server)
    await refused(_create(server, admin, email="a@example.com", roles=["viewer"]), *BEYOND)
    assert list((await _create(server, admin, email="a@example.com", roles=["brand"])).roles)


async def test_a_session_without_a_fresh_factor_makes_no_staff(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    await server.stale(admin)
    await refused(_create(server, admin, email="a@example.com", roles=["viewer"]), *STALE)
    assert list((await _create(server, admin, email="a@example.com", roles=["brand"])).roles)


async def test_a_repeat_with_the_same_id_makes_one_account(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    wish = {"email": "a@example.com", "send_invite": True, "request_id": str(uuid.uuid4())}
    made = await asyncio.gather(*(_create(server, admin, **wish) for _ in range(8)))
    assert len({user.id for user in made}) == 1
    await server.mailed_token("a@example.com")
    assert len(server.mails("a@example.com")) == 1
    storm = [code_of(_create(server, admin, email="b@example.com")) for _ in range(8)]
    codes = await asyncio.gather(*storm)
    assert sorted(code.name for code in codes) == ["ALREADY_EXISTS"] * 7 + ["OK"]


async def test_an_invited_person_chooses_a_password_once(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    made = await _create(server, admin, email="a@example.com", roles=["editor"], send_invite=True)
    token = await server.mailed_token("a@example.com")

    def stored(_unit: object) -> list[str]:
        return [row.token_hash for row in VerificationToken.select()]

    assert token not in await in_unit(server, stored)
    results = await asyncio.gather(
        *(_accept(server, token) for _ in range(16)), return_exceptions=True
    )
    assert results.count(made.id) == 1
    assert sum(isinstance(result, VerificationTokenInvalid) for result in results) == 15
    person = await server.log_in("a@example.com")
    me = await get_me(server, person.metadata)
    assert me.status == user_pb2.USER_STATUS_ACTIVE and me.HasField("email_verified_time")
    assert list(me.roles) == ["editor"]
    assert (await audit_rows(server)).count(("user.accept_invite", "OK")) == 1


async def test_an_invitation_is_also_accepted_by_proving_the_address(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    await _create(server, admin, email="a@example.com", send_invite=True)
    token = await server.mailed_token("a@example.com")
    request = auth_pb.VerifyEmailRequest(token=token)
    storm = [code_of(server.auth.VerifyEmail(request)) for _ in range(8)]
    codes = await asyncio.gather(*storm)
    assert sorted(code.name for code in codes) == ["INVALID_ARGUMENT"] * 7 + ["OK"]
    (user,) = (await list_users(server, admin, text="a@example.com")).users
    assert user.status == user_pb2.USER_STATUS_ACTIVE and user.HasField("email_verified_time")
    await refused(server.log_in("a@example.com"), *BAD)


async def test_an_invitation_ends(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    for address in ("late@example.com", "banned@example.com"):
        await _create(server, admin, email=address, send_invite=True)
    late = await server.mailed_token("late@example.com")
    banned = await server.mailed_token("banned@example.com")
    found = await list_users(server, admin, text="banned@")
    await ban(server, admin, found.users[0].id)
    for token in (banned, "grv_unknown"):
        result = await asyncio.gather(_accept(server, token), return_exceptions=True)
        assert isinstance(result[0], VerificationTokenInvalid)
    turn(server, 7 * DAY)
    result = await asyncio.gather(_accept(server, late), return_exceptions=True)
    assert isinstance(result[0], VerificationTokenInvalid)
    again = auth_pb.ResendVerificationRequest(email="late@example.com")
    await server.auth.ResendVerification(again)
    await _accept(server, await server.mailed_token("late@example.com", 2))
    await server.log_in("late@example.com")


async def test_who_signs_up_instead_of_accepting_gets_the_account_without_roles_of_staff(
    server: Greenroom,
) -> None:
    admin = await member_of_staff(server)
    roles = ["agent", "editor", "admin"]
    made = await _create(server, admin, email="a@example.com", roles=roles, send_invite=True)
    invite = await server.mailed_token("a@example.com")
    await server.auth.SignUp(sign_up_request("a@example.com"))
    token = await server.mailed_token("a@example.com", 2)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    person = await server.log_in("a@example.com")
    assert person.id == made.id
    held = list((await get_me(server, person.metadata)).roles)
    assert held == ["creator", "editor"], "no role of staff comes with a sign-up"
    result = await asyncio.gather(_accept(server, invite), return_exceptions=True)
    assert isinstance(result[0], VerificationTokenInvalid)
    await give(server, person, "brand")

"""User names of students and teachers: asked for at the sign-up, theirs once it is proven."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import registration_service_pb2, user_pb2, user_service_pb2
from server.auth.models import Registration, User
from server.core.unit import Unit
from tests.rpc.auth.oauth_scenes import person_of, settings_for, sign_in_with
from tests.rpc.auth.otp_scenes import new_phone, texted_code, verify
from tests.rpc.auth.scenes import get_me, in_unit, module_of, set_user, sign_up_request
from tests.rpc.auth.staff import INVALID, give, member_of_staff, set_roles, update
from tests.support.fake_discord import FakeDiscord
from tests.support.serve import PASSWORD, Greenroom
from tests.support.statuses import code_of, field_names, refused

NAMELESS = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_USERNAME_REQUIRED")
NAMED = [user_pb2.PERSONA_STUDENT, user_pb2.PERSONA_TEACHER]
USERNAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,48}[a-z0-9]")


def _request(address: str, username: str, persona: Any = NAMED[0]) -> pb.SignUpRequest:
    request = sign_up_request(address, persona=persona)
    request.username = username
    return request


async def _proven(server: Greenroom, address: str) -> None:
    token = await server.mailed_token(address)
    await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))


async def _name_of(server: Greenroom, address: str, password: str = PASSWORD) -> str:
    return (await get_me(server, (await server.log_in(address, password)).metadata)).username


@pytest.mark.parametrize("persona", NAMED)
async def test_students_and_teachers_ask_for_one(server: Greenroom, persona: Any) -> None:
    for wrong in ("", "ab", "-ab", "a b", "a@b.c", "x" * 51):
        call = server.auth.SignUp(_request("ada@example.com", wrong, persona))
        assert field_names(await refused(call, *INVALID)) == ["username"]
    assert module_of(server).passwords.hashes == 0
    await server.auth.SignUp(_request("ada@example.com", "Ada.King", persona))
    await _proven(server, "ada@example.com")
    assert await _name_of(server, "ada@example.com") == "ada.king"
    by_name = await server.auth.LogIn(pb.LogInRequest(username="ADA.king", password=PASSWORD))
    assert by_name.signed_in.user.username == "ada.king"
    # In the one field that a form of an older system has for both.
    by_name = await server.auth.LogIn(pb.LogInRequest(email="ADA.king", password=PASSWORD))
    assert by_name.signed_in.user.username == "ada.king"


async def test_a_sign_up_does_not_tell_which_names_are_taken(server: Greenroom) -> None:
    """Same bytes and same work; who is proven later has a variant of the name, to be changed."""
    ada = await server.person("Ada")
    await update(server, ada, ada.id, username="countess")
    passwords = module_of(server).passwords
    answers = set()
    for number, name in enumerate(("countess", "COUNTESS", "free-one")):
        address = f"{number}@example.com"
        before = passwords.hashes
        reply = await server.auth.SignUp(_request(address, name))
        answers.add(reply.SerializeToString().replace(address.encode(), b"?"))
        assert passwords.hashes == before + 1
        await _proven(server, address)
    assert len(answers) == 1
    names = [await _name_of(server, f"{number}@example.com") for number in range(3)]
    assert names[2] == "free-one" and len(set(names)) == 3
    assert all(re.fullmatch(r"countess-[0-9a-f]{8}", name) for name in names[:2])
    assert (await get_me(server, ada.metadata)).username == "countess"
    lovelace = await server.log_in("0@example.com")
    assert (await update(server, lovelace, lovelace.id, username="lovelace")).username


async def test_of_many_who_are_proven_at_once_one_has_the_name(server: Greenroom) -> None:
    longest = "x" * 50
    addresses = [f"{number}@example.com" for number in range(8)]
    for address in addresses:
        await server.auth.SignUp(_request(address, longest))
    codes = await asyncio.gather(*(code_of(_proven(server, address)) for address in addresses))
    assert set(codes) == {StatusCode.OK}
    names = [await _name_of(server, address) for address in addresses]
    assert names.count(longest) == 1 and len(set(names)) == 8
    assert all(USERNAME.fullmatch(name) for name in names)


async def test_a_sign_up_by_phone_has_one_too(server: Greenroom) -> None:
    phone = new_phone()
    request = pb.SignUpRequest(
        phone=phone, password=PASSWORD, persona=user_pb2.PERSONA_TEACHER, username="Maestro"
    )
    begun = await server.auth.SignUp(request)
    await verify(server, begun.otp_id, await texted_code(server, phone))
    reply = await server.auth.LogIn(pb.LogInRequest(username="maestro", password=PASSWORD))
    assert reply.signed_in.user.phone == phone


async def test_the_owner_of_an_address_has_the_name_they_asked_for(
    serve: Callable[..., Any],
) -> None:
    """Even where the squatter had asked for it."""
    server: Greenroom = await serve(auto_activate=True)
    await server.auth.SignUp(_request("own@example.com", "maestro"))
    await server.log_in("own@example.com")
    owners = _request("own@example.com", "maestro", user_pb2.PERSONA_TEACHER)
    owners.password = "an entirely different secret"
    await server.auth.SignUp(owners)
    token = await server.mailed_token("own@example.com", 2)
    await server.auth.VerifyEmail(pb.VerifyEmailRequest(token=token))
    assert await _name_of(server, "own@example.com", owners.password) == "maestro"


async def test_a_sign_up_from_before_gets_one_that_is_made_up(server: Greenroom) -> None:
    """One that waited while this server learnt to ask for user names."""
    for address in ("ada@example.com", "bob@example.com"):
        request = _request(address, "asked-for")
        request.display_name = "Ådä King"
        await server.auth.SignUp(request)

    def forget(_unit: Unit) -> None:
        Registration.update(username=None).execute()

    await in_unit(server, forget, write=True)
    for address in ("ada@example.com", "bob@example.com"):
        await _proven(server, address)
    assert await _name_of(server, "ada@example.com") == "ada.king"
    assert (await _name_of(server, "bob@example.com")).startswith("ada.king-")


async def test_staff_see_the_name_and_approve_it(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    await server.auth.SignUp(_request("ada@example.com", "Countess"))
    query = registration_service_pb2.ListRegistrationsRequest(text="counTESS")
    listed = await server.registrations.ListRegistrations(query, metadata=admin.metadata)
    (found,) = listed.registrations
    assert found.username == "countess"
    approval = registration_service_pb2.ApproveRegistrationRequest(registration_id=found.id)
    reply = await server.registrations.ApproveRegistration(approval, metadata=admin.metadata)
    assert reply.user.username == "countess"


async def test_an_account_made_by_staff_takes_the_name_of_the_sign_up(server: Greenroom) -> None:
    admin = await member_of_staff(server)
    await _made_by_staff(server, admin.metadata, "bare@example.com", roles=["brand"])
    await _made_by_staff(server, admin.metadata, "named@example.com", username="given")
    for address in ("bare@example.com", "named@example.com"):
        await server.auth.SignUp(_request(address, "asked-for"))
        await _proven(server, address)
    assert await _name_of(server, "bare@example.com") == "asked-for"
    assert await _name_of(server, "named@example.com") == "given"


def _made_by_staff(
    server: Greenroom, metadata: Any, address: str, **values: Any
) -> Awaitable[user_service_pb2.CreateUserResponse]:
    request = user_service_pb2.CreateUserRequest(email=address, **values)
    return server.users.CreateUser(request, metadata=metadata)


@pytest.mark.parametrize("role", ["student", "teacher"])
async def test_staff_make_nobody_a_student_without_one(server: Greenroom, role: str) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    call = _made_by_staff(server, admin.metadata, "new@example.com", roles=[role])
    assert field_names(await refused(call, *NAMELESS)) == ["username"]
    given = set_roles(server, admin, ada.id, "creator", role)
    assert field_names(await refused(given, *NAMELESS)) == ["roles"]
    assert list((await get_me(server, ada.metadata)).roles) == ["creator"]
    await set_user(server, ada, username="ada")
    assert role in (await set_roles(server, admin, ada.id, "creator", role)).roles


async def test_who_is_one_without_a_name_may_stay_one(server: Greenroom) -> None:
    admin, ada = await member_of_staff(server), await server.person("Ada")
    await give(server, ada, "student")
    kept = await set_roles(server, admin, ada.id, "student", "brand")
    assert list(kept.roles) == ["brand", "student"]


async def test_who_comes_by_a_provider_gets_one_of_their_name(serve: Callable[..., Any]) -> None:
    with FakeDiscord() as discord:
        server: Greenroom = await serve(**settings_for("discord", discord.url))
        names = []
        for sub, persona in (("1", NAMED[0]), ("2", NAMED[1]), ("3", user_pb2.PERSONA_BRAND)):
            discord.add(sub, f"{sub}@example.com", global_name="Nelly Ö.")
            reply = await sign_in_with(server, "discord", sub, persona=persona)
            me = await get_me(server, person_of(reply.signed_in).metadata)
            names.append(me.username)
        assert names[0] == "nelly.o" and re.fullmatch(r"nelly\.o-[0-9a-f]{8}", names[1])
        assert names[2] == ""

        def count(_unit: Unit) -> int:
            return int(User.select().where(User.username == "nelly.o").count())

        assert await in_unit(server, count) == 1

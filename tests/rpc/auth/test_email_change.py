"""ChangeEmail, and the tokens of it that VerifyEmail takes."""

import asyncio
import uuid

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import email_service_pb2 as pb
from tests.rpc.auth.scenes import (
    ANOTHER_PASSWORD,
    audit_rows,
    get_me,
    mail_number,
    set_user,
    sign_up_request,
    tokens_in,
    turn,
)
from tests.rpc.auth.test_passwords_change import change as change_password
from tests.rpc.auth.test_passwords_reset import INVALID, reset, settled, token_for
from tests.support.serve import Greenroom, Person
from tests.support.statuses import code_of, refused

STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
UNCHANGED = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_EMAIL_UNCHANGED")


async def ask(server: Greenroom, who: Person, email: str, request_id: str = "") -> bytes:
    request = pb.ChangeEmailRequest(new_email=email, request_id=request_id)
    reply = await server.emails.ChangeEmail(request, metadata=who.metadata)
    return reply.SerializeToString()


async def verify(server: Greenroom, token: str) -> str:
    return (await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))).email


async def token_to(server: Greenroom, who: Person, email: str, number: int = 1) -> str:
    await ask(server, who, email)
    (token,) = tokens_in(await mail_number(server, email, number))
    return token


async def test_the_address_changes_once_the_new_one_is_proven(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_to(server, ada, "Ada.New@Example.com".lower())
    asked = await mail_number(server, ada.email, 2)
    assert asked["Subject"] == "Your address is about to change"
    assert "ada.new@example.com" in asked.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert tokens_in(asked) == []
    assert (await get_me(server, ada.metadata)).email == ada.email
    assert await verify(server, token) == "ada.new@example.com"
    assert (await get_me(server, ada.metadata)).email == "ada.new@example.com"
    assert (await mail_number(server, ada.email, 3))["Subject"] == "Your address was changed"
    assert await code_of(server.log_in(ada.email)) is StatusCode.UNAUTHENTICATED
    assert (await server.log_in("ada.new@example.com")).id == ada.id
    rows = [row for row in await audit_rows(server) if row[0].startswith("email.")]
    assert rows == [("email.ask_change", "ACCEPTED"), ("email.change", "OK")]


async def test_a_fresh_factor_is_demanded(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await server.stale(ada)
    await refused(ask(server, ada, "ada.new@example.com"), *STEP_UP)
    assert server.mails("ada.new@example.com") == []


async def test_the_answer_is_the_same_for_a_taken_address_whose_owner_is_told(
    server: Greenroom,
) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    turn(server, 61)
    free = "x" * (len(eve.email) - 12) + "@example.com"
    taken_reply, free_reply = await ask(server, ada, eve.email), await ask(server, ada, free)
    assert taken_reply.replace(eve.email.encode(), free.encode()) == free_reply
    told = await mail_number(server, eve.email, 2)
    assert told["Subject"] == "You already have an account" and tokens_in(told) == []


async def test_a_token_is_good_once_and_for_a_day(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_to(server, ada, "one@example.com")
    await verify(server, token)
    await refused(verify(server, token), *INVALID)
    token = await token_to(server, ada, "two@example.com")
    turn(server, 24 * 3600)
    await refused(verify(server, token), *INVALID)


async def test_of_parallel_callers_with_one_token_one_succeeds(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_to(server, ada, "one@example.com")
    codes = await asyncio.gather(*(code_of(verify(server, token)) for _ in range(16)))
    assert codes.count(StatusCode.OK) == 1


async def test_the_next_change_makes_the_one_before_void(server: Greenroom) -> None:
    ada = await server.person("Ada")
    first = await token_to(server, ada, "one@example.com")
    second = await token_to(server, ada, "two@example.com")
    await refused(verify(server, first), *INVALID)
    assert await verify(server, second) == "two@example.com"


async def test_a_new_password_makes_the_change_void(server: Greenroom) -> None:
    """Whoever asked for it may have been who knew the old one."""
    ada = await server.person("Ada")
    token = await token_to(server, ada, "one@example.com")
    await change_password(server, ada)
    await refused(verify(server, token), *INVALID)
    eve = await server.person("Eve")
    token = await token_to(server, eve, "two@example.com")
    await reset(server, await token_for(server, eve, 3))
    await refused(verify(server, token), *INVALID)


async def test_tokens_of_resets_went_to_the_former_address_and_are_void(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    old = await token_for(server, ada, 2)
    await verify(server, await token_to(server, ada, "one@example.com"))
    await refused(reset(server, old, ANOTHER_PASSWORD), *INVALID)


async def test_an_address_that_was_taken_meanwhile_is_not_shared(server: Greenroom) -> None:
    ada, eve = await server.person("Ada"), await server.person("Eve")
    token = await token_to(server, ada, "one@example.com")
    other = await token_to(server, eve, "two@example.com")
    await server.auth.SignUp(sign_up_request("two@example.com"))
    (sign_up,) = tokens_in(await mail_number(server, "two@example.com", 2))
    await verify(server, sign_up)
    await verify(server, token)
    await refused(verify(server, other), *INVALID)
    assert (await get_me(server, eve.metadata)).email == eve.email


async def test_two_accounts_that_prove_one_address_at_once_do_not_share_it(
    server: Greenroom,
) -> None:
    people = [await server.person(name) for name in ("Ada", "Eve")]
    tokens = []
    for number, person in enumerate(people, 1):
        tokens.append(await token_to(server, person, "one@example.com", number))
        turn(server, 61)
    codes = await asyncio.gather(*(code_of(verify(server, token)) for token in tokens))
    assert sorted(code.name for code in codes) == ["INVALID_ARGUMENT", "OK"]


async def test_a_sign_up_that_waits_for_the_address_is_void(server: Greenroom) -> None:
    await server.auth.SignUp(sign_up_request("one@example.com"))
    waiting = await server.mailed_token("one@example.com")
    ada = await server.person("Ada")
    turn(server, 61)
    await verify(server, await token_to(server, ada, "one@example.com", 2))
    await refused(verify(server, waiting), *INVALID)


async def test_an_account_that_was_locked_keeps_its_address(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_to(server, ada, "one@example.com")
    await set_user(server, ada, status="BANNED")
    await refused(verify(server, token), *INVALID)


async def test_ones_own_address_is_no_change_unless_it_is_unproven(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(ask(server, ada, ada.email.upper()), *UNCHANGED)
    await set_user(server, ada, email_verified_at=None)
    turn(server, 61)
    assert await verify(server, await token_to(server, ada, ada.email, 2)) == ada.email


async def test_one_mail_a_minute_leaves_for_an_address(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_to(server, ada, "one@example.com")
    await ask(server, ada, "one@example.com")
    await settled(server)
    assert len(server.mails("one@example.com")) == 1
    assert len(server.mails(ada.email)) == 2
    assert await verify(server, token) == "one@example.com"


async def test_a_repeat_with_the_same_id_gets_the_first_reply(server: Greenroom) -> None:
    ada = await server.person("Ada")
    request_id = str(uuid.uuid4())
    first = await ask(server, ada, "one@example.com", request_id)
    await settled(server)
    turn(server, 61)
    assert await ask(server, ada, "one@example.com", request_id) == first
    await settled(server)
    assert len(server.mails("one@example.com")) == 1


async def test_nobody_else_and_nothing_malformed(server: Greenroom) -> None:
    await refused(
        server.emails.ChangeEmail(pb.ChangeEmailRequest(new_email="one@example.com")),
        StatusCode.UNAUTHENTICATED,
        "WIRE_ERROR_REASON_CREDENTIALS_MISSING",
    )
    ada = await server.person("Ada")
    for email in ("", "nobody", "a" * 250 + "@x.de"):
        await refused(
            ask(server, ada, email),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )

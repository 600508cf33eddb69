"""What somebody has set going in an account that is not theirs ends with their time in it."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import session_service_pb2 as session_pb
from tests.rpc.auth.otp_scenes import INVALID as CODE_INVALID
from tests.rpc.auth.otp_scenes import PHONE, change_phone, log_in_by_phone, texted_code
from tests.rpc.auth.otp_scenes import verify as verify_code
from tests.rpc.auth.scenes import get_me, sign_up_request
from tests.rpc.auth.test_email_change import token_to, verify
from tests.rpc.auth.test_passwords_change import change as change_password
from tests.rpc.auth.test_passwords_reset import INVALID, reset, token_for
from tests.support.serve import Greenroom, Person
from tests.support.statuses import refused

BAD_CREDENTIALS = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_BAD_CREDENTIALS")
VICTIM = "victim@example.com"


async def _squatter(serve: Callable[..., Any]) -> tuple[Greenroom, Person]:
    """Somebody in an account with an address that is not theirs and that nobody has proven."""
    server: Greenroom = await serve(auto_activate=True)
    await server.auth.SignUp(sign_up_request(VICTIM, "what mallory prepared"))
    return server, await server.log_in(VICTIM, "what mallory prepared")


async def test_a_change_of_address_dies_when_the_owner_signs_up(serve: Callable[..., Any]) -> None:
    server, mallory = await _squatter(serve)
    token = await token_to(server, mallory, "mallory@example.com")
    await server.auth.SignUp(sign_up_request(VICTIM))
    await verify(server, await server.mailed_token(VICTIM, 2))
    await refused(verify(server, token), *INVALID)
    owner = await server.log_in(VICTIM)
    assert (await get_me(server, owner.metadata)).email == VICTIM


async def test_a_change_of_number_dies_when_the_owner_signs_up(serve: Callable[..., Any]) -> None:
    server, mallory = await _squatter(serve)
    asked = await change_phone(server, mallory, PHONE)
    code = await texted_code(server, PHONE)
    await server.auth.SignUp(sign_up_request(VICTIM))
    await verify(server, await server.mailed_token(VICTIM, 2))
    await refused(verify_code(server, asked.otp_id, code), *CODE_INVALID)
    await refused(log_in_by_phone(server, PHONE), *BAD_CREDENTIALS)


async def test_both_die_when_the_owner_of_an_unproven_address_takes_a_reset(
    serve: Callable[..., Any],
) -> None:
    server, mallory = await _squatter(serve)
    token = await token_to(server, mallory, "mallory@example.com")
    asked = await change_phone(server, mallory, PHONE)
    code = await texted_code(server, PHONE)
    await reset(server, await token_for(server, mallory, 2))
    await refused(verify(server, token), *INVALID)
    await refused(verify_code(server, asked.otp_id, code), *CODE_INVALID)


async def _by_reset(server: Greenroom, ada: Person, _thief: Person) -> None:
    await reset(server, await token_for(server, ada, 2))


async def _by_change(server: Greenroom, ada: Person, _thief: Person) -> None:
    await change_password(server, ada)


async def _by_device_list(server: Greenroom, ada: Person, thief: Person) -> None:
    request = session_pb.RevokeSessionRequest(session_id=thief.session_id)
    await server.sessions.RevokeSession(request, metadata=ada.metadata)


@pytest.mark.parametrize("ended", [_by_reset, _by_change, _by_device_list])
async def test_a_change_of_number_dies_with_the_session_that_asked_for_it(
    server: Greenroom, ended: Callable[[Greenroom, Person, Person], Awaitable[None]]
) -> None:
    """Whoever had a session for a while, and its user throws them out before their code is given."""
    ada = await server.person("Ada")
    thief = await server.log_in(ada.email)
    asked = await change_phone(server, thief, PHONE)
    code = await texted_code(server, PHONE)
    await ended(server, ada, thief)
    await refused(verify_code(server, asked.otp_id, code), *CODE_INVALID)
    await refused(log_in_by_phone(server, PHONE), *BAD_CREDENTIALS)


async def test_a_password_that_is_changed_in_between_leaves_ones_own_change_of_number(
    server: Greenroom,
) -> None:
    ada = await server.person("Ada")
    asked = await change_phone(server, ada, PHONE)
    await change_password(server, ada)
    await verify_code(server, asked.otp_id, await texted_code(server, PHONE))
    assert (await get_me(server, ada.metadata)).phone == PHONE


async def test_a_number_that_was_proven_meanwhile_does_not_survive_the_owner(
    serve: Callable[..., Any],
) -> None:
    server, mallory = await _squatter(serve)
    asked = await change_phone(server, mallory, PHONE)
    await verify_code(server, asked.otp_id, await texted_code(server, PHONE))
    await server.auth.SignUp(sign_up_request(VICTIM))
    await verify(server, await server.mailed_token(VICTIM, 2))
    await refused(log_in_by_phone(server, PHONE, "what mallory prepared"), *BAD_CREDENTIALS)
    owner = await server.log_in(VICTIM)
    me = await get_me(server, owner.metadata)
    assert me.phone == "" and not me.HasField("phone_verified_time")

"""Passkeys under parallel calls: one answer, one count, one last way in."""

import asyncio

from grpc import StatusCode, aio

from greenroom.auth.v1 import passkey_service_pb2 as pb
from server.auth.models import Passkey, Session
from tests.rpc.auth.passkey_scenes import (
    finish_log_in,
    log_in,
    lose_ways_in,
    register,
    request_options,
)
from tests.rpc.auth.scenes import in_unit
from tests.support.authenticator import Authenticator
from tests.support.serve import Greenroom
from tests.support.statuses import reason_of, refused

CHALLENGE_INVALID = "AUTH_ERROR_REASON_PASSKEY_CHALLENGE_INVALID"
REJECTED = "AUTH_ERROR_REASON_PASSKEY_REJECTED"
REGRESSED = "AUTH_ERROR_REASON_PASSKEY_COUNT_REGRESSED"
LAST_WAY_IN = "AUTH_ERROR_REASON_LAST_WAY_IN"
STORM = 32


async def test_one_of_many_parallel_log_ins_with_one_answer_succeeds(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator(counts=False)
    await register(server, ada, device)
    for _ in range(5):
        answer = device.get(await request_options(server))
        replies = await asyncio.gather(
            *(finish_log_in(server, answer) for _ in range(STORM)), return_exceptions=True
        )
        failures = [reply for reply in replies if isinstance(reply, aio.AioRpcError)]
        assert len(failures) == STORM - 1
        assert {reason_of(error) for error in failures} == {CHALLENGE_INVALID}
    opened = await in_unit(server, lambda unit: Session.open_for(ada.id, unit.now).count())
    assert opened == 1 + 5


async def test_one_of_many_parallel_answers_with_one_count_succeeds(server: Greenroom) -> None:
    """Copies of an authenticator that answer at once, each its own challenge."""
    ada = await server.person("Ada")
    device = Authenticator()
    await register(server, ada, device)
    answers = []
    for _ in range(STORM):
        answers.append(device.get(await request_options(server)))
        device.count = 0
    replies = await asyncio.gather(
        *(finish_log_in(server, answer) for answer in answers), return_exceptions=True
    )
    failures = [reply for reply in replies if isinstance(reply, aio.AioRpcError)]
    assert len(failures) == STORM - 1
    assert {reason_of(error) for error in failures} == {REGRESSED}


async def test_one_of_two_last_passkeys_stays_when_both_are_removed_at_once(
    server: Greenroom,
) -> None:
    for _ in range(5):
        ada = await server.person("Ada")
        made = [await register(server, ada, Authenticator()) for _ in range(8)]
        await lose_ways_in(server, ada)
        calls = [
            server.passkeys.DeletePasskey(
                pb.DeletePasskeyRequest(passkey_id=passkey.id), metadata=ada.metadata
            )
            for passkey in made
        ]
        replies = await asyncio.gather(*calls, return_exceptions=True)
        failures = [reply for reply in replies if isinstance(reply, aio.AioRpcError)]
        assert [reason_of(error) for error in failures] == [LAST_WAY_IN]
        left = await in_unit(server, lambda _unit, who=ada.id: Passkey.for_user(who).count())
        assert left == 1


async def test_a_log_in_and_a_removal_at_once_do_not_meet(server: Greenroom) -> None:
    """Neither waits for the other in the wrong order, and what was removed opens nothing after."""
    ada = await server.person("Ada")
    for _ in range(5):
        device = Authenticator(counts=False)
        made = await register(server, ada, device)
        answers = [device.get(await request_options(server)) for _ in range(8)]
        removal = server.passkeys.DeletePasskey(
            pb.DeletePasskeyRequest(passkey_id=made.id), metadata=ada.metadata
        )
        calls = [finish_log_in(server, answer) for answer in answers]
        replies = await asyncio.gather(*calls, removal, return_exceptions=True)
        failures = [reply for reply in replies if isinstance(reply, aio.AioRpcError)]
        assert {reason_of(error) for error in failures} <= {REJECTED}
        await refused(log_in(server, device), StatusCode.UNAUTHENTICATED, REJECTED)

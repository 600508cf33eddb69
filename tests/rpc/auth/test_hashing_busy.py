"""Where more passwords wait than may, those who come with another are told at once, and nothing that
they brought is used up."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from grpc import StatusCode
from grpc.aio import AioRpcError

from server.auth.models import LoginAttempt, Registration
from server.core.unit import Unit
from tests.rpc.auth.scenes import ANOTHER_PASSWORD, audit_rows, in_unit, sign_up_request
from tests.rpc.auth.test_passwords_change import change
from tests.rpc.auth.test_passwords_reset import reset, token_for
from tests.support.serve import Greenroom
from tests.support.statuses import refused, retry_after_of

BUSY = (StatusCode.RESOURCE_EXHAUSTED, "AUTH_ERROR_REASON_HASHING_BUSY")


@contextmanager
def _full(server: Greenroom) -> Iterator[None]:
    """As many passwords wait as may."""
    pool = server.running.parts.hash_pool
    pool.taken += 10_000
    try:
        yield
    finally:
        pool.taken -= 10_000


def _failures(_unit: Unit) -> int:
    return sum(row.failures for row in LoginAttempt.select())


async def _told_so(server: Greenroom, call: Callable[[], Awaitable[object]]) -> None:
    before = await audit_rows(server)
    with _full(server):
        assert retry_after_of(await refused(call(), *BUSY))
    assert await audit_rows(server) == before


async def test_a_sign_up_is_not_opened(server: Greenroom) -> None:
    request = sign_up_request("late@example.com")
    await _told_so(server, lambda: server.auth.SignUp(request))
    assert await in_unit(server, lambda _unit: Registration.select().count()) == 0
    await server.auth.SignUp(request)
    await server.mailed_token("late@example.com")


async def test_the_token_of_a_reset_stays_good(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = await token_for(server, ada, 2)
    await _told_so(server, lambda: reset(server, token))
    await server.log_in(ada.email)
    await reset(server, token)
    await server.log_in(ada.email, ANOTHER_PASSWORD)


async def test_no_log_in_is_hashed_or_counted(server: Greenroom) -> None:
    ada = await server.person("Ada")
    before = server.running.parts.hash_pool.started
    await _told_so(server, lambda: server.log_in(ada.email))
    assert server.running.parts.hash_pool.started == before
    assert await in_unit(server, _failures) == 0
    await server.log_in(ada.email)


async def test_no_try_at_the_old_password_is_counted(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await _told_so(server, lambda: change(server, ada))

    assert await in_unit(server, _failures) == 0
    await change(server, ada)
    await server.log_in(ada.email, ANOTHER_PASSWORD)


async def test_of_many_at_once_only_those_with_a_place_are_counted(
    serve: Callable[..., Awaitable[Greenroom]],
) -> None:
    """A try that is counted and never looked at would lock people out who have done nothing wrong."""
    server = await serve(hash_workers=1, hash_queue=1)
    ada = await server.person("Ada")
    pool = server.running.parts.hash_pool
    release = threading.Event()
    held = asyncio.create_task(pool.run(release.wait, 30))
    tries = [asyncio.create_task(server.log_in(ada.email, ANOTHER_PASSWORD)) for _ in range(6)]
    try:
        for first in asyncio.as_completed(tries):
            await refused(first, *BUSY)
            if sum(task.done() for task in tries) == 5:
                break
        async with asyncio.timeout(10):
            while not await in_unit(server, _failures):
                await asyncio.sleep(0.01)
        assert await in_unit(server, _failures) == 2, "one of the account, one of its address"
    finally:
        release.set()
        await held
    ends = await asyncio.gather(*tries, return_exceptions=True)
    codes = sorted(str(end.code()) for end in ends if isinstance(end, AioRpcError))
    assert codes == ["StatusCode.RESOURCE_EXHAUSTED"] * 5 + ["StatusCode.UNAUTHENTICATED"]

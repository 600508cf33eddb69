"""Where more passwords wait than may, those who come with another are told at once, and nothing that
they brought is used up."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from grpc import StatusCode

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
    pool._in_flight += 10_000
    try:
        yield
    finally:
        pool._in_flight -= 10_000


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


async def test_no_try_at_the_old_password_is_counted(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await _told_so(server, lambda: change(server, ada))

    def failures(_unit: Unit) -> int:
        return sum(row.failures for row in LoginAttempt.select())

    assert await in_unit(server, failures) == 0
    await change(server, ada)
    await server.log_in(ada.email, ANOTHER_PASSWORD)

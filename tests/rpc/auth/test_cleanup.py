"""The clean-up job: what has served its time goes, what is in use stays."""

from server.auth.models import (
    ContactSend,
    LoginAttempt,
    RefreshToken,
    Registration,
    Session,
    User,
    VerificationToken,
)
from server.auth.usecases import cleanup
from server.auth.wiring import lifetimes_of
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit, refresh, sign_up_request, turn
from tests.support.serve import Greenroom
from tests.support.statuses import failure_of

MODELS = (
    User,
    Session,
    RefreshToken,
    Registration,
    VerificationToken,
    LoginAttempt,
    ContactSend,
)


async def _clean(server: Greenroom) -> dict[str, int]:
    for step in cleanup.steps(lifetimes_of(server.settings).grace):
        while await in_unit(server, step, write=True) >= cleanup.BATCH:
            pass
    return await in_unit(
        server, lambda _unit: {model.__name__: model.select().count() for model in MODELS}
    )


async def test_nothing_in_use_is_deleted(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = (await refresh(server, ada.tokens.tokens.refresh_token)).tokens.refresh_token
    await server.auth.SignUp(sign_up_request("waits@example.com"))
    await failure_of(server.log_in("nobody@example.com"))
    counts = await _clean(server)
    assert counts["Session"] == 1 and counts["RefreshToken"] == 2
    assert counts["Registration"] == 2 and counts["VerificationToken"] == 2
    assert counts["LoginAttempt"] >= 2 and counts["ContactSend"] == 1
    assert (await refresh(server, ada.tokens.tokens.refresh_token)).tokens.refresh_token == token


async def test_a_successor_is_forgotten_after_the_grace(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refresh(server, ada.tokens.tokens.refresh_token)

    def sealed(_unit: Unit) -> int:
        return RefreshToken.select().where(RefreshToken.successor_sealed.is_null(False)).count()

    await _clean(server)
    assert await in_unit(server, sealed) == 1
    turn(server, 11)
    await _clean(server)
    assert await in_unit(server, sealed) == 0
    error = await failure_of(refresh(server, ada.tokens.tokens.refresh_token))
    assert "used before" in (error.details() or "")


async def test_what_is_over_goes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await server.auth.SignUp(sign_up_request("never-proven@example.com"))
    await failure_of(server.log_in("nobody@example.com"))
    turn(server, 2 * 86_400)
    counts = await _clean(server)
    assert counts["VerificationToken"] == 0 and counts["Registration"] == 2
    assert counts["LoginAttempt"] == 0 and counts["ContactSend"] == 0
    turn(server, 6 * 86_400)
    assert (await _clean(server))["Registration"] == 1
    turn(server, 30 * 86_400)
    counts = await _clean(server)
    assert counts["RefreshToken"] == 0 and counts["Session"] == 1
    turn(server, 30 * 86_400)
    counts = await _clean(server)
    assert counts["Session"] == 0 and counts["User"] == 1
    await server.log_in(ada.email)


async def test_the_job_is_registered_and_scheduled(server: Greenroom) -> None:
    jobs = server.running.parts.jobs
    assert jobs.schedules["auth.cleanup"] == "7 * * * *"
    assert {"auth.cleanup", "auth.mail"} <= set(jobs.kinds)

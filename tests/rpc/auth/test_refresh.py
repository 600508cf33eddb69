"""RefreshToken: one live token a family, honest retries keep the session, a thief ends it."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from grpc import StatusCode, aio

from greenroom.auth.v1 import auth_service_pb2 as pb
from server.auth.models import RefreshToken, Session
from server.core.unit import Unit
from tests.rpc.auth.scenes import (
    audit_rows,
    bearer,
    get_me,
    in_unit,
    mail_number,
    refresh,
    set_user,
    turn,
)
from tests.support.serve import Greenroom
from tests.support.statuses import reason_of, refused

INVALID = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_REFRESH_TOKEN_INVALID")
REUSED = (StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED")
REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")


async def _live(server: Greenroom) -> int:
    def count(_unit: Unit) -> int:
        open_ones = RefreshToken.select().join(Session).where(RefreshToken.used_at.is_null())
        return open_ones.where(~Session.is_revoked).count()

    return await in_unit(server, count)


async def test_each_token_is_traded_for_a_new_pair(server: Greenroom) -> None:
    ada = await server.person("Ada")
    token = ada.tokens.tokens.refresh_token
    seen = {token}
    for _ in range(5):
        turn(server, 600)
        pair = (await refresh(server, token)).tokens
        assert pair.refresh_token not in seen
        now = int(server.clock.now().timestamp())
        assert pair.access_expire_time.seconds == now + 900
        assert pair.refresh_expire_time.seconds == now + 30 * 86_400
        await get_me(server, bearer(pair.access_token))
        token = pair.refresh_token
        seen.add(token)
    session = await in_unit(server, lambda _unit: Session.get_by_id(ada.session_id))
    assert session.refresh_count == 5 and session.last_refresh_at == server.clock.now()
    assert await _live(server) == 1


async def test_parallel_calls_get_the_same_successor(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve(database_wait_seconds=10)
    ada = await server.person("Ada")
    token = ada.tokens.tokens.refresh_token
    for _ in range(4):
        replies = await asyncio.gather(*(refresh(server, token) for _ in range(32)))
        successors = {reply.tokens.refresh_token for reply in replies}
        assert len(successors) == 1
        assert await _live(server) == 1
        for reply in replies[:3]:
            await get_me(server, bearer(reply.tokens.access_token))
        (token,) = successors
    assert await in_unit(server, lambda _unit: RefreshToken.select().count()) == 5


async def test_a_lost_reply_costs_nothing_within_the_grace(server: Greenroom) -> None:
    ada = await server.person("Ada")
    first = ada.tokens.tokens.refresh_token
    second = (await refresh(server, first)).tokens.refresh_token
    turn(server, 9.9)
    assert (await refresh(server, first)).tokens.refresh_token == second
    third = (await refresh(server, second)).tokens.refresh_token
    assert third not in (first, second)
    assert (await refresh(server, second)).tokens.refresh_token == third


async def test_a_tab_that_is_steps_behind_is_brought_up_to_date(server: Greenroom) -> None:
    ada = await server.person("Ada")
    first = token = ada.tokens.tokens.refresh_token
    for _ in range(3):
        token = (await refresh(server, token)).tokens.refresh_token
    assert (await refresh(server, first)).tokens.refresh_token == token
    turn(server, 3600)
    await refresh(server, token)


async def test_a_late_reuse_ends_the_family(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    first = ada.tokens.tokens.refresh_token
    second = (await refresh(server, first)).tokens
    third = (await refresh(server, second.refresh_token)).tokens
    await get_me(server, bearer(third.access_token))
    turn(server, 10)
    await refused(refresh(server, first), *REUSED)
    for token in (first, second.refresh_token, third.refresh_token):
        await refused(refresh(server, token), *INVALID)
    for access in (ada.tokens.tokens.access_token, second.access_token, third.access_token):
        await refused(get_me(server, bearer(access)), *REVOKED)
    session = await in_unit(server, lambda _unit: Session.get_by_id(ada.session_id))
    assert session.is_revoked and session.revoked_reason == "REUSE"
    await get_me(server, other.metadata)
    await refresh(server, other.tokens.tokens.refresh_token)
    rows = [row for row in await audit_rows(server) if row[0] == "session.refresh_reused"]
    assert rows == [("session.refresh_reused", "REUSED")]
    mail = await mail_number(server, ada.email, 2)
    assert mail["Subject"] == "A session was ended for your safety"


async def test_after_a_reuse_no_descendant_lives(serve: Callable[..., Any]) -> None:
    """Races of reuse and refresh: whatever comes back, nothing in the family works afterwards."""
    server: Greenroom = await serve(database_wait_seconds=10)
    rounds = random.Random(7)
    for _ in range(6):
        ada = await server.person("Ada")
        stolen = ada.tokens.tokens.refresh_token
        leaf = (await refresh(server, stolen)).tokens.refresh_token
        turn(server, 11)
        calls = [refresh(server, leaf) for _ in range(8)] + [refresh(server, stolen)]
        rounds.shuffle(calls)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        won = {
            outcome.tokens.refresh_token
            for outcome in outcomes
            if isinstance(outcome, pb.RefreshTokenResponse)
        }
        lost = {reason_of(error) for error in outcomes if isinstance(error, aio.AioRpcError)}
        assert REUSED[1] in lost and lost <= {REUSED[1], INVALID[1]} and len(won) <= 1
        for token in (leaf, *won):
            await refused(refresh(server, token), *INVALID)


async def test_sessions_end_by_idleness_and_by_age(server: Greenroom) -> None:
    idle = await server.person("Idle")
    busy = await server.person("Busy")
    token = busy.tokens.tokens.refresh_token
    for _ in range(4):
        turn(server, 20 * 86_400)
        token = (await refresh(server, token)).tokens.refresh_token
    await refused(refresh(server, idle.tokens.tokens.refresh_token), *INVALID)
    pair = (await refresh(server, token)).tokens
    opened = busy.tokens.session.create_time.seconds
    assert pair.refresh_expire_time.seconds == opened + 90 * 86_400
    turn(server, 10 * 86_400 - 60)
    pair = (await refresh(server, pair.refresh_token)).tokens
    assert pair.access_expire_time.seconds == opened + 90 * 86_400
    turn(server, 60)
    await refused(refresh(server, pair.refresh_token), *INVALID)
    await refused(get_me(server, bearer(pair.access_token)), *REVOKED)


async def test_accounts_that_are_not_in_use_get_nothing(server: Greenroom) -> None:
    for status in ("SUSPENDED", "BANNED", "DELETED", "PENDING"):
        person = await server.person(status)
        await set_user(server, person, status=status)
        await refused(refresh(server, person.tokens.tokens.refresh_token), *INVALID)


async def test_what_is_no_refresh_token_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    tokens = ada.tokens.tokens
    for token in (
        "x",
        "grr_" + "A" * 43,
        tokens.access_token[:512],
        tokens.refresh_token.upper(),
        tokens.refresh_token + " ",
        "grr_\x00",
    ):
        await refused(refresh(server, token), *INVALID)
    for token in ("", "x" * 513):
        await refused(
            refresh(server, token),
            StatusCode.INVALID_ARGUMENT,
            "WIRE_ERROR_REASON_INVALID_FIELD",
        )
    await refused(get_me(server, bearer(tokens.refresh_token)), *REVOKED)


async def test_no_usable_token_lies_in_the_database(server: Greenroom) -> None:
    ada = await server.person("Ada")
    first = ada.tokens.tokens.refresh_token
    second = (await refresh(server, first)).tokens.refresh_token
    rows = await in_unit(server, lambda _unit: repr(list(RefreshToken.select().dicts())))
    assert first not in rows and second not in rows

    def swap(_unit: Unit) -> None:
        """Puts the sealed successor of one family onto the row of another."""
        spent = RefreshToken.get(RefreshToken.used_at.is_null(False))
        RefreshToken.update(
            successor_sealed=spent.successor_sealed,
            successor_id=spent.id,
            used_at=spent.used_at,
        ).where(RefreshToken.session == bob.session_id).execute()

    bob = await server.person("Bob")
    await in_unit(server, swap, write=True)
    await refused(refresh(server, bob.tokens.tokens.refresh_token), *INVALID)

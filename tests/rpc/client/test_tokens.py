"""Tokens of the Python client against a server that loses replies and takes its time."""

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom_client.tokens import FileTokenStore
from tests.support.unruly import START, unruly

GET_ME = pb.GetMeRequest()
LOST = (grpc.StatusCode.UNAVAILABLE, "")


async def test_many_refusals_cost_one_renewal() -> None:
    async with unruly() as (server, client, _slept):
        server.good.clear()
        await asyncio.gather(*(client.auth.GetMe(GET_ME) for _ in range(50)))
        assert server.refreshed == ["refresh-1"]


async def test_a_token_near_its_end_costs_one_renewal() -> None:
    async with unruly(now=lambda: 9_980.0) as (server, client, _slept):
        await asyncio.gather(*(client.auth.GetMe(GET_ME) for _ in range(50)))
        assert server.refreshed == ["refresh-1"]


async def test_a_caller_that_gives_up_does_not_take_the_new_tokens_with_it() -> None:
    async with unruly() as (server, client, _slept):
        server.good.clear()
        server.holds = [asyncio.Event()]
        (hold,) = server.holds
        calling = asyncio.create_task(_get_me(client))
        async with asyncio.timeout(10):
            while not server.refreshed:
                await asyncio.sleep(0)
            calling.cancel()
            await asyncio.wait([calling])
            hold.set()
            await client.keeper.settle()
        assert calling.cancelled()
        assert client.keeper.tokens is not None
        assert client.keeper.tokens.refresh == "refresh-2"


async def test_a_renewal_counts_against_the_deadline_of_the_call() -> None:
    async with unruly() as (server, client, _slept):
        server.good.clear()
        server.holds = [asyncio.Event()]
        (hold,) = server.holds
        with pytest.raises(aio.AioRpcError) as raised:
            await client.auth.GetMe(GET_ME, timeout=0.2)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        hold.set()
        await client.auth.GetMe(GET_ME)
        assert server.refreshed == ["refresh-1"]


async def test_a_lost_reply_is_asked_for_again_with_the_same_token() -> None:
    async with unruly() as (server, client, slept):
        server.good.clear()
        server.failures.append(LOST)
        await client.auth.GetMe(GET_ME)
        assert server.refreshed == ["refresh-1", "refresh-1"]
        assert slept == [0.1]


async def test_while_the_server_cannot_renew_the_old_token_does() -> None:
    async with unruly(now=lambda: 9_980.0) as (server, client, _slept):
        server.failures.extend([LOST] * 4)
        await client.auth.GetMe(GET_ME)
        assert client.keeper.tokens == START


@pytest.mark.parametrize("life", [20, -3_600])
async def test_short_lives_and_wrong_clocks_do_not_cost_a_renewal_a_call(life: int) -> None:
    """A token that lives 20 s, and one that this clock takes for an hour old, are both used."""
    async with unruly(now=lambda: 9_900.0) as (server, client, _slept):
        server.good.clear()
        server.life = life
        for _ in range(5):
            await client.auth.GetMe(GET_ME)
        assert server.refreshed == ["refresh-1"]


async def test_a_log_out_is_not_undone_by_a_renewal_on_its_way() -> None:
    async with unruly() as (server, client, _slept):
        server.good.clear()
        server.holds = [asyncio.Event()]
        (hold,) = server.holds
        calling = asyncio.create_task(_get_me(client))
        async with asyncio.timeout(10):
            while not server.refreshed:
                await asyncio.sleep(0)
            client.keeper.keep(None)
            hold.set()
            with pytest.raises(greenroom_client.SignedOut):
                await calling
        assert not client.is_signed_in


async def test_log_out_of_a_session_that_has_ended() -> None:
    async with unruly() as (server, client, _slept):
        server.good.clear()
        reused = "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED"
        server.failures.append((grpc.StatusCode.UNAUTHENTICATED, reused))
        await client.log_out()
        assert not client.is_signed_in


async def test_two_clients_of_one_file_renew_once(tmp_path: Path) -> None:
    store = FileTokenStore(tmp_path / "tokens.json")
    store.save(START)
    async with unruly(store=store) as (server, client, _slept):
        other = FileTokenStore(tmp_path / "tokens.json").load()
        assert other == START
        server.good.clear()
        await client.auth.GetMe(GET_ME)
        late = greenroom_client.tokens.Keeper(
            FileTokenStore(tmp_path / "tokens.json"), client.auth.RefreshToken, lambda: 0.0
        )
        late._tokens = START
        assert await late.renewed(START.access) == "access-2"
        assert server.refreshed == ["refresh-1"]


async def _get_me(client: greenroom_client.Client) -> None:
    await client.auth.GetMe(GET_ME)

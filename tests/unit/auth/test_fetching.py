"""What providers may do to a request, over a real connection of the loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from server.auth.errors import ProviderUnavailable
from server.auth.gateways.fetching import MOST_BYTES, ProviderHttp, origin_of
from tests.support.fake_http import Response, json_of
from tests.support.fake_oauth import FakeOAuth


@pytest.fixture
def provider() -> Iterator[FakeOAuth]:
    with FakeOAuth() as fake:
        yield fake


@pytest.fixture
async def http() -> AsyncIterator[ProviderHttp]:
    opened = ProviderHttp(0.5)
    yield opened
    await opened.close()


def within(provider: FakeOAuth) -> frozenset[str]:
    return frozenset({origin_of(provider.url)})


async def test_nothing_is_asked_outside_of_the_origins(
    http: ProviderHttp, provider: FakeOAuth
) -> None:
    port = provider.url.rpartition(":")[2]
    elsewhere = frozenset({"https://accounts.example.com:443", f"http://localhost:{port}"})
    for url in (
        provider.url,
        f"http://user@127.0.0.1:{port}/",
        f"http://accounts.example.com@127.0.0.1:{port}/",
        f"http://localhost:{port}@127.0.0.1:{port}/",
        f"//127.0.0.1:{port}/",
        "file:///etc/passwd",
        "",
    ):
        with pytest.raises(ProviderUnavailable):
            await http.get(url, within=elsewhere)
        with pytest.raises(ProviderUnavailable):
            await http.post(url, {"code": "x"}, within=elsewhere)
    assert provider.paths == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    http: ProviderHttp, provider: FakeOAuth, status: int
) -> None:
    provider.faults["/from"] = lambda: (status, {"location": f"{provider.url}/to"}, b"")
    for ask in (
        http.get(f"{provider.url}/from", within=within(provider)),
        http.post(f"{provider.url}/from", {}, within=within(provider)),
    ):
        with pytest.raises(ProviderUnavailable):
            await ask
    assert provider.paths == ["/from", "/from"]


def sized(length: int) -> Callable[[], Response]:
    return lambda: (200, {}, b'"' + b"x" * (length - 2) + b'"')


async def test_an_answer_is_read_up_to_a_size(http: ProviderHttp, provider: FakeOAuth) -> None:
    provider.faults["/large"] = sized(MOST_BYTES)
    provider.faults["/larger"] = sized(MOST_BYTES + 1)
    reply = await http.get(f"{provider.url}/large", within=within(provider))
    assert len(reply.content) == MOST_BYTES - 2
    with pytest.raises(ProviderUnavailable):
        await http.get(f"{provider.url}/larger", within=within(provider))


async def test_an_answer_may_take_its_time_and_no_longer(
    http: ProviderHttp, provider: FakeOAuth
) -> None:
    """Also one that comes byte by byte, each in time."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.1)
        except OSError:
            writer.close()

    slow = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{slow.sockets[0].getsockname()[1]}/"
    async with slow:
        with pytest.raises(ProviderUnavailable):
            async with asyncio.timeout(5):
                await http.get(url, within=frozenset({origin_of(url)}))
    assert (await http.get(f"{provider.url}/x", within=within(provider))).status == 404


async def test_a_packed_answer_is_not_unpacked(http: ProviderHttp, provider: FakeOAuth) -> None:
    provider.faults["/x"] = lambda: (200, {"content-encoding": "gzip"}, b"\x1f\x8b\x08")
    with pytest.raises(ProviderUnavailable):
        await http.get(f"{provider.url}/x", within=within(provider))


async def test_refusals_come_with_their_content(http: ProviderHttp, provider: FakeOAuth) -> None:
    provider.faults["/x"] = lambda: json_of({"error": "invalid_grant"}, 400)
    reply = await http.get(f"{provider.url}/x", within=within(provider))
    assert (reply.status, reply.content) == (400, {"error": "invalid_grant"})

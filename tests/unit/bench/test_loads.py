"""The load programs count what came, all of it and nothing else, however the bytes are cut up."""

import argparse
import asyncio
import io
import json
import socket
import sys
from typing import Any

import pytest

from bench.peer_load import HttpConnection, SocketIo, Sweep, http_requests
from bench.tally import Flood, Tally

PAGE = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nab\r\n\r"


class Wire:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def options(**values: Any) -> argparse.Namespace:
    return argparse.Namespace(**{"seconds": 60.0, "calls": sys.maxsize, **values})


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_http_replies_are_told_apart(size: int) -> None:
    replies: list[int] = []
    connection = HttpConnection(b"200", lambda: replies.append(len(replies)))
    for _ in range(3):
        for at in range(0, len(PAGE), size):
            connection.data_received(PAGE[at : at + size])
    assert replies == [0, 1, 2]


async def test_another_http_status_ends_the_run() -> None:
    connection = HttpConnection(b"201", lambda: pytest.fail("that is no success"))
    flood: Flood[None] = Flood(options(), lambda _number: connection.data_received(PAGE))
    with pytest.raises(RuntimeError, match="200 OK"):
        await flood.run([0], [connection.ended])


def test_each_post_has_a_client_id_of_its_own() -> None:
    made = http_requests(argparse.Namespace(channel=["a", "b"], token="t", text_bytes=9))
    requests = [next(made).partition(b"\r\n\r\n") for _ in range(100)]
    bodies = [json.loads(body) for _head, _, body in requests]
    assert len({body["client_id"] for body in bodies}) == 100
    assert {body["text"] for body in bodies} == {"x" * 9}
    for head, _, body in requests:
        assert f"Content-Length: {len(body)}".encode() in head
    assert [head.split()[1] for head, _, _ in requests[:2]] == [
        b"/v1/channels/a/messages",
        b"/v1/channels/b/messages",
    ]


def frame(packet: bytes) -> bytes:
    if len(packet) < 126:
        return bytes((0x81, len(packet))) + packet
    return b"\x81\x7e" + len(packet).to_bytes(2, "big") + packet


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
async def test_socket_io_packets_are_told_apart(size: int) -> None:
    wire, packets = Wire(), list[bytes]()
    client = SocketIo("bench", "token")
    client.on_packet = packets.append
    client.connection_made(wire)  # type: ignore[arg-type]
    broadcast = b'42["message",{"text":"' + b"x" * 300 + b'"}]'
    sent = b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + b"".join(
        map(frame, [b'0{"sid":"1"}', b'40{"sid":"2"}', broadcast, b"2", broadcast, b"431[]"])
    )
    for at in range(0, len(sent), size):
        client.data_received(sent[at : at + size])
    assert client.joined.done()
    assert packets == [broadcast, broadcast, b"431[]"]
    assert [data[6:] for data in wire.written[1:]] == [b'40{"token": "token"}', b"3"]


class Piped:
    """A client whose bytes come out of a socket."""

    def __init__(self) -> None:
        self.far, self.near = socket.socketpair()
        self.near.setblocking(False)
        self.sent: list[bytes] = []

    def fileno(self) -> int:
        return self.near.fileno()

    def pause(self) -> None:
        pass

    def send(self, packet: bytes) -> None:
        self.sent.append(packet)


@pytest.mark.parametrize("size", [1, 3, 11, 12, 13, 400, 10_000])
async def test_a_sweep_counts_each_broadcast_once(size: int) -> None:
    client, tally = Piped(), Tally()
    sweep = Sweep([client], tally)  # type: ignore[list-item]
    broadcast = frame(b'42["message",{"text":"' + b"x" * 300 + b'"}]')
    sent = broadcast * 5 + frame(b"431[]") + broadcast + frame(b"2")
    for at in range(0, len(sent), size):
        client.far.send(sent[at : at + size])
        sweep.look()
        sweep.look()
    assert tally.counted == 6
    assert not sweep.broken
    if size == 10_000:
        assert client.sent == [b"3"]
    client.far.close()
    sweep.look()
    assert sweep.broken
    client.near.close()


async def test_a_refused_socket_io_client_says_so() -> None:
    client = SocketIo("bench", "token")
    client.connection_made(Wire())  # type: ignore[arg-type]
    client.data_received(b"HTTP/1.1 101 S\r\n\r\n" + frame(b'44{"message":"unauthenticated"}'))
    with pytest.raises(RuntimeError, match="unauthenticated"):
        await client.ended


async def test_a_flood_keeps_so_many_calls_going_and_no_more() -> None:
    under_way: list[tuple[int, int]] = []
    most = begun = 0

    def start(connection: int) -> int:
        nonlocal begun, most
        begun += 1
        under_way.append((connection, begun))
        most = max(most, len(under_way))
        asyncio.get_running_loop().call_soon(end, (connection, begun))
        return begun

    def end(call: tuple[int, int]) -> None:
        under_way.remove(call)
        flood.ended(*call)

    flood: Flood[int] = Flood(options(calls=50), start)
    figures = await flood.run([0, 1, 0, 1, 0], [])
    assert (figures["calls"], begun, most, under_way) == (50, 50, 5, [])
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


async def test_a_lost_connection_ends_a_flood() -> None:
    lost = asyncio.get_running_loop().create_future()
    lost.set_result(None)
    flood: Flood[int] = Flood(options(), lambda _connection: 1)
    with pytest.raises(RuntimeError, match="did not answer to the end"):
        await flood.run([0], [lost])


@pytest.mark.parametrize(("came", "expected"), [(6, 6), (7, 6), (3, 6)])
async def test_a_tally_wants_every_delivery_once(
    came: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.tally.LATE_SECONDS", 0.0)
    tally = Tally()
    tally.add(5)  # Before the first line: not of this run.

    class Lines(io.StringIO):
        def readline(self, *_: Any) -> str:
            text = super().readline()
            if text != "\n":
                for _number in range(came):
                    tally.add(1)
            return text

    monkeypatch.setattr("sys.stdin", Lines(f"\n{expected}\n"))
    if came == expected:
        assert (await tally.between_lines(lambda: False))["events"] == expected
    else:
        with pytest.raises(RuntimeError, match=f"{came} deliveries, {expected} expected"):
            await tally.between_lines(lambda: False)

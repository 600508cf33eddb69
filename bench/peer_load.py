"""Load programs for the peers, each a process of its own: they print one JSON object and end.

As frugal as those for our own server, so that the peer is what is measured. ``http``: one request
after the other on each of many kept connections. ``join``: Socket.IO subscribers that count what is
broadcast to them. ``emit``: Socket.IO senders that wait for the acknowledgement of what they sent.
"""

import argparse
import asyncio
import base64
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import uvloop

from bench.tally import Flood, Tally

SENDERS = 4
SWEEP_SECONDS = 0.01
_OPENED = b'0{"sid"'
_JOINED = b'40{"sid"'
_BROADCAST = b'42["message",'
_ACKNOWLEDGED = b"43"
_LENGTH = b"\r\nContent-Length: "
_PING, _PONG = b"2", b"3"
_PING_FRAME = b"\x81\x01" + _PING
_READ_BYTES = 1 << 18


class HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 connection with at most one request under way."""

    def __init__(self, expected: bytes, on_reply: Callable[[], None]) -> None:
        self._expected = expected
        self._on_reply = on_reply
        self._pending = bytearray()
        self._wanted = 0
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps what to write to."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        """Sends a request; ``on_reply`` is told when its reply is there."""
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Finds where the reply ends by its content-length."""
        pending = self._pending
        pending += data
        if not self._wanted:
            head = pending.find(b"\r\n\r\n")
            if head < 0:
                return
            at = pending.index(_LENGTH, 0, head + 2) + len(_LENGTH)
            self._wanted = head + 4 + int(pending[at : pending.index(b"\r\n", at)])
        if len(pending) >= self._wanted:
            if pending[9:12] != self._expected:
                self.ended.set_exception(RuntimeError(pending[: self._wanted].decode()))
                return
            del pending[: self._wanted]
            self._wanted = 0
            self._on_reply()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever waits."""
        if not self.ended.done():
            self.ended.set_result(exc)


def http_requests(options: argparse.Namespace) -> Iterator[bytes]:
    """GETs without ``--text-bytes``; with it, POSTs with client ids that were never used before."""
    run = os.urandom(6).hex()
    text = "x" * options.text_bytes
    number = 0
    while True:
        channel = options.channel[number % len(options.channel)]
        common = (
            f"/v1/channels/{channel}/messages{'' if text else '?limit=50'} HTTP/1.1\r\n"
            f"Host: bench\r\nAuthorization: Bearer {options.token}\r\n"
        )
        if text:
            body = json.dumps({"client_id": f"{run}-{number}", "text": text})
            common += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            yield f"POST {common}\r\n{body}".encode()
        else:
            yield f"GET {common}\r\n".encode()
        number += 1


async def http(options: argparse.Namespace) -> dict[str, Any]:
    """As many connections as calls in flight, each with one under way."""
    requests = http_requests(options)
    expected = b"201" if options.text_bytes else b"200"
    loop = asyncio.get_running_loop()
    host, _, port = options.target.rpartition(":")
    connections: list[HttpConnection] = []

    def ask(number: int) -> None:
        connections[number].ask(next(requests))

    flood: Flood[None] = Flood(options, ask)
    for number in range(options.in_flight):
        _transport, connection = await loop.create_connection(
            partial(HttpConnection, expected, partial(flood.ended, number, None)), host, int(port)
        )
        connections.append(connection)
    lost = [connection.ended for connection in connections]
    return await flood.run(range(options.in_flight), lost)


class SocketIo(asyncio.Protocol):
    """One Socket.IO client on a WebSocket (Engine.IO 4), as far as a load run needs it."""

    def __init__(self, host: str, token: str) -> None:
        self._host = host
        self._token = token
        self._pending = bytearray()
        self._transport: asyncio.Transport | None = None
        self._upgraded = False
        self.on_packet: Callable[[bytes], None] = lambda _packet: None
        loop = asyncio.get_running_loop()
        self.joined = loop.create_future()
        self.ended = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asks for the WebSocket."""
        self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def send(self, packet: bytes) -> None:
        """Sends a text frame. Its mask is zero, as allowed, which spares both sides the work."""
        size = len(packet)
        length = struct.pack("!BBH", 0x81, 254, size) if size > 125 else bytes((0x81, 128 + size))
        assert self._transport is not None
        self._transport.write(length + b"\0\0\0\0" + packet)

    def pause(self) -> None:
        """Leaves what comes from now on to whoever reads the file itself."""
        assert self._transport is not None
        self._transport.pause_reading()

    def fileno(self) -> int:
        """The socket, which never blocks."""
        assert self._transport is not None
        return int(self._transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        """Takes what came apart into frames."""
        pending = self._pending
        pending += data
        at = 0
        if not self._upgraded:
            end = pending.find(b"\r\n\r\n")
            if end < 0:
                return
            if not pending.startswith(b"HTTP/1.1 101"):
                self.ended.set_exception(RuntimeError(pending[:end].decode()))
                return
            self._upgraded, at = True, end + 4
        size = len(pending)
        while size - at >= 2:
            length, head = pending[at + 1], 2
            if length == 126:
                length, head = int.from_bytes(pending[at + 2 : at + 4], "big"), 4
            if size - at < head + length:
                break
            self._packet(bytes(pending[at + head : at + head + length]))
            at += head + length
        del pending[:at]

    def _packet(self, packet: bytes) -> None:
        if packet == _PING:
            self.send(_PONG)
        elif packet.startswith(_OPENED):
            self.send(b"40" + json.dumps({"token": self._token}).encode())
        elif packet.startswith(_JOINED):
            self.joined.set_result(None)
        elif packet.startswith(b"44"):
            self.ended.set_exception(RuntimeError(packet.decode()))
        else:
            self.on_packet(packet)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever waits."""
        if not self.ended.done():
            self.ended.set_result(exc)


async def socket_io(options: argparse.Namespace) -> SocketIo:
    """A connected and admitted client."""
    host, _, port = options.target.rpartition(":")
    _transport, client = await asyncio.get_running_loop().create_connection(
        lambda: SocketIo(options.target, options.token), host, int(port)
    )
    wanted = [client.joined, client.ended]
    await asyncio.wait(wanted, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    if not client.joined.done():
        raise RuntimeError("the peer let nobody in") from (
            client.ended.exception() if client.ended.done() else None
        )
    return client


class Sweep:
    """Counts broadcasts by looking at every socket now and then, instead of being woken for each frame.

    A frame costs its reader more than the server that wrote it if it is read alone; this way many come
    with one call, as they do to whoever is busy.
    """

    def __init__(self, clients: list[SocketIo], tally: Tally) -> None:
        self._tails = dict.fromkeys(clients, b"")
        self._tally = tally
        self.broken = False

    async def run(self) -> None:
        """Goes on until it is cancelled."""
        for client in self._tails:
            client.pause()
        while True:
            self.look()
            await asyncio.sleep(SWEEP_SECONDS)

    def look(self) -> None:
        """Takes what has come on each of the sockets."""
        for client, tail in self._tails.items():
            self._tails[client] = self._take(client, tail)

    def _take(self, client: SocketIo, tail: bytes) -> bytes:
        try:
            data = os.read(client.fileno(), _READ_BYTES)
        except BlockingIOError:
            return tail
        self.broken = self.broken or not data
        if data.endswith(_PING_FRAME):
            client.send(_PONG)
        data = tail + data
        self._tally.add(data.count(_BROADCAST))
        # What is left is shorter than what is looked for, so nothing counts twice.
        return data[1 - len(_BROADCAST) :]


async def join(options: argparse.Namespace) -> dict[str, Any]:
    """Counts what is broadcast to ``streams`` clients between two lines on standard input."""
    clients = [await socket_io(options) for _ in range(options.streams)]
    watching = asyncio.Semaphore(0)

    def on_packet(packet: bytes) -> None:
        if packet.startswith(_ACKNOWLEDGED):
            watching.release()

    for client in clients:
        client.on_packet = on_packet
        client.send(b"420" + json.dumps(["watch", options.channel]).encode())
    async with asyncio.timeout(30):
        for _ in clients:
            await watching.acquire()
    tally = Tally()
    sweep = Sweep(clients, tally)
    task = asyncio.create_task(sweep.run())
    figures = await tally.between_lines(lambda: sweep.broken or task.done())
    task.cancel()
    return {**figures, "events_per_reply": 1.0}


async def emit(options: argparse.Namespace) -> dict[str, Any]:
    """Keeps ``in_flight`` sends going over four clients."""
    run = os.urandom(6).hex()
    text = "x" * options.text_bytes
    clients = [await socket_io(options) for _ in range(SENDERS)]
    sent = 0

    def send(number: int) -> int:
        nonlocal sent
        sent += 1
        channel = options.channel[sent % len(options.channel)]
        body = json.dumps(["send", channel, f"{run}-{sent}", text]).encode()
        clients[number].send(b"42" + str(sent).encode() + body)
        return sent

    flood: Flood[int] = Flood(options, send)

    def on_packet(number: int, packet: bytes) -> None:
        if packet.startswith(_ACKNOWLEDGED):
            flood.ended(number, int(packet[2 : packet.index(b"[")]))

    for number, client in enumerate(clients):
        client.on_packet = partial(on_packet, number)
    starts = [number % SENDERS for number in range(options.in_flight)]
    return await flood.run(starts, [client.ended for client in clients])


def main() -> None:
    """Runs one program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("program", choices=["http", "join", "emit"])
    parser.add_argument("--target", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--channel", action="append", default=[])
    parser.add_argument("--text-bytes", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--calls", type=int, default=sys.maxsize)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--streams", type=int, default=100)
    options = parser.parse_args()
    program = {"http": http, "join": join, "emit": emit}[options.program]
    print(json.dumps(uvloop.run(program(options))), flush=True)


if __name__ == "__main__":
    main()

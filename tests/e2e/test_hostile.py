"""Peers that mean harm, on HTTP/2 by hand: what they do stays on their own connection."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, ResponseReceived, StreamReset
from h2.settings import SettingCodes, Settings

from greenroom.chat.v1 import message_service_pb2 as message_pb
from tests.e2e.second_envoy import edge
from tests.e2e.test_streams import send
from tests.support.site import Person, Site, running

SNOWMAN = "\u2603"


class Peer:
    """One HTTP/2 connection of which every frame is the test's."""

    def __init__(self, address: str, window: int = 65535) -> None:
        host, _, port = address.partition(":")
        self._socket = socket.create_connection((host, int(port)), 10)
        self.connection = H2Connection(
            H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.connection.local_settings = Settings(
            client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
        )
        self.connection.initiate_connection()
        self.flush()

    def ask(self, path: str, *more: tuple[str, str], body: bytes | None = None) -> int:
        """Sends a request; the number of its stream."""
        stream = self.connection.get_next_available_stream_id()
        headers = [
            (":method", "GET" if body is None else "POST"),
            (":path", path),
            (":scheme", "http"),
            (":authority", "greenroom"),
            *more,
        ]
        self.connection.send_headers(stream, headers, end_stream=body is None)
        if body is not None:
            self.connection.send_data(stream, body, end_stream=True)
        return stream

    def flush(self) -> None:
        """Puts on the wire what was asked so far."""
        self._socket.sendall(self.connection.data_to_send())

    def events(self) -> Iterator[Event]:
        """What arrives, until the other side hangs up."""
        with contextlib.suppress(ConnectionError):
            while chunk := self._socket.recv(65536):
                yield from self.connection.receive_data(chunk)
                self.flush()

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()


@contextmanager
def peer(address: str, window: int = 65535) -> Iterator[Peer]:
    opened = Peer(address, window)
    try:
        yield opened
    finally:
        opened.close()


def assert_others_are_served(address: str, person: Person) -> None:
    for _ in range(3):
        began = time.monotonic()
        reply = httpx.get(f"http://{address}/v1/auth/me", headers=person.headers, timeout=10)
        assert reply.status_code == 200
        assert time.monotonic() - began < 5


def test_replies_that_nobody_reads_hold_up_nobody_else(tmp_path: Path) -> None:
    """Over gRPC, where Envoy does not keep the whole reply; all share one worker."""
    with running(tmp_path, drain_seconds=1) as site:
        ann, bob = site.person("ann"), site.person("bob")
        room = site.channel(ann, bob)
        send(site, ann, room, [SNOWMAN * 4000] * 200)
        request = message_pb.ListMessagesRequest(channel_id=room, page_size=200)
        message = request.SerializeToString()
        body = b"\x00" + struct.pack(">I", len(message)) + message
        headers = (
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("authorization", ann.headers["authorization"]),
        )
        path = "/greenroom.chat.v1.MessageService/ListMessages"
        with (
            edge(tmp_path, {"GRPC_PORT": site.environ["GRPC_PORT"]}) as address,
            peer(address, window=1) as reader,
        ):
            streams = {reader.ask(path, *headers, body=body) for _ in range(150)}
            reader.flush()
            for event in reader.events():
                if isinstance(event, ResponseReceived):
                    streams.discard(event.stream_id)
                if not streams:
                    break
            assert_others_are_served(address, bob)


def test_who_resets_all_it_asks_for_is_disconnected(site: Site) -> None:
    person = site.person()
    with peer(site.address) as attacker:
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                stream = attacker.ask("/v1/auth/me")
                attacker.connection.reset_stream(stream)
                attacker.flush()
        # Ends when the other side hangs up, and times out when it does not.
        assert not [event for event in attacker.events() if isinstance(event, ResponseReceived)]
    assert_others_are_served(site.address, person)


@pytest.mark.parametrize(
    "headers",
    [
        [("x-long", "x" * 200_000)],
        [(f"x-{number}", "1") for number in range(500)],
        [("x_real_ip", "192.0.2.7")],
        [("x-null", "a\x00b")],
        [("X-Upper", "a")],
        [(":path", "/twice")],
        [("connection", "close")],
    ],
    ids=["long", "many", "underscore", "null", "upper", "pseudo", "connection"],
)
def test_headers_that_must_not_be(site: Site, headers: list[tuple[str, str]]) -> None:
    person = site.person()
    with peer(site.address) as attacker:
        stream = attacker.ask("/v1/auth/me", *headers)
        with contextlib.suppress(ConnectionError):
            attacker.flush()
        status = ""
        for event in attacker.events():
            if isinstance(event, ResponseReceived):
                status = dict(event.headers)[b":status"].decode()
            if isinstance(event, ResponseReceived | StreamReset | ConnectionTerminated):
                break
        assert status in ("", "400", "431"), stream
    assert_others_are_served(site.address, person)


async def test_connections_that_say_nothing(site: Site) -> None:
    person = await asyncio.to_thread(site.person)
    host, _, port = site.address.partition(":")
    opened = await asyncio.gather(
        *(asyncio.open_connection(host, int(port)) for _ in range(300)), return_exceptions=True
    )
    try:
        assert not [each for each in opened if isinstance(each, BaseException)]
        await asyncio.to_thread(assert_others_are_served, site.address, person)
    finally:
        for each in opened:
            if not isinstance(each, BaseException):
                each[1].close()

"""A gRPC client of a few bytes: HTTP/2 frames written by hand over asyncio.

The load generator shares two cores with the server it measures, and grpc.aio's client costs about as
much a call as the server does. This one knows only what a load run needs: requests of one message,
flow control that never stops it, and where a reply ends. Whether the replies were good is for the
server's own counters to say.
"""

import asyncio
from collections.abc import Callable
from typing import cast

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_WINDOW = (1 << 31) - 1


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload
    )


_FIRST_DYNAMIC = 62
"""Index of the newest entry of the dynamic table (RFC 7541, 2.3.3)."""


def _remembered(name: str, value: str) -> bytes:
    """A header field that the peer puts into its table (RFC 7541, 6.2.1)."""
    return b"\x40" + _string(name) + _string(value)


def _recalled(count: int) -> bytes:
    """The ``count`` fields that were put there last, in their order (RFC 7541, 6.1)."""
    return bytes(0x80 | _FIRST_DYNAMIC + age for age in reversed(range(count)))


def _string(text: str) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text.encode()
    head, rest = b"\x7f", size - 127
    while rest >= 128:
        head += bytes((rest % 128 + 128,))
        rest //= 128
    return head + bytes((rest,)) + text.encode()


def _prefixed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


class Connection(asyncio.Protocol):
    """One HTTP/2 connection. ``on_end(stream)`` tells of a finished call, ``on_message(payload)`` of
    each message of a reply."""

    def __init__(
        self,
        path: str,
        token: str,
        on_end: Callable[[int], None],
        on_message: Callable[[bytes], None] | None = None,
    ) -> None:
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "bench"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        if token:
            fields.append(("authorization", f"Bearer {token}"))
        # As real clients do: spelled out once a connection, a byte for each field from then on.
        self._first_block = b"".join(_remembered(*field) for field in fields)
        self._block = _recalled(len(fields))
        self._on_end = on_end
        self._on_message = on_message
        self._next = 1
        self._pending = bytearray()
        self._parts: dict[int, bytearray] = {}
        self._transport: asyncio.Transport | None = None
        self.ended = asyncio.get_running_loop().create_future()
        """Done when the connection is closed, with the reason."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says hello, and that the server may send without ever waiting for a window."""
        # uvloop's transport is one in all but name.
        self._transport = opened = cast("asyncio.Transport", transport)
        settings = (4).to_bytes(2, "big") + _WINDOW.to_bytes(4, "big")
        opened.write(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(8, 0, 0, (_WINDOW - 65_535).to_bytes(4, "big"))
        )

    def call(self, message: bytes) -> int:
        """Sends a request of one message; the number of its stream."""
        stream, headers = self._headers()
        assert self._transport is not None
        self._transport.write(headers + _frame(_DATA, 1, stream, _prefixed(message)))
        return stream

    def open(self) -> int:
        """Opens a call whose messages follow one by one; the number of its stream."""
        stream, headers = self._headers()
        assert self._transport is not None
        self._transport.write(headers)
        return stream

    def add(self, stream: int, message: bytes) -> None:
        """Sends the next message of an open call. Nobody looks at the window: whoever waits for answers
        before sending more never comes near to its end."""
        assert self._transport is not None
        self._transport.write(_frame(_DATA, 0, stream, _prefixed(message)))

    def _headers(self) -> tuple[int, bytes]:
        stream, self._next = self._next, self._next + 2
        block = self._first_block if stream == 1 else self._block
        return stream, _frame(_HEADERS, 4, stream, block)

    def data_received(self, data: bytes) -> None:
        """Takes what came apart into frames."""
        pending = self._pending
        pending += data
        at, size = 0, len(pending)
        while size - at >= 9:
            length = int.from_bytes(pending[at : at + 3], "big")
            if size - at - 9 < length:
                break
            kind, flags = pending[at + 3], pending[at + 4]
            stream = int.from_bytes(pending[at + 5 : at + 9], "big")
            if kind == _DATA and self._on_message is not None:
                self._collect(stream, bytes(pending[at + 9 : at + 9 + length]))
            elif kind not in (_DATA, _HEADERS):
                self._control(kind, flags, bytes(pending[at + 9 : at + 9 + length]))
            if stream and (kind == _RESET or (kind in (_DATA, _HEADERS) and flags & 1)):
                self._on_end(stream)
            at += 9 + length
        del pending[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells whoever waits."""
        if not self.ended.done():
            self.ended.set_result(exc)

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.close()

    def _control(self, kind: int, flags: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == _SETTINGS and not flags & 1:
            self._transport.write(_frame(_SETTINGS, 1, 0, b""))
        elif kind == _PING and not flags & 1:
            self._transport.write(_frame(_PING, 1, 0, payload))
        elif kind == _GOAWAY:
            self._transport.close()

    def _collect(self, stream: int, payload: bytes) -> None:
        """Puts messages together that come in several frames."""
        assert self._on_message is not None
        parts = self._parts.get(stream)
        if parts is None:
            if len(payload) >= 5 and int.from_bytes(payload[1:5], "big") == len(payload) - 5:
                self._on_message(payload[5:])  # The common case: one message, one frame.
                return
            parts = self._parts[stream] = bytearray()
        parts += payload
        while len(parts) >= 5:
            length = int.from_bytes(parts[1:5], "big")
            if len(parts) < 5 + length:
                return
            self._on_message(bytes(parts[5 : 5 + length]))
            del parts[: 5 + length]
        if not parts:
            del self._parts[stream]


async def connect(
    target: str,
    path: str,
    token: str,
    on_end: Callable[[int], None],
    on_message: Callable[[bytes], None] | None = None,
) -> Connection:
    """An open connection to ``host:port``."""
    host, _, port = target.rpartition(":")
    loop = asyncio.get_running_loop()
    _transport, connection = await loop.create_connection(
        lambda: Connection(path, token, on_end, on_message), host, int(port)
    )
    return connection

"""Reads the metadata and the peer of a call: request id, trace, address, credentials."""

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import unquote

from grpc import aio

Network = IPv4Network | IPv6Network

METADATA: "ContextVar[Iterable[tuple[str, str | bytes]]]" = ContextVar("metadata", default=())
"""The metadata of the call whose task this is, as grpc.aio has them when it looks for the handler; the
context would decode them once more."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
LONGEST_AGENT = 256
"""Characters of a user agent that are kept."""


class Arrival:
    """What is known of a call before anything of it is checked."""

    __slots__ = ("address", "authorization", "request_id", "traceparent", "user_agent")

    def __init__(self) -> None:
        self.request_id = ""
        self.traceparent = ""
        self.address = ""
        self.user_agent = ""
        self.authorization = ""


class ArrivalReader:
    """Makes an :class:`Arrival` of a call's context.

    ``x-forwarded-for`` counts only when the peer is one of the trusted proxies, and then only its
    last entry: the one that the proxy itself has added.
    """

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        self._trusted = tuple(ip_network(proxy) for proxy in trusted_proxies)
        self._peers: dict[str, tuple[str, bool]] = {}
        self._prefix = secrets.token_hex(6)
        self._count = 0

    def read(self, context: "aio.ServicerContext[Any, Any]") -> Arrival:
        """Everything in one pass over the metadata."""
        arrival = Arrival()
        forwarded = ""
        metadata = METADATA.get()
        METADATA.set(())  # A stream would hold them for as long as it is open.
        for key, value in metadata:
            if key == "authorization":
                arrival.authorization = _text(value)
            elif key == "x-request-id":
                text = _text(value)
                if _REQUEST_ID.match(text):
                    arrival.request_id = text
            elif key == "user-agent":
                arrival.user_agent = _text(value)[:LONGEST_AGENT]
            elif key == "x-forwarded-for":
                forwarded = _text(value)
            elif key == "traceparent":
                text = _text(value)
                if _TRACEPARENT.match(text):
                    arrival.traceparent = text
        if not arrival.request_id:
            self._count += 1
            arrival.request_id = f"{self._prefix}-{self._count:x}"
        arrival.address = self._address(context.peer(), forwarded)
        return arrival

    def _address(self, peer: str, forwarded: str) -> str:
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) > 10_000:
                self._peers.clear()
            known = self._peers[peer] = self._parsed(peer)
        address, trusted = known
        if trusted and forwarded:
            last = forwarded.rpartition(",")[2].strip()
            try:
                return ip_address(last).compressed
            except ValueError:
                return address
        return address

    def _parsed(self, peer: str) -> tuple[str, bool]:
        """Address of a peer such as ``ipv4:127.0.0.1:5`` or ``ipv6:%5B::1%5D:5``."""
        scheme, _, rest = unquote(peer).partition(":")
        if scheme == "unix":
            return "unix", True
        host = rest.rpartition(":")[0].strip("[]")
        try:
            address = ip_address(host)
        except ValueError:
            return peer[:64], False
        return address.compressed, any(address in network for network in self._trusted)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")

"""Reads the metadata and the peer of a call: request id, trace, address, credentials."""

import asyncio
import re
import secrets
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote

from grpc import aio

from server.wire.call import Call

V = TypeVar("V")
Network = IPv4Network | IPv6Network

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Metadata: TypeAlias = Iterable[tuple[str, Any]]
"""Values are text, or bytes where the key ends with ``-bin``."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
LONGEST_AGENT = 256
"""Characters of a user agent that are kept."""
LONGEST_ADDRESS = 64
"""Characters of an address that a proxy tells of; none is longer."""
MOST_PEERS = 10_000
"""Peers, and addresses that proxies told of, whose text is remembered as it was read."""
_NONE_FOUND: "tuple[asyncio.Task[Any] | None, Metadata]" = (None, ())


class ArrivalReader:
    """Reads what came with a call.

    ``x-forwarded-for`` counts only when the peer is one of the trusted proxies, and then only its
    last entry: the one that the proxy itself has added.
    """

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        self._trusted = tuple(ip_network(proxy) for proxy in trusted_proxies)
        self._peers: dict[str, tuple[str, bool]] = {}
        self._forwarded: dict[str, str] = {}
        self._prefix = secrets.token_hex(6)
        self._count = 0
        self.found: tuple[asyncio.Task[Any] | None, Metadata] = _NONE_FOUND
        """The task for which a handler was found last, and the metadata of its call, which grpc.aio has
        at hand then; the context would decode them once more."""

    def read(self, call: Call, context: Context, task: "asyncio.Task[Any] | None") -> str:
        """Fills in what the metadata and the peer tell of a call that was just opened in a task, in one
        pass; returns the bearer token that came with it (RFC 6750), empty when there is none."""
        found_for, metadata = self.found
        if found_for is task and task is not None:
            self.found = _NONE_FOUND
        else:
            # Another call came in between: grpc.aio does not let one today.
            metadata = context.invocation_metadata() or ()
        token = forwarded = ""
        for key, value in metadata:
            if key == "authorization":
                token = value[7:].strip() if value.startswith("Bearer ") else _bearer(value)
            elif key == "user-agent":
                call.user_agent = value[:LONGEST_AGENT]
            elif key == "x-request-id":
                if _REQUEST_ID.match(value):
                    call.request_id = value
            elif key == "x-forwarded-for":
                forwarded = value
            elif key == "traceparent" and _TRACEPARENT.match(value):
                call.traceparent = value
        if not call.request_id:
            self._count += 1
            call.request_id = f"{self._prefix}-{self._count:x}"
        peer = context.peer()
        known = self._peers.get(peer)
        if known is None:
            known = _keep(self._peers, peer, self._parsed(peer))
        call.address, trusted = known
        if forwarded and trusted:
            call.address = self._told(forwarded, call.address)
        return token

    def _told(self, forwarded: str, proxy: str) -> str:
        """The address that a trusted proxy names last, or its own when that is none."""
        last = forwarded.rpartition(",")[2].strip()
        address = self._forwarded.get(last)
        if address is None and len(last) <= LONGEST_ADDRESS:
            try:
                address = ip_address(last).compressed
            except ValueError:
                address = ""
            _keep(self._forwarded, last, address)
        return address or proxy

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


def _bearer(authorization: str) -> str:
    """The token of an ``authorization`` value; empty when it holds none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _keep(known: dict[str, V], key: str, value: V) -> V:
    """Remembers a value, among so many."""
    if len(known) > MOST_PEERS:
        known.clear()
    known[key] = value
    return value

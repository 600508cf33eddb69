"""Requests to providers, which are strangers: to the hosts that the settings name and no others,
without redirects, within a time and a size."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx
import orjson

from server.auth.errors import ProviderUnavailable
from server.auth.gateways.trust import trusted_authorities

logger = logging.getLogger(__name__)

MOST_BYTES = 256 * 1024
"""Of an answer; what is longer is not read to its end."""

_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "Greenroom"}


class Reply(NamedTuple):
    """A provider's answer: its status, and its JSON (``None`` where there is none)."""

    status: int
    content: Any


def origin_of(address: str) -> str:
    """Scheme, host and port of an address, as the client that will ask it reads them; empty for what
    is none."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return ""
    port = url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
    if not 0 < port < 1 << 16 or not url.raw_host or url.userinfo:
        return ""
    return f"{url.scheme}://{url.raw_host.decode('ascii')}:{port}"


class ProviderHttp:
    """Fetches JSON from providers. Made on any thread, used on the loop's."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # A proxy of the environment is not asked: what is set is set in one place.
        self._client = httpx.AsyncClient(
            timeout=seconds,
            follow_redirects=False,
            trust_env=False,
            verify=trusted_authorities(),
            headers=_HEADERS,
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=10),
        )

    async def close(self) -> None:
        """Lets go of the connections."""
        await self._client.aclose()

    async def get(self, url: str, *, within: frozenset[str], token: str = "") -> Reply:
        """GETs an address of one of the origins ``within``, with a bearer token if there is one."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self._fetch("GET", url, within, headers, None)

    async def post(self, url: str, form: Mapping[str, str], *, within: frozenset[str]) -> Reply:
        """POSTs a form to an address of one of the origins ``within``."""
        return await self._fetch("POST", url, within, {}, form)

    async def _fetch(
        self,
        method: str,
        url: str,
        within: frozenset[str],
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
    ) -> Reply:
        origin = origin_of(url)
        if origin not in within:
            raise self._unavailable(origin, "an origin that is not the provider's")
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(method, url, headers=dict(headers), data=form) as response,
            ):
                body = await _read(response)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            spent = time.monotonic() - began
            raise self._unavailable(origin, f"{type(error).__name__} after {spent:.1f} s") from None
        if body is None:
            raise self._unavailable(origin, "an answer that is too long or compressed")
        if response.status_code >= 500 or response.status_code == 429 or response.is_redirect:
            raise self._unavailable(origin, f"status {response.status_code}")
        try:
            return Reply(response.status_code, orjson.loads(body))
        except orjson.JSONDecodeError:
            return Reply(response.status_code, None)

    def _unavailable(self, origin: str, what: str) -> ProviderUnavailable:
        """The error, after a line in the log that holds no more of the address than its origin."""
        logger.warning("identity provider %s: %s", origin or "without an address", what)
        return ProviderUnavailable()


async def _read(response: httpx.Response) -> bytes | None:
    """The body as it came over the wire; ``None`` where it is too long, or packed, which would
    unpack to any length."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return None
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)

"""Whether a process of the group serves yet."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable

_POLL_SECONDS = 0.02


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Returns when ``condition`` holds; ``TimeoutError`` after ``seconds``."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  (it is another process that changes)
            await asyncio.sleep(_POLL_SECONDS)


async def server_is_serving(host: str, port: int) -> bool:
    """True when the gRPC server says SERVING."""
    return await accepts(host, port) and await asyncio.to_thread(_says_serving, host, port)


async def accepts(host: str, port: int) -> bool:
    """True when somebody listens there."""
    try:
        _reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _says_serving(host: str, port: int) -> bool:
    # Imported when the server accepts: until then its own start needs the processor.
    from server.edge.health import is_serving

    return is_serving(host, port)


async def edge_is_serving(host: str, port: int, *, secure: bool) -> bool:
    """True when ``/healthz`` of Envoy's listener answers 200."""
    context: ssl.SSLContext | None = None
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False  # our own listener, by its address
        context.verify_mode = ssl.CERT_NONE
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return status.split(b" ")[1:2] == [b"200"]

"""The bare peer: grpc.aio on uvloop that echoes and streams, with nothing between it and the wire.

gRPC does as it does by default, unless GRPC_EXPERIMENTS of its environment says otherwise.
"""

import asyncio
import sys

import grpc
import uvloop
from grpc import aio

ECHO = "/bare.Bare/Echo"
STREAM = "/bare.Bare/Stream"


async def main(reply_bytes: int, event_bytes: int) -> None:
    """Serves until killed; prints its port. Replies have the size of the peer's replies."""
    reply = b"x" * reply_bytes
    event = b"x" * event_bytes

    async def echo(_request: bytes, _context: object) -> bytes:
        return reply

    async def stream(request: bytes, context: "aio.ServicerContext[bytes, bytes]") -> None:
        for _ in range(int(request)):
            await context.write(event)

    server = aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "bare.Bare",
                {
                    "Echo": grpc.unary_unary_rpc_method_handler(echo),
                    "Stream": grpc.unary_stream_rpc_method_handler(stream),
                },
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))

"""The server that is measured: started for the run, with people and channels in it."""

import asyncio
import contextlib
import email
import email.policy
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from grpc import aio

from bench.processes import Child, free_port, running, wait_until
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from greenroom.auth.v1 import user_pb2
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import channel_service_pb2_grpc as channel_grpc

PEOPLE = 6
BCRYPT_COST = 12
HASH_QUEUE = 16
PASSWORD = "a password for benchmarks only"
LIMITS = ("ADDRESS", "READ", "WRITE", "LOGIN", "MAIL", "CHAT", "EPHEMERAL", "STREAM")


@dataclass
class System:
    """A running server and somebody to be."""

    child: Child
    target: str
    envoy: str
    metrics_url: str
    db: str
    token: str = ""
    other_token: str = ""
    channels: list[str] = field(default_factory=list)

    def served(self, path: str, code: str = "OK") -> float:
        """How many calls the server itself counted; what a load generator believes is not enough."""
        method = path.removeprefix("/").replace("/", ".")
        with urllib.request.urlopen(self.metrics_url, timeout=5) as reply:
            text = reply.read().decode()
        pattern = (
            rf'^greenroom_rpc_calls_total{{code="{code}",method="{re.escape(method)}"}} (\S+)$'
        )
        match = re.search(pattern, text, re.MULTILINE)
        return float(match[1]) if match else 0.0


@contextlib.contextmanager
def served(db: str, database_url: str = "") -> Iterator[System]:
    """A server process of its own with every limit off, and two people with some channels."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        grpc_port, metrics_port = free_port(), free_port()
        environ = {
            "STATE_DIR": folder,
            "GRPC_PORT": str(grpc_port),
            "METRICS_PORT": str(metrics_port),
            "BCRYPT_COST": str(BCRYPT_COST),
            "HASH_QUEUE": str(HASH_QUEUE),
            "UNARY_LIMIT": "5000",
            "ACCESS_TOKEN_SECONDS": "86400",
            **{f"LIMIT_{name}": "off" for name in LIMITS},
            **({"DATABASE_URL": database_url} if database_url else {}),
        }
        with running(["-m", "server", "migrate"], environ=environ) as migration:
            migration.process.wait()
        log = Path(folder, "server.log")
        with running(["-m", "server", "serve"], environ=environ, log=log) as child:
            system = System(
                child,
                f"127.0.0.1:{grpc_port}",
                "",
                f"http://127.0.0.1:{metrics_port}/metrics",
                db,
            )
            asyncio.run(_populate(system, Path(folder, "mail"), log))
            yield system


async def _populate(system: System, mail: Path, log: Path) -> None:
    async with aio.insecure_channel(system.target) as channel:
        try:
            async with asyncio.timeout(20):
                await channel.channel_ready()
        except TimeoutError:
            raise RuntimeError(log.read_text()[-2000:]) from None
        people = [await _person(channel, mail, number) for number in range(PEOPLE)]
        system.token, system.other_token = people[0][1], people[1][1]
        channels = channel_grpc.ChannelServiceStub(channel)
        for user_id, _token in people[1:5]:
            reply = await channels.GetDirectChannel(
                channel_pb.GetDirectChannelRequest(user_id=user_id),
                metadata=(("authorization", f"Bearer {system.token}"),),
            )
            system.channels.append(reply.channel.id)


async def _person(channel: aio.Channel, mail: Path, number: int) -> tuple[str, str]:
    auth = auth_grpc.AuthServiceStub(channel)
    address = f"bench-{number}@example.com"
    await auth.SignUp(
        auth_pb.SignUpRequest(email=address, password=PASSWORD, persona=user_pb2.PERSONA_CREATOR)
    )
    await asyncio.to_thread(
        wait_until, lambda: any(mail.glob(f"*{address}*.eml")), 10, f"the mail to {address}"
    )
    (path,) = mail.glob(f"*{address}*.eml")
    body = email.message_from_bytes(path.read_bytes(), policy=email.policy.default).get_body(
        ("plain",)
    )
    assert body is not None
    token = re.search(r"^Token: (\S+)", body.get_content(), re.MULTILINE)
    assert token is not None
    await auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token[1]))
    reply = await auth.LogIn(auth_pb.LogInRequest(email=address, password=PASSWORD))
    return reply.signed_in.user.id, reply.signed_in.tokens.access_token

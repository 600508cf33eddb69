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
GUESTS = 6
"""People who only log in: so many sessions of theirs are opened that the longest unused end, which must
not be those that the other figures call with."""
BCRYPT_COST = 12
HASH_QUEUE = 16
PASSWORD = "a password for benchmarks only"
LIMITS = ("ADDRESS", "READ", "WRITE", "LOGIN", "MAIL", "CHAT", "EPHEMERAL", "STREAM")
OUT_OF_REACH = "999999999/1s"
"""A rate that refuses nobody, so that a call pays for its limits as it does elsewhere."""


def guest(number: int) -> str:
    """The address of one of the ``guests``."""
    return f"guest-{number}@example.com"


@dataclass
class System:
    """A running server and somebody to be."""

    child: Child
    target: str
    envoy: str
    metrics_url: str
    db: str
    database_url: str
    people: list[tuple[str, str]] = field(default_factory=list)
    """Id and access token of each."""
    channels: list[str] = field(default_factory=list)

    @property
    def token(self) -> str:
        """Of the first person, a member of all channels."""
        return self.people[0][1]

    @property
    def other_token(self) -> str:
        """Of the second person."""
        return self.people[1][1]

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
def database(db: str) -> Iterator[str]:
    """The URL of an empty database for one run; of SQLite the empty string: its file lies with the
    server's state."""
    if db == "sqlite":
        yield ""
        return
    from tests.support.databases import drop_database, fresh_database

    url = fresh_database("postgresql", migrated=False)
    try:
        yield url
    finally:
        drop_database(url)


@contextlib.contextmanager
def served(
    db: str,
    database_url: str = "",
    *,
    people: int = PEOPLE,
    guests: int = 0,
    **settings: str,
) -> Iterator[System]:
    """A server process of its own with every limit out of reach, and some people, the first of whom has a
    channel with each of the next four; ``guests`` more have an account."""
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
            **{f"LIMIT_{name}": OUT_OF_REACH for name in LIMITS},
            **({"DATABASE_URL": database_url} if database_url else {}),
            **settings,
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
                database_url or f"sqlite:///{folder}/greenroom.db",
            )
            asyncio.run(_populate(system, Path(folder, "mail"), log, people, guests))
            yield system


async def _populate(system: System, mail: Path, log: Path, people: int, guests: int) -> None:
    async with aio.insecure_channel(system.target) as channel:
        try:
            async with asyncio.timeout(20):
                await channel.channel_ready()
        except TimeoutError:
            raise RuntimeError(log.read_text()[-2000:]) from None
        # A few at a time: the hash pool refuses more than its queue holds.
        gate = asyncio.Semaphore(4)
        addresses = [f"bench-{number}@example.com" for number in range(people)]
        addresses += [guest(number) for number in range(guests)]
        everybody = await asyncio.gather(*(_person(channel, mail, to, gate) for to in addresses))
        system.people = everybody[:people]
        channels = channel_grpc.ChannelServiceStub(channel)
        for user_id, _token in system.people[1:5]:
            reply = await channels.GetDirectChannel(
                channel_pb.GetDirectChannelRequest(user_id=user_id),
                metadata=(("authorization", f"Bearer {system.token}"),),
            )
            system.channels.append(reply.channel.id)


async def _person(
    channel: aio.Channel, mail: Path, address: str, gate: asyncio.Semaphore
) -> tuple[str, str]:
    async with gate:
        return await _signed_up(channel, mail, address)


async def _signed_up(channel: aio.Channel, mail: Path, address: str) -> tuple[str, str]:
    auth = auth_grpc.AuthServiceStub(channel)
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

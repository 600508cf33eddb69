"""A tour of a running Greenroom: ``make run`` in one terminal, ``make demo`` in another.

Two people sign up and talk. A stream breaks and loses nothing, a stolen token kills its family, and
the same history is read over REST. One of them turns on a second factor and signs a lost device out;
somebody else comes in with a provider. Each step checks what it saw; the exit status is 0 only if every
one of them was seen to work. It can be run again and again on the same data.
"""

import argparse
import asyncio
import email
import email.policy
import json
import os
import re
import secrets
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import demo_accounts
import grpc
from grpc import aio

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth
from greenroom.auth.v1 import session_service_pb2 as sessions
from greenroom.auth.v1 import sign_in_pb2, user_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import message_service_pb2 as messages

PASSWORD = "an otter reads maps by moonlight"
MOST_PATIENCE_SECONDS = 60.0
T = TypeVar("T")


class NotSeen(Exception):
    """A step did not do what the tour promises."""


def expect(seen: bool, what: str) -> None:
    """Stops the tour unless it was seen."""
    if not seen:
        raise NotSeen(what)


def setting(name: str, default: str) -> str:
    """What ``make run`` would take: the environment first, then ``.env``."""
    found = dict(
        re.findall(r"^(\w+)=[\"']?(.*?)[\"']?\s*$", Path(".env").read_text(), re.M)
        if Path(".env").is_file()
        else ()
    )
    return os.environ.get(name) or found.get(name) or default


class Line:
    """A line between a client and the server that can be cut for real: both ends get a reset."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = (host, int(port))
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        """How often a client has come through it."""

    @property
    def address(self) -> str:
        """Its near end."""
        assert self._server is not None
        return "127.0.0.1:{1}".format(*self._server.sockets[0].getsockname())

    def cut(self) -> None:
        """Resets every connection; new ones go through."""
        for end in self._ends:
            reset = struct.pack("ii", 1, 0)
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            end.transport.abort()
        self._ends.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        self.connections += 1
        far, to_far = await asyncio.open_connection(*self._target)
        self._ends |= {to_near, to_far}
        for source, target in ((near, to_far), (far, to_near)):
            task = asyncio.create_task(self._pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(65536):
                target.write(piece)
                await target.drain()
        except ConnectionError:
            pass  # It was cut.
        finally:
            self._ends.discard(target)
            target.close()


class Tour:
    """The steps, and what one hands to the next."""

    def __init__(self, address: str, mail_dir: Path) -> None:
        self.address = address
        self.mail_dir = mail_dir
        self.run = secrets.token_hex(4)
        self.count = 0
        self._began = time.monotonic()

    def done(self, text: str) -> None:
        """Says that a step was seen to work, and how long it took."""
        self.count += 1
        now = time.monotonic()
        print(f"  \u2713 {text}  ({now - self._began:.2f} s)", flush=True)
        self._began = now

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Does what the server asks of those who come too often: comes back later."""
        while True:
            try:
                return await call()
            except aio.AioRpcError as error:
                wait = greenroom_client.retry_after_of(error)
                busy = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                if not busy or wait is None or wait > MOST_PATIENCE_SECONDS:
                    raise
                print(f"  \u2026 too often from here; the server asks for {wait:.1f} s", flush=True)
                await asyncio.sleep(wait)

    async def token_from_mail(self, address: str) -> str:
        """The token of the newest mail to an address."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            for path in sorted(self.mail_dir.glob("*.eml"), reverse=True):
                mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                if mail["To"] == address:
                    body = mail.get_body(("plain",))
                    match = re.search(r"^Token: (\S+)", body.get_content(), re.M) if body else None
                    if match:
                        return match[1]
            await asyncio.sleep(0.05)
        raise NotSeen(f"no mail to {address} in {self.mail_dir} (--mail-dir says where they land)")

    async def join(self, client: greenroom_client.Client, name: str) -> sign_in_pb2.SignedIn:
        """Signs somebody up, proves the address, logs in."""
        address = f"{name.lower()}-{self.run}@example.com"
        sign_up = auth.SignUpRequest(
            email=address,
            password=PASSWORD,
            display_name=name,
            persona=user_pb2.PERSONA_CREATOR,
        )
        reply = await self.patiently(lambda: client.auth.SignUp(sign_up))
        expect(reply.email == address, "the sign-up answers with the address")
        proof = auth.VerifyEmailRequest(token=await self.token_from_mail(address))
        await self.patiently(lambda: client.auth.VerifyEmail(proof))
        signed_in = await self.patiently(
            lambda: client.log_in(
                email=address, password=PASSWORD, device_name=f"{name}'s terminal"
            )
        )
        me = await client.auth.GetMe(auth.GetMeRequest())
        expect(me.user.email == address and list(me.user.roles) == ["creator"], "GetMe knows her")
        self.done(f"{name} signed up, read the mail, proved the address and logged in")
        return signed_in


class Inbox:
    """What a stream has brought so far."""

    def __init__(self, stream: greenroom_client.EventStream) -> None:
        self.stream = stream
        self.events: list[event_pb2.ChatEvent] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.stream:
            self.events.append(event)

    async def wait(self, seen: Callable[[list[event_pb2.ChatEvent]], bool], what: str) -> None:
        """Returns once the events satisfy a condition."""
        end = time.monotonic() + 20
        while not seen(self.events):
            if self._task.done():
                self._task.result()
            expect(time.monotonic() < end, what)
            await asyncio.sleep(0.01)

    @property
    def texts(self) -> list[str]:
        """The messages, in the order of their arrival."""
        return [event.message.text for event in self.events if event.HasField("message")]

    def close(self) -> None:
        """Stops reading."""
        self._task.cancel()


async def talk(
    tour: Tour, ada: greenroom_client.Client, ben: greenroom_client.Client, line: Line
) -> str:
    """Messages, typing and read marks over a live stream; returns the channel."""
    me = await ben.auth.GetMe(auth.GetMeRequest())
    opened = await ada.channels.GetDirectChannel(
        channels.GetDirectChannelRequest(user_id=me.user.id)
    )
    channel_id = opened.channel.id
    inbox = Inbox(ben.watch())
    await asyncio.wait_for(inbox.stream.live.wait(), 15)
    tour.done("Ben opened a live stream")

    await ada.channels.SendTyping(channels.SendTypingRequest(channel_id=channel_id))
    await inbox.wait(lambda events: any(event.HasField("typing") for event in events), "typing")
    began = time.monotonic()
    first = await send(ada, channel_id, "hello Ben")
    await inbox.wait(lambda _events: inbox.texts == ["hello Ben"], "the first message")
    tour.done(
        f"Ben saw Ada typing, and her message {1000 * (time.monotonic() - began):.0f} ms after it left"
    )

    again = await send(ada, channel_id, "hello Ben")
    expect(again == first, "the same client id is the same message")
    tour.done("sent twice under one client id, it is still one message")

    reading = Inbox(ada.watch())
    await asyncio.wait_for(reading.stream.live.wait(), 15)
    await ben.channels.MarkRead(channels.MarkReadRequest(channel_id=channel_id, seq=first.seq))
    await reading.wait(
        lambda events: any(
            event.HasField("read") and event.read.user_id == me.user.id for event in events
        ),
        "the read mark",
    )
    reading.close()
    tour.done("Ben read it, and Ada saw that he did")

    await cut_and_resume(tour, ada, inbox, line, channel_id)
    inbox.close()
    return channel_id


async def cut_and_resume(
    tour: Tour, ada: greenroom_client.Client, inbox: Inbox, line: Line, channel_id: str
) -> None:
    """Breaks the connection under the stream in the middle of a conversation."""
    before = line.connections
    said = ["hello Ben", *(f"line {number}" for number in range(1, 21))]
    for number, text in enumerate(said[1:]):
        if number % 6 == 3:
            line.cut()
        await send(ada, channel_id, text)
        if number % 6 == 5:
            opened = 2 + number // 6
            await inbox.wait(
                lambda _events, opened=opened: inbox.stream.connections >= opened,  # type: ignore[misc]
                "a new connection",
            )
    await inbox.wait(lambda _events: len(inbox.texts) >= len(said), "everything after the cuts")
    expect(inbox.texts == said, "nothing lost, nothing twice, all in order")
    broken = line.connections - before
    expect(broken == 3 and inbox.stream.connections >= 4, "the connection really was broken")
    tour.done(
        f"Ben's connection was broken {broken} times: nothing lost, nothing doubled, in order"
    )


async def send(client: greenroom_client.Client, channel_id: str, text: str) -> Any:
    """Sends a text whose client id is the text."""
    reply = await client.messages.SendMessage(
        messages.SendMessageRequest(
            channel_id=channel_id, client_id=f"{channel_id[-12:]}-{text}", text=text
        )
    )
    return reply.message


async def theft(tour: Tour, ada: greenroom_client.Client) -> None:
    """Somebody copies a refresh token and uses it after its owner did."""
    tokens = ada.keeper.tokens
    assert tokens is not None
    stolen = tokens.refresh
    await ada.keeper.renewed(tokens.access)
    renewed = ada.keeper.tokens
    assert renewed is not None
    # Two rotations later even the grace of an honest retry does not cover the stolen token.
    await ada.keeper.renewed(renewed.access)
    print(f"  \u2026 waiting out the grace of {GRACE_SECONDS:.0f} s for honest retries", flush=True)
    await asyncio.sleep(GRACE_SECONDS + 0.5)
    async with greenroom_client.connect(tour.address) as thief:
        try:
            await thief.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=stolen))
            raise NotSeen("a spent refresh token must not work")
        except aio.AioRpcError as error:
            reason = greenroom_client.reason_of(error)
            expect(reason == "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED", f"refused with {reason}")
    try:
        await ada.sessions.ListSessions(sessions.ListSessionsRequest())
        raise NotSeen("the session must die with its family")
    except greenroom_client.SignedOut:
        pass
    tour.done("a stolen refresh token was used: refused, and the whole family died with it")


GRACE_SECONDS = float(setting("REFRESH_GRACE_SECONDS", "10"))
PROVIDER_PORT = int(setting("DEV_OIDC_PORT", "9400"))


def over_rest(tour: Tour, token: str, channel_id: str) -> None:
    """The same history as JSON."""
    request = urllib.request.Request(
        f"http://{tour.address}/v1/chatChannels/{channel_id}/messages?pageSize=10",
        headers={"authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310
        page = json.load(reply)
    numbers = [int(message["seq"]) for message in page["messages"]]
    expect(numbers == list(range(21, 11, -1)), f"ten newest messages, not {numbers}")
    expect(bool(page["nextPageToken"]), "there is more")
    tour.done("REST shows the same history: ten messages, and a token for the next page")


async def accounts(tour: Tour, ben: greenroom_client.Client) -> None:
    """Two factors, a device list, a provider."""
    log_in = {"email": f"ben-{tour.run}@example.com", "password": PASSWORD}
    device = await demo_accounts.two_factors(
        tour.address, ben, log_in, tour.patiently, expect, tour.done
    )
    async with device:
        await demo_accounts.remote_sign_out(ben, device, expect, tour.done)
    await demo_accounts.google(tour.address, PROVIDER_PORT, tour.run, expect, tour.done)


async def tour_of(address: str, mail_dir: Path) -> int:
    """The whole tour; the exit status."""
    tour = Tour(address, mail_dir)
    began = time.monotonic()
    print(f"Greenroom at {address}")
    with socket.socket() as anybody:
        taken = anybody.connect_ex(("127.0.0.1", PROVIDER_PORT)) == 0
    expect(not taken, f"port {PROVIDER_PORT} (DEV_OIDC_PORT) free for a local OpenID provider")
    async with (
        Line(address) as line,
        greenroom_client.connect(address) as ada,
        greenroom_client.connect(line.address) as ben,
    ):
        await tour.join(ada, "Ada")
        await tour.join(ben, "Ben")
        channel_id = await talk(tour, ada, ben, line)
        await theft(tour, ada)
        over_rest(tour, await ben.keeper.access_token(), channel_id)
        await accounts(tour, ben)
        await ben.log_out()
        tour.done("Ben logged out")
    print(f"All {tour.count} steps were seen to work, in {time.monotonic() - began:.1f} s.")
    return 0


def main() -> int:
    """Reads where to go; says in one line what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    port = setting("HTTP_PORT", "8080")
    state = setting("STATE_DIR", ".greenroom")
    parser.add_argument("--address", default=f"127.0.0.1:{port}", help="host:port of Envoy")
    parser.add_argument("--mail-dir", type=Path, default=Path(setting("MAIL_DIR", f"{state}/mail")))
    options = parser.parse_args()
    # A proxy of the environment is not for this.
    os.environ["no_proxy"] = f"{os.environ.get('no_proxy', '')},127.0.0.1,localhost".lstrip(",")
    try:
        with urllib.request.urlopen(f"http://{options.address}/healthz", timeout=3):
            pass
    except OSError:
        print(f"Nothing serves at {options.address}: run `make run` in another terminal first.")
        return 1
    try:
        return asyncio.run(tour_of(options.address, options.mail_dir))
    except NotSeen as missing:
        print(f"  \u2717 {missing}", file=sys.stderr)
    except aio.AioRpcError as error:
        why = greenroom_client.reason_of(error) or error.details()
        print(f"  \u2717 {error.code().name}: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

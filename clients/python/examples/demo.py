"""A tour of a running Greenroom: ``make run`` in one terminal, ``make demo`` in another.

Two people sign up and talk. A stream breaks and loses nothing, a stolen token kills its family, and
the same history is read over REST. Each step checks what it saw; the exit status is 0 only if every
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
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth
from greenroom.auth.v1 import session_service_pb2 as sessions
from greenroom.auth.v1 import user_pb2
from greenroom.chat.v1 import channel_service_pb2 as channels
from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import message_service_pb2 as messages

PASSWORD = "an otter reads maps by moonlight"


class NotSeen(Exception):
    """A step did not do what the tour promises."""


def expect(seen: bool, what: str) -> None:
    """Stops the tour unless it was seen."""
    if not seen:
        raise NotSeen(what)


class Tour:
    """The steps, and what one hands to the next."""

    def __init__(self, address: str, mail_dir: Path) -> None:
        self.address = address
        self.mail_dir = mail_dir
        self.run = secrets.token_hex(4)
        self.count = 0

    def done(self, text: str) -> None:
        """Says that a step was seen to work."""
        self.count += 1
        print(f"  \u2713 {text}", flush=True)

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
        raise NotSeen(f"no mail to {address} in {self.mail_dir}")

    async def join(self, client: greenroom_client.Client, name: str) -> auth.SignedIn:
        """Signs somebody up, proves the address, logs in."""
        address = f"{name.lower()}-{self.run}@example.com"
        reply = await client.auth.SignUp(
            auth.SignUpRequest(
                email=address,
                password=PASSWORD,
                display_name=name,
                persona=user_pb2.PERSONA_CREATOR,
            )
        )
        expect(reply.email == address, "the sign-up answers with the address")
        token = await self.token_from_mail(address)
        await client.auth.VerifyEmail(auth.VerifyEmailRequest(token=token))
        signed_in = await client.log_in(
            email=address, password=PASSWORD, device_name=f"{name}'s terminal"
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


async def talk(tour: Tour, ada: greenroom_client.Client, ben: greenroom_client.Client) -> str:
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

    await cut_and_resume(tour, ada, inbox, channel_id)
    inbox.close()
    return channel_id


async def cut_and_resume(
    tour: Tour, ada: greenroom_client.Client, inbox: Inbox, channel_id: str
) -> None:
    """Breaks the stream in the middle of a conversation."""
    said = ["hello Ben", *(f"line {number}" for number in range(1, 21))]
    for number, text in enumerate(said[1:]):
        if number % 6 == 3:
            inbox.stream.cut()
        await send(ada, channel_id, text)
        if number % 6 == 5:
            opened = 2 + number // 6
            await inbox.wait(
                lambda _events, opened=opened: inbox.stream.connections >= opened,  # type: ignore[misc]
                "a new connection",
            )
    await inbox.wait(lambda _events: len(inbox.texts) >= len(said), "everything after the cuts")
    expect(inbox.texts == said, "nothing lost, nothing twice, all in order")
    expect(inbox.stream.connections >= 4, "the stream really was cut")
    tour.done(
        f"the stream broke {inbox.stream.connections - 1} times: nothing lost, nothing doubled"
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
    await asyncio.sleep(GRACE_SECONDS + 0.5)
    async with greenroom_client.connect(tour.address) as thief:
        try:
            await thief.auth.RefreshToken(auth.RefreshTokenRequest(refresh_token=stolen))
            raise NotSeen("a spent refresh token must not work")
        except grpc.aio.AioRpcError as error:
            reason = greenroom_client.reason_of(error)
            expect(reason == "AUTH_ERROR_REASON_REFRESH_TOKEN_REUSED", f"refused with {reason}")
    try:
        await ada.sessions.ListSessions(sessions.ListSessionsRequest())
        raise NotSeen("the session must die with its family")
    except greenroom_client.SignedOut:
        pass
    tour.done("a stolen refresh token was used: refused, and the whole family died with it")


GRACE_SECONDS = float(os.environ.get("REFRESH_GRACE_SECONDS", "10"))


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


async def tour_of(address: str, mail_dir: Path) -> int:
    """The whole tour; the exit status."""
    tour = Tour(address, mail_dir)
    print(f"Greenroom at {address}")
    async with greenroom_client.connect(address) as ada, greenroom_client.connect(address) as ben:
        await tour.join(ada, "Ada")
        await tour.join(ben, "Ben")
        channel_id = await talk(tour, ada, ben)
        await theft(tour, ada)
        over_rest(tour, await ben.keeper.access_token(), channel_id)
        await ben.log_out()
        tour.done("Ben logged out")
    print(f"All {tour.count} steps were seen to work.")
    return 0


def main() -> int:
    """Reads where to go; says in one line what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    port = os.environ.get("HTTP_PORT", "8080")
    state = os.environ.get("STATE_DIR", ".greenroom")
    parser.add_argument("--address", default=f"127.0.0.1:{port}", help="host:port of Envoy")
    parser.add_argument(
        "--mail-dir", type=Path, default=Path(os.environ.get("MAIL_DIR", f"{state}/mail"))
    )
    options = parser.parse_args()
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
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""The console, most of it in a real Chromium: signs in and talks through Envoy over gRPC-web."""

import contextlib
import http.server
import itertools
import os
import shutil
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import auth_service_pb2_grpc as auth_grpc
from greenroom.auth.v1 import sign_in_pb2
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import channel_service_pb2_grpc as channel_grpc
from greenroom.chat.v1 import event_pb2
from greenroom.chat.v1 import event_service_pb2 as watch_pb
from greenroom.chat.v1 import event_service_pb2_grpc as event_grpc
from greenroom.chat.v1 import message_service_pb2 as message_pb
from greenroom.chat.v1 import message_service_pb2_grpc as message_grpc
from tests.support.cable import Cable
from tests.support.node import WEB, chromium, installed_typescript, node_environment, visit
from tests.support.site import PASSWORD, Person, Site, wait_until

TOUR_SECONDS = 100
_visits = itertools.count(1)


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the built console and nothing else."""
    typescript = installed_typescript()
    chromium()
    subprocess.run(["npm", "run", "console"], cwd=typescript, env=node_environment(), check=True)
    folder = tmp_path_factory.mktemp("console")
    shutil.copy(WEB / "dist/index.html", folder)
    return folder


@pytest.fixture
def page_server(console: Path) -> Iterator[str]:
    """Serves the console from an origin that is not Envoy's."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(console))
    handler.log_message = lambda *_args: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


class Bob:
    """The other side of the conversation, by the Python stubs through Envoy."""

    def __init__(self, site: Site, channel: grpc.Channel, cable: Cable) -> None:
        self.site = site
        self.cable = cable
        self.me: Person = site.person("bob")
        self.auth = auth_grpc.AuthServiceStub(channel)
        self.channels = channel_grpc.ChannelServiceStub(channel)
        self.messages = message_grpc.MessageServiceStub(channel)
        self.watching = event_grpc.EventServiceStub(channel).WatchEvents(
            watch_pb.WatchEventsRequest(), metadata=self.me.metadata
        )
        self.events: list[event_pb2.ChatEvent] = []
        self.ada: auth_pb.LogInRequest | None = None
        self.phone: sign_in_pb2.SignedIn | None = None
        self.channel_id = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def close(self) -> None:
        self.watching.cancel()
        self._listener.join(5)

    def _listen(self) -> None:
        with contextlib.suppress(grpc.RpcError):
            for reply in self.watching:
                self.events += reply.events

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Does what the person in the browser cannot do."""
        name = "on_" + asked.pop("ask").replace(" ", "_")
        return getattr(self, name)(**asked) or {}

    def on_person(self) -> dict[str, str]:
        address = f"ada-{next(_visits)}-{os.getpid()}@example.com"
        self.ada = auth_pb.LogInRequest(email=address, password=PASSWORD, device_name="Ada's phone")
        return {"email": address, "password": PASSWORD}

    def on_token(self, email: str) -> dict[str, str]:
        return {"token": self.site.mailed_token(email)}

    def on_send(self, to: str, texts: list[str]) -> None:
        direct = channel_pb.GetDirectChannelRequest(user_id=to)
        reply = self.channels.GetDirectChannel(direct, metadata=self.me.metadata)
        self.channel_id = reply.channel.id
        for text in texts:
            request = message_pb.SendMessageRequest(
                channel_id=self.channel_id, client_id=str(uuid.uuid4()), text=text
            )
            self.messages.SendMessage(request, metadata=self.me.metadata)

    def on_cut(self) -> None:
        """The page loses the server."""
        self.cable.cut()

    def on_mend(self) -> None:
        """The page can have it back."""
        self.cable.mend()

    def on_read(self, by: str) -> None:
        """The page marks as read what it shows."""
        wait_until(lambda: [e for e in self.events if e.read.user_id == by], "the page's read mark")

    def on_typing(self) -> None:
        wait_until(lambda: [e for e in self.events if e.HasField("typing")], "a sign of typing")

    def on_received(self, texts: list[str]) -> None:
        """Bob reads the page's messages, and types."""

        def received() -> list[event_pb2.ChatEvent]:
            return [e for e in self.events if e.message.text in texts]

        newest = wait_until(received, "the page's message")[-1]
        mark = channel_pb.MarkReadRequest(channel_id=newest.channel_id, seq=newest.seq)
        self.channels.MarkRead(mark, metadata=self.me.metadata)
        sign = channel_pb.SendTypingRequest(channel_id=newest.channel_id)
        self.channels.SendTyping(sign, metadata=self.me.metadata)

    def on_phone(self) -> None:
        """Ada logs in on another device."""
        assert self.ada is not None
        self.phone = self.auth.LogIn(self.ada).signed_in

    def on_phone_is_out(self) -> None:
        assert self.phone is not None
        metadata = (("authorization", f"Bearer {self.phone.tokens.access_token}"),)

        def refused() -> bool:
            try:
                self.auth.GetMe(auth_pb.GetMeRequest(), metadata=metadata)
            except grpc.RpcError as error:
                return error.code() is grpc.StatusCode.UNAUTHENTICATED
            return False

        wait_until(refused, "the phone to be logged out")


@pytest.fixture
def bob(site: Site) -> Iterator[Bob]:
    """Somebody to talk to."""
    with grpc.insecure_channel(site.address) as channel, Cable(site.address) as cable:
        someone = Bob(site, channel, cable)
        yield someone
        someone.close()


@pytest.fixture
def tour(site: Site, bob: Bob, console: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Sends somebody through the console at an address, and returns how that ended. Pictures of it
    are left in the test's folder."""

    def go(page: str, steps: str, **plan: str) -> dict[str, Any]:
        plan = {"api": site.url, **plan, "page": page, "steps": steps, "bob": bob.me.id}
        plan["folder"] = str(tmp_path)
        return visit("tour.mjs", plan, bob.answer, TOUR_SECONDS)

    return go


def test_what_the_page_knows_of_conversations() -> None:
    """Its one part that needs no page, by node alone."""
    installed_typescript()
    done = subprocess.run(
        ["node", "--test", str(WEB / "test/conversations.test.mjs")],
        env=node_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_of_another_origin_talks_live(
    tour: Callable[..., dict[str, Any]], bob: Bob, page_server: str, tmp_path: Path
) -> None:
    """Sign-up, mail, log-in, messages both ways, typing, read marks, two cuts, another device."""
    api = f"http://{bob.cable.address}"
    assert tour(page_server, "all", api=api) == {"done": True}
    assert {path.stem for path in tmp_path.glob("*.png")} == {"entrance", "talk", "narrow"}


def test_a_page_of_the_same_origin_talks_live(
    tour: Callable[..., dict[str, Any]], site: Site, console: Path
) -> None:
    page = f"{site.url}/console"
    plan = {"html": str(console / "index.html"), "colours": "dark"}
    assert tour(page, "talk", **plan) == {"done": True}


def test_a_page_of_a_stranger_is_kept_out(
    tour: Callable[..., dict[str, Any]], console: Path
) -> None:
    page = "http://stranger.example/console"
    assert tour(page, "refused", html=str(console / "index.html")) == {"done": True}

"""The peers of the benchmark do what they are said to do. Nothing here looks at a clock."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from bench import peer as peers
from bench.figures import Skipped
from bench.peer import PEERS, Peer, peer, why_missing
from bench.processes import load, load_arguments, running
from tests.support.databases import require


@pytest.fixture
def channels() -> list[str]:
    """Of this test alone."""
    return [str(uuid.uuid4()), str(uuid.uuid4())]


def test_no_file_names_a_registry() -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        text = (PEERS / name).read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert "registry=" not in text


def test_every_package_is_locked_with_its_hash() -> None:
    package = json.loads((PEERS / "package.json").read_text())
    lock = json.loads((PEERS / "package-lock.json").read_text())["packages"]
    assert lock[""]["dependencies"] == package["dependencies"]
    installed = {name: entry for name, entry in lock.items() if name}
    assert installed
    assert [name for name, entry in installed.items() if "integrity" not in entry] == []
    for name, version in package["dependencies"].items():
        assert installed[f"node_modules/{name}"]["version"] == version


def test_without_node_the_peers_are_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    why_missing.cache_clear()
    monkeypatch.setattr(peers.shutil, "which", lambda _name: None)
    try:
        with pytest.raises(Skipped, match="node is not installed"), peer("express.mjs", "sqlite"):
            pass
    finally:
        why_missing.cache_clear()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    if reason := why_missing():
        # What is wrong with our own files is no reason to skip.
        assert "EINTEGRITY" not in reason, reason
        assert "EUSAGE" not in reason, reason
        pytest.skip(reason)
    require(kind)
    return kind


@pytest.fixture(scope="module")
def express(db: str) -> Iterator[Peer]:
    with peer("express.mjs", db) as started:
        yield started


@pytest.fixture(scope="module")
def socketio(db: str) -> Iterator[Peer]:
    with peer("socketio.mjs", db) as started:
        yield started


def peer_load(beside: Peer, program: str, channels: list[str], **options: Any) -> dict[str, Any]:
    return load(
        program,
        module="bench.peer_load",
        target=beside.target,
        token=beside.token,
        channel=channels,
        seconds=30,
        **options,
    )


def test_express_stores_and_lists(express: Peer, channels: list[str]) -> None:
    url = f"http://{express.target}/v1/channels"
    with httpx.Client(headers={"Authorization": f"Bearer {express.token}"}) as client:
        for channel in channels:
            for number in range(60):
                body = {"client_id": f"c-{number}", "text": f"text {number}"}
                reply = client.post(f"{url}/{channel}/messages", json=body)
                assert reply.status_code == 201
        stored = reply.json()
        assert {**stored, **body, "channel_id": channels[1], "sender_id": "bench"} == stored
        page = client.get(f"{url}/{channels[0]}/messages?limit=50").json()["messages"]
    assert [row["text"] for row in page] == [f"text {number}" for number in range(59, 9, -1)]
    assert page[0].keys() == stored.keys()
    assert {row["channel_id"] for row in page} == {channels[0]}


@pytest.mark.parametrize("header", ["", "Bearer nonsense", "Basic {token}"])
def test_express_wants_a_token(express: Peer, channels: list[str], header: str) -> None:
    url = f"http://{express.target}/v1/channels/{channels[0]}/messages"
    headers = {"Authorization": header.format(token=express.token)} if header else {}
    assert httpx.get(url, headers=headers).status_code == 401
    assert httpx.post(url, headers=headers, json={}).status_code == 401


def test_the_http_load_stores_what_it_counts(express: Peer, channels: list[str]) -> None:
    done = peer_load(express, "http", channels[:1], text_bytes=30, calls=90, in_flight=8)
    assert done["calls"] == 90
    url = f"http://{express.target}/v1/channels/{channels[0]}/messages?limit=200"
    page = httpx.get(url, headers={"Authorization": f"Bearer {express.token}"}).json()["messages"]
    assert len({row["client_id"] for row in page}) == 90
    assert peer_load(express, "http", channels, calls=40, in_flight=8)["calls"] == 40


def test_every_subscriber_gets_every_broadcast(socketio: Peer, channels: list[str]) -> None:
    arguments = load_arguments(
        "join",
        module="bench.peer_load",
        target=socketio.target,
        token=socketio.token,
        channel=channels,
        streams=7,
    )
    with running(arguments) as subscribers:
        assert subscribers.line() == "ready"
        subscribers.say()
        sent = peer_load(socketio, "emit", channels, text_bytes=100, calls=40, in_flight=8)
        subscribers.say(str(7 * sent["calls"]))
        assert json.loads(subscribers.line())["events"] == 280


def test_socket_io_wants_a_token(socketio: Peer, channels: list[str]) -> None:
    stranger = replace(socketio, token="nonsense")
    with pytest.raises(RuntimeError, match="process ended"):
        peer_load(stranger, "emit", channels, text_bytes=100, calls=4, in_flight=1)

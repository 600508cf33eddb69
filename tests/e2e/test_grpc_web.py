"""gRPC-web as a browser speaks it: frames over HTTP/1.1, binary and as base64, and CORS."""

import base64
import struct
from collections.abc import Iterator

import httpx
import pytest

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import event_service_pb2 as event_pb
from tests.support.site import Site

AUTH = "/greenroom.auth.v1.AuthService"
EVENTS = "/greenroom.chat.v1.EventService/WatchEvents"
PAGE = "http://localhost:5173"
TRAILERS = 0x80


def framed(message: bytes) -> bytes:
    return b"\x00" + struct.pack(">I", len(message)) + message


def frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Each frame's flags and content."""
    while body:
        flags, length = body[0], struct.unpack(">I", body[1:5])[0]
        assert len(body) >= 5 + length
        yield flags, body[5 : 5 + length]
        body = body[5 + length :]


def trailers(content: bytes) -> dict[str, str]:
    lines = content.decode().split("\r\n")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def headers(kind: str, **more: str) -> dict[str, str]:
    return {"content-type": kind, "accept": kind, "x-grpc-web": "1", "origin": PAGE, **more}


def test_a_call_in_binary(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    reply = rest.post(
        f"{AUTH}/GetMe",
        content=framed(b""),
        headers=headers("application/grpc-web+proto", **ann.headers),
    )
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/grpc-web+proto"
    (_flags, message), (flags, end) = frames(reply.content)
    assert auth_pb.GetMeResponse.FromString(message).user.id == ann.id
    assert flags == TRAILERS
    assert trailers(end)["grpc-status"] == "0"


@pytest.mark.parametrize("path", [f"{AUTH}/GetMe", EVENTS])
def test_an_empty_body(site: Site, rest: httpx.Client, path: str) -> None:
    reply = rest.post(
        path, headers=headers("application/grpc-web+proto", **site.person("ann").headers)
    )
    assert reply.headers["grpc-status"] == "3"
    assert "ended without a" in reply.headers["grpc-message"]


def test_a_call_in_text(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    reply = rest.post(
        f"{AUTH}/GetMe",
        content=base64.b64encode(framed(b"")),
        headers=headers("application/grpc-web-text+proto", **ann.headers),
    )
    assert reply.headers["content-type"] == "application/grpc-web-text+proto"
    # Each frame may be padded by itself.
    decoded = b"".join(base64.b64decode(part) for part in padded(reply.content))
    (_flags, message), (_flags, end) = frames(decoded)
    assert auth_pb.GetMeResponse.FromString(message).user.id == ann.id
    assert trailers(end)["grpc-status"] == "0"


def padded(text: bytes) -> Iterator[bytes]:
    """Quarters of base64, which may end with padding anywhere."""
    for start in range(0, len(text), 4):
        yield text[start : start + 4]


def test_an_error_has_its_details(rest: httpx.Client) -> None:
    reply = rest.post(
        f"{AUTH}/GetMe", content=framed(b""), headers=headers("application/grpc-web+proto")
    )
    assert reply.status_code == 200
    found = {**reply.headers}
    for flags, content in frames(reply.content):
        if flags == TRAILERS:
            found |= trailers(content)
    assert found["grpc-status"] == "16"
    assert found["grpc-status-details-bin"]


def test_a_stream_arrives_as_it_happens(site: Site) -> None:
    bob = site.person("bob")
    request = framed(event_pb.WatchEventsRequest().SerializeToString())
    with (
        httpx.Client(base_url=site.url, timeout=20) as client,
        client.stream(
            "POST",
            "/greenroom.chat.v1.EventService/WatchEvents",
            content=request,
            headers=headers("application/grpc-web+proto", **bob.headers),
        ) as reply,
    ):
        received = b""
        for chunk in reply.iter_bytes():
            received += chunk
            if len(received) >= 5 and len(received) >= 5 + struct.unpack(">I", received[1:5])[0]:
                break
    ((_flags, message),) = frames(received)
    assert event_pb.WatchEventsResponse.FromString(message).HasField("heartbeat")


@pytest.mark.parametrize("path", [f"{AUTH}/GetMe", "/v1/auth/me", "/v1/chat:watch"])
def test_a_page_may_ask_first(rest: httpx.Client, path: str) -> None:
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-grpc-web,grpc-timeout,"
        "x-user-agent",
    }
    reply = rest.options(path, headers=asked)
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == PAGE
    allowed = set(reply.headers["access-control-allow-headers"].replace(" ", "").split(","))
    assert allowed >= set(asked["access-control-request-headers"].split(","))
    assert "POST" in reply.headers["access-control-allow-methods"]


def test_a_page_sees_how_a_call_ended(rest: httpx.Client) -> None:
    reply = rest.get("/v1/auth/me", headers={"origin": PAGE})
    assert reply.headers["access-control-allow-origin"] == PAGE
    exposed = set(reply.headers["access-control-expose-headers"].replace(" ", "").split(","))
    assert exposed >= {"grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"}


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example", "http://localhostX:1", "null"],
)
def test_another_page_may_not(rest: httpx.Client, origin: str) -> None:
    asked = {"origin": origin, "access-control-request-method": "POST"}
    reply = rest.options("/v1/auth:logIn", headers=asked)
    assert "access-control-allow-origin" not in reply.headers

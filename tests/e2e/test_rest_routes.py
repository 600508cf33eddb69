"""Every method through Envoy: over each of its REST paths, over gRPC-web and over gRPC the server itself
answers, and not Envoy in its place."""

import base64
import json
import re
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from tests.contract.test_edge import bindings
from tests.e2e.test_grpc_web import TRAILERS, framed, frames, headers, trailers
from tests.e2e.test_rest_errors import ERROR_INFO
from tests.support.demands import demands
from tests.support.services import all_methods
from tests.support.site import Site

METHODS = all_methods()
AN_ID = "01a1fd55-5306-7254-b82c-94e8d6883617"
UNDECODABLE = b"\xff"
MISSING = "WIRE_ERROR_REASON_CREDENTIALS_MISSING"
DOMAIN = "greenroom"

ASKS_FOR_NOTHING = {"GetJwks", "StartPasskeyLogin"}
"""Public, and answered without a word."""

REST = [
    pytest.param(method, verb, template, id=f"{verb} {template}")
    for method in METHODS
    for verb, template in bindings(method)
]
GRPC_ONLY = {"greenroom.chat.v1.EventService.Connect"}
"""A stream in both directions has no form in HTTP/1.1 and JSON."""


def expected(method: MethodDescriptor, wrong: str) -> str:
    """The reason with which a stranger is refused; ``wrong`` where the public may call."""
    return wrong if "PUBLIC" in demands()[method.full_name].access else MISSING


def test_every_method_has_a_path() -> None:
    without = {method.full_name for method in METHODS if not bindings(method)}
    assert without == GRPC_ONLY
    assert len(REST) >= len(METHODS)


@pytest.mark.parametrize(("method", "verb", "template"), REST)
def test_rest(rest: httpx.Client, method: MethodDescriptor, verb: str, template: str) -> None:
    path = re.sub(r"\{[^}]*\}", AN_ID, template)
    body: dict[str, Any] = {"json": {}} if verb in ("POST", "PUT", "PATCH") else {}
    reply = rest.request(verb, path, **body)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    if method.name in ASKS_FOR_NOTHING:
        assert reply.status_code == 200 and reply.json()
        return
    error = reply.json()
    # Envoy's own errors have no details.
    assert error.keys() == {"code", "message", "details"}, error
    (told,) = (one for one in error["details"] if one["@type"] == ERROR_INFO)
    assert (told["domain"], told["reason"]) == (
        DOMAIN,
        expected(method, "WIRE_ERROR_REASON_INVALID_FIELD"),
    )
    assert reply.status_code == (401 if told["reason"] == MISSING else 400)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name[10:])
def test_grpc_web(rest: httpx.Client, method: MethodDescriptor) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    for kind, body in (
        ("application/grpc-web+proto", framed(UNDECODABLE)),
        ("application/grpc-web-text+proto", base64.b64encode(framed(UNDECODABLE))),
    ):
        reply = rest.post(path, content=body, headers=headers(kind))
        assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
        content = base64.b64decode(reply.content) if "text" in kind else reply.content
        found = dict(reply.headers)
        for flags, frame in frames(content):
            assert flags == TRAILERS
            found |= trailers(frame)
        packed = found["grpc-status-details-bin"]
        raw = base64.b64decode(packed + "=" * (-len(packed) % 4))
        assert reason_in(raw) == expected(method, "WIRE_ERROR_REASON_UNDECODABLE")


def test_grpc(site: Site) -> None:
    with grpc.insecure_channel(site.address) as channel:
        for method in METHODS:
            path = f"/{method.containing_service.full_name}/{method.name}"
            call: Any = (
                channel.stream_stream(path)(iter([UNDECODABLE]))
                if method.client_streaming
                else channel.unary_stream(path)(UNDECODABLE)
            )
            with pytest.raises(grpc.RpcError):
                list(call)
            (raw,) = (
                value for key, value in call.trailing_metadata() if key.endswith("-details-bin")
            )
            assert reason_in(raw) == expected(method, "WIRE_ERROR_REASON_UNDECODABLE")


def reason_in(raw: bytes) -> str:
    """``ErrorInfo.reason`` of a packed status."""
    told = error_details_pb2.ErrorInfo()
    assert any(one.Unpack(told) for one in status_pb2.Status.FromString(raw).details)
    assert told.domain == DOMAIN
    return told.reason


def test_a_path_of_nobody_is_envoys(rest: httpx.Client) -> None:
    """Against tests that take any answer for the server's."""
    reply = rest.post("/v1/auth:nothing", json={})
    assert "details" not in json.loads(reply.text or "{}")
    web = rest.post(
        "/greenroom.auth.v1.AuthService/Nothing",
        content=framed(b""),
        headers=headers("application/grpc-web+proto"),
    )
    assert "grpc-status-details-bin" not in web.headers and b"details-bin" not in web.content

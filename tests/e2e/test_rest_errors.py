"""Bad input over REST: each has its status and shape, from the server or from Envoy."""

import json
import socket
import uuid
from typing import Any

import httpx
import pytest

from tests.support.site import PASSWORD, Site

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
LOG_IN = {"email": "nobody@example.com", "password": PASSWORD}


def details(reply: httpx.Response) -> dict[str, Any]:
    """The details of the server's own error, by type."""
    body = reply.json()
    assert body.keys() == {"code", "message", "details"}, body
    return {detail["@type"]: detail for detail in body["details"]}


def reason(reply: httpx.Response) -> str:
    return str(details(reply)[ERROR_INFO]["reason"])


def assert_envoys(reply: httpx.Response, status: int, code: int) -> None:
    """An error of Envoy's own: a gRPC code, a text, and nothing else."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert body.keys() == {"code", "message"}, body
    assert body["code"] == code
    assert body["message"]


# The server's errors.


def test_the_server_says_reason_and_fields(rest: httpx.Client) -> None:
    reply = rest.post("/v1/auth:signUp", json={"email": "no address", "password": "x"})
    assert reply.status_code == 400
    assert reply.json()["code"] == 3
    assert reason(reply) == "WIRE_ERROR_REASON_INVALID_FIELD"
    assert details(reply)[ERROR_INFO]["domain"] == "greenroom"
    fields = {each["field"] for each in details(reply)[BAD_REQUEST]["fieldViolations"]}
    assert fields == {"email", "password"}


def test_without_and_with_wrong_credentials(rest: httpx.Client) -> None:
    assert reason(rest.get("/v1/auth/me")) == "WIRE_ERROR_REASON_CREDENTIALS_MISSING"
    reply = rest.get("/v1/auth/me", headers={"authorization": "Bearer nonsense"})
    assert (reply.status_code, reply.json()["code"]) == (401, 16)
    assert reason(reply) == "WIRE_ERROR_REASON_CREDENTIALS_INVALID"
    reply = rest.post("/v1/auth:logIn", json=LOG_IN)
    assert reply.status_code == 401
    assert reason(reply) == "AUTH_ERROR_REASON_BAD_CREDENTIALS"


def test_what_is_not_there(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    path = f"/v1/chatChannels/{uuid.uuid4()}/messages"
    reply = rest.get(path, headers=ann.headers)
    assert (reply.status_code, reply.json()["code"]) == (404, 5)
    assert reason(reply) == "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"


def test_page_tokens_of_nobody(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    reply = rest.get("/v1/auth/sessions", params={"page_token": "x"}, headers=ann.headers)
    assert reply.status_code == 400
    assert reason(reply) == "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN"


def test_a_stream_that_cannot_begin(site: Site, rest: httpx.Client) -> None:
    reply = rest.get("/v1/chat:watch")
    assert reply.status_code == 401
    assert reason(reply) == "WIRE_ERROR_REASON_CREDENTIALS_MISSING"
    ann = site.person("ann")
    wish = {"channel_ids": str(uuid.uuid4())}
    reply = rest.get("/v1/chat:watch", params=wish, headers=ann.headers)
    assert reply.status_code == 404
    assert reason(reply) == "CHAT_ERROR_REASON_CHANNEL_NOT_FOUND"


def test_a_token_of_the_longest_size_reaches_the_server(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    wish = {"resume_token": "x" * 16384}
    reply = rest.get("/v1/chat:watch", params=wish, headers=ann.headers)
    assert reply.status_code == 400
    assert reason(reply) == "CHAT_ERROR_REASON_RESUME_TOKEN_INVALID"


def test_a_deadline_of_the_caller_is_kept(site: Site, rest: httpx.Client) -> None:
    reply = rest.get("/v1/auth/me", headers={**site.person().headers, "grpc-timeout": "1n"})
    assert reply.status_code == 504
    assert reply.json()["code"] == 4


# Envoy's errors.


@pytest.mark.parametrize(
    "body",
    [
        {"email": 5, "password": PASSWORD},
        {"email": ["a@example.com"], "password": PASSWORD},
        {"email": "a@example.com", "password": {"a": 1}},
    ],
)
def test_a_field_of_a_wrong_type(rest: httpx.Client, body: dict[str, Any]) -> None:
    assert_envoys(rest.post("/v1/auth:logIn", json=body), 400, 3)


def test_an_enum_value_that_does_not_exist(rest: httpx.Client) -> None:
    person = {"email": "a@example.com", "password": PASSWORD, "persona": "PERSONA_KING"}
    assert_envoys(rest.post("/v1/auth:signUp", json=person), 400, 3)


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "nonsense", '{"email": "a"', "\xff"])
def test_a_body_that_is_no_object(rest: httpx.Client, text: str) -> None:
    headers = {"content-type": "application/json"}
    content = text.encode("latin-1")
    reply = rest.post("/v1/auth:logIn", content=content, headers=headers)
    assert_envoys(reply, 400, 3)


def test_an_unknown_query_parameter(site: Site, rest: httpx.Client) -> None:
    reply = rest.get("/v1/auth/me", params={"colour": "green"}, headers=site.person().headers)
    assert_envoys(reply, 400, 3)


def test_a_path_and_a_body_that_say_different_things(site: Site, rest: httpx.Client) -> None:
    """Refused by the field's own name; by its JSON name the path counts."""
    ann, bob = site.person("ann"), site.person("bob")
    path = f"/v1/chatChannels/{site.channel(ann, bob)}:typing"
    other = str(uuid.uuid4())
    assert_envoys(rest.post(path, json={"channel_id": other}, headers=ann.headers), 400, 3)
    assert rest.post(path, json={"channelId": other}, headers=ann.headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/auth",
        "/v1/auth/nobody",
        "/v1/auth:fly",
        "/v1/chatChannels/x:fly",
        "/v2/auth/me",
        "/index.html",
        "/greenroom.auth.v1.AuthService/GetMe",
        "/grpc.health.v1.Health/Check",
        "/stats",
        "/admin",
    ],
)
def test_an_unknown_path(rest: httpx.Client, path: str) -> None:
    assert_envoys(rest.get(path), 404, 5)


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_verb_that_the_path_does_not_have(rest: httpx.Client, verb: str) -> None:
    assert_envoys(rest.request(verb, "/v1/auth/me", json={}), 404, 5)


def test_a_body_over_the_limit(rest: httpx.Client) -> None:
    body = json.dumps({**LOG_IN, "colour": "x" * (1 << 20)}).encode()
    headers = {"content-type": "application/json"}
    assert_envoys(rest.post("/v1/auth:logIn", content=body, headers=headers), 413, 8)
    chunks = (body[start : start + 65536] for start in range(0, len(body), 65536))
    assert_envoys(rest.post("/v1/auth:logIn", content=chunks, headers=headers), 413, 8)


def test_a_body_just_below_the_limit_reaches_the_server(rest: httpx.Client) -> None:
    body = json.dumps({**LOG_IN, "colour": "x" * ((1 << 20) - 200)}).encode()
    reply = rest.post("/v1/auth:logIn", content=body, headers={"content-type": "application/json"})
    assert reason(reply) == "AUTH_ERROR_REASON_BAD_CREDENTIALS"


def test_too_many_and_too_long_headers(rest: httpx.Client) -> None:
    long = rest.get("/v1/auth/me", headers={"x-long": "x" * 70_000})
    assert_envoys(long, 431, 8)
    many = rest.get("/v1/auth/me", headers={f"x-{number}": "1" for number in range(150)})
    assert_envoys(many, 431, 8)


def test_headers_with_an_underscore(rest: httpx.Client) -> None:
    assert rest.get("/healthz", headers={"x_real_ip": "192.0.2.7"}).status_code == 400


def test_slashes_that_hide(site: Site) -> None:
    """Paths are taken as normal ones, or refused; never as another route than they seem."""
    headers = "\r\n".join(
        ["host: x", f"authorization: Bearer {site.person().token}", "connection: close"]
    )
    expected = {
        "/v1//auth/me": 200,
        "/v1/nowhere/../auth/me": 200,
        "/v1/./auth/me": 200,
        "/v1%2Fauth/me": 400,
        "/v1/auth%5Cme": 400,
        "/v1/%2e%2e/v1/auth/me": 200,
    }
    found = {}
    for path in expected:
        with socket.create_connection(tuple(site.address.split(":")), 10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
            found[path] = int(connection.makefile("rb").readline().split()[1])
    assert found == expected


def test_what_only_a_neighbour_may_say_is_not_believed(site: Site, rest: httpx.Client) -> None:
    """A header that would shorten or repeat the call inside Envoy."""
    forged = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-max-retries": "9"}
    credentials = {"email": "nobody@example.com", "password": PASSWORD}
    reply = rest.post("/v1/auth:logIn", json=credentials, headers=forged)
    assert reply.status_code == 401
    assert not [name for name in reply.headers if name.startswith("x-envoy")]

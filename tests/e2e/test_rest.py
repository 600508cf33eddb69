"""REST through Envoy: the whole way of two people, and the old systems' own paths."""

import json
import threading
import uuid
from queue import Queue
from typing import Any

import httpx
import jwt
import pytest

from tests.support.site import PASSWORD, Site


def test_two_people_sign_up_and_talk(site: Site, rest: httpx.Client) -> None:
    ann, bob = site.person("ann"), site.person("bob")
    me = rest.get("/v1/auth/me", headers=ann.headers)
    assert me.status_code == 200
    assert me.json()["user"]["id"] == ann.id
    assert me.headers["content-type"] == "application/json"

    channel = site.channel(ann, bob)
    assert site.channel(bob, ann) == channel
    messages = f"/v1/chatChannels/{channel}/messages"
    body = {"clientId": str(uuid.uuid4()), "text": "hello \u2603"}
    sent = rest.post(messages, json=body, headers=ann.headers).json()["message"]
    again = rest.post(messages, json=body, headers=ann.headers).json()["message"]
    assert (sent["seq"], sent["text"]) == ("1", "hello \u2603")
    assert again == sent

    page = rest.get(messages, params={"page_size": 10}, headers=bob.headers).json()
    assert page["messages"] == [sent]
    assert page["nextPageToken"] == ""
    assert page["cursor"]["seq"] == "1"
    read = rest.post(
        f"/v1/chatChannels/{channel}:markRead", json={"seq": 1}, headers=bob.headers
    ).json()
    assert read == {"lastReadSeq": "1"}
    typing = rest.post(f"/v1/chatChannels/{channel}:typing", json={}, headers=bob.headers)
    assert (typing.status_code, typing.json()) == (200, {})


def test_the_old_systems_paths_still_work(site: Site, rest: httpx.Client) -> None:
    address = f"{uuid.uuid4()}@example.com"
    person = {"email": address, "password": PASSWORD, "persona": "PERSONA_EDITOR"}
    assert rest.post("/api/auth/register", json=person).status_code == 200
    token = site.mailed_token(address)
    assert rest.post("/api/auth/verify-email", json={"token": token}).status_code == 200
    credentials = {"email": address, "password": PASSWORD}
    for path in ("/auth/login", "/api/auth/login"):
        reply = rest.post(path, json=credentials)
        assert reply.status_code == 200, reply.text
    headers = {"authorization": f"Bearer {reply.json()['signedIn']['tokens']['accessToken']}"}
    assert rest.get("/api/auth/me", headers=headers).json()["user"]["email"] == address
    assert rest.post("/api/auth/logout", json={}, headers=headers).status_code == 200
    assert rest.get("/api/auth/me", headers=headers).status_code == 401


def test_sessions_are_listed_and_revoked(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    (session,) = rest.get("/v1/auth/sessions", headers=ann.headers).json()["sessions"]
    assert session["current"] is True
    assert session["ipAddress"] == "127.0.0.1"
    revoked = rest.post(f"/v1/auth/sessions/{session['id']}:revoke", json={}, headers=ann.headers)
    assert revoked.status_code == 200
    assert rest.get("/v1/auth/me", headers=ann.headers).status_code == 401


def test_the_address_that_counts_is_the_peers(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    rest.get("/v1/auth/me", headers={**ann.headers, "x-forwarded-for": "192.0.2.7"})
    (session,) = rest.get(
        "/v1/auth/sessions", headers={**ann.headers, "x-forwarded-for": "192.0.2.7"}
    ).json()["sessions"]
    assert session["ipAddress"] == "127.0.0.1"


def test_the_keys_are_a_jwk_set(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    reply = rest.get("/.well-known/jwks.json")
    assert reply.headers["content-type"] == "application/json"
    found = reply.json()
    assert list(found) == ["keys"]
    assert all(key.keys() == {"kty", "crv", "x", "kid", "use", "alg"} for key in found["keys"])
    keys = jwt.PyJWKSet.from_dict(found)
    kid = jwt.get_unverified_header(ann.token)["kid"]
    claims = jwt.decode(
        ann.token, keys[kid].key, algorithms=["EdDSA"], audience="greenroom", issuer="greenroom"
    )
    assert claims["sub"] == ann.id


def test_names_of_fields_may_be_snake_or_camel(site: Site, rest: httpx.Client) -> None:
    ann, bob = site.person("ann"), site.person("bob")
    for name in ("userId", "user_id"):
        reply = rest.post("/v1/chatChannels:direct", json={name: bob.id}, headers=ann.headers)
        assert reply.status_code == 200
    for name in ("pageSize", "page_size"):
        reply = rest.get("/v1/auth/sessions", params={name: 1}, headers=ann.headers)
        assert reply.status_code == 200


def test_unknown_fields_of_a_body_are_ignored(site: Site, rest: httpx.Client) -> None:
    ann, bob = site.person("ann"), site.person("bob")
    body = {"userId": bob.id, "colour": "green"}
    reply = rest.post("/v1/chatChannels:direct", json=body, headers=ann.headers)
    assert reply.status_code == 200


def test_a_long_page_fits(site: Site, rest: httpx.Client) -> None:
    """200 messages of 4,000 characters that JSON needs six bytes for."""
    ann, bob = site.person("ann"), site.person("bob")
    path = f"/v1/chatChannels/{site.channel(ann, bob)}/messages"
    text = "\u0001" * 4000
    for _ in range(200):
        body = {"clientId": str(uuid.uuid4()), "text": text}
        assert rest.post(path, json=body, headers=ann.headers).status_code == 200
    page = rest.get(path, params={"page_size": 200}, headers=bob.headers)
    assert page.status_code == 200, page.text[:200]
    assert len(page.json()["messages"]) == 200
    assert len(page.content) > 4_000_000


def test_a_stream_is_lines_of_json(site: Site) -> None:
    ann, bob = site.person("ann"), site.person("bob")
    channel = site.channel(ann, bob)
    lines: Queue[dict[str, Any]] = Queue()
    opened = threading.Event()

    def watch() -> None:
        with (
            httpx.Client(base_url=site.url, timeout=20) as client,
            client.stream("GET", "/v1/chat:watch", headers=bob.headers) as reply,
        ):
            assert reply.status_code == 200
            opened.set()
            for line in reply.iter_lines():
                lines.put(json.loads(line))
                if "events" in line and "last" in line:
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    first = lines.get(timeout=10)
    assert "heartbeat" in first
    assert opened.is_set()
    with httpx.Client(base_url=site.url, timeout=20, headers=ann.headers) as client:
        for text in ("one", "two", "last"):
            body = {"clientId": str(uuid.uuid4()), "text": text}
            client.post(f"/v1/chatChannels/{channel}/messages", json=body).raise_for_status()
            seen: list[str] = []
            while text not in seen:
                events = lines.get(timeout=10).get("events", [])
                seen += [event["message"]["text"] for event in events if "message" in event]
    watcher.join(10)


@pytest.mark.parametrize("path", ["/v1/auth/me", "/healthz", "/v1/nowhere"])
def test_every_reply_names_its_request(rest: httpx.Client, path: str) -> None:
    one, other = rest.get(path), rest.get(path)
    assert one.headers["x-request-id"] != other.headers["x-request-id"]


def test_health_follows_the_server(rest: httpx.Client) -> None:
    assert rest.get("/healthz").status_code == 200

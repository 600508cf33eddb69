"""Single messages over REST: edits, reactions whose emoji stands in the path, threads and search."""

import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.site import Site

FAMILY = "\u200d".join("👨👩👧👦")
EMOJI = [
    "👍",
    "❤\ufe0f",
    FAMILY,
    "1\ufe0f\u20e3",
    "🇩🇪",
    "+1",
    "100%",
    "é",
    "好",
    "a?b#c",
    "x:y",
    ";",
]


class Talk:
    """Ann and Bob over REST."""

    def __init__(self, site: Site, rest: httpx.Client) -> None:
        self.rest = rest
        self.ann, self.bob = site.person("ann"), site.person("bob")
        self.channel = site.channel(self.ann, self.bob)

    def send(self, text: str, **fields: Any) -> dict[str, Any]:
        """Ann's message."""
        body = {"clientId": str(uuid.uuid4()), "text": text, **fields}
        path = f"/v1/chatChannels/{self.channel}/messages"
        reply = self.rest.post(path, json=body, headers=self.ann.headers)
        assert reply.status_code == 200, reply.text
        return dict(reply.json()["message"])

    def call(self, verb: str, path: str, by: Any = None, **more: Any) -> dict[str, Any]:
        """A call that succeeds."""
        reply = self.rest.request(verb, path, headers=(by or self.ann).headers, **more)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


@pytest.fixture
def talk(site: Site, rest: httpx.Client) -> Talk:
    """Two people and their channel."""
    return Talk(site, rest)


def test_a_message_is_edited_and_deleted(talk: Talk) -> None:
    message = talk.send("helo")
    path = f"/v1/messages/{message['id']}"
    assert talk.call("GET", path, by=talk.bob)["message"] == message
    edited = talk.call(
        "PATCH", path, params={"updateMask": "text", "etag": "0"}, json={"text": "hello"}
    )["message"]
    assert (edited["text"], edited["change"]) == ("hello", "1")
    stale = talk.rest.patch(
        path,
        params={"updateMask": "text", "etag": "0"},
        json={"text": "x"},
        headers=talk.ann.headers,
    )
    assert stale.status_code == 409
    read = talk.call("GET", path, params={"includeEdits": "true"})
    assert [one["text"] for one in read["earlierTexts"]] == ["helo"]
    assert talk.call("DELETE", path)["message"]["text"] == ""
    assert "deleteTime" in talk.call("GET", path)["message"]


@pytest.mark.parametrize("emoji", EMOJI, ids=lambda emoji: quote(emoji, safe=""))
def test_an_emoji_stands_in_the_path(talk: Talk, emoji: str) -> None:
    path = f"/v1/messages/{talk.send('hello')['id']}/reactions"
    [reaction] = talk.call("POST", path, json={"emoji": emoji})["message"]["reactions"]
    assert reaction == {"emoji": emoji, "count": 1, "userIds": [talk.ann.id]}
    gone = talk.call("DELETE", f"{path}/{quote(emoji, safe='')}")["message"]
    assert gone.get("reactions", []) == []


def test_threads_and_search(talk: Talk) -> None:
    root = talk.send("Straße nach München")
    answer = talk.send("answer to münchen", replyToId=root["id"])
    page = talk.call("GET", f"/v1/messages/{root['id']}/replies", by=talk.bob)
    assert page["messages"] == [answer]
    found = talk.call("GET", "/v1/messages:search", params={"query": "munch"}, by=talk.bob)
    assert [one["id"] for one in found["messages"]] == [answer["id"], root["id"]]
    narrow = {"query": "MÜNCHEN strasse", "channelId": talk.channel, "pageSize": 1}
    found = talk.call("GET", "/v1/messages:search", params=narrow)
    assert ([one["id"] for one in found["messages"]], found["nextPageToken"]) == ([root["id"]], "")

"""The pages that mails link to: what their headers allow is what is in them, and nothing else."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
import yaml

from server.auth import mails
from server.core.config import load_settings
from server.edge.pages import FOLDER, PAGES
from server.edge.render import render_envoy

TOO_LARGE = 16384


@cache
def routes(**settings: str) -> dict[str, dict[str, Any]]:
    config = yaml.safe_load(render_envoy(load_settings(settings)))
    connections = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    found = connections["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
    return {route["match"]["path"]: route for route in found if route["name"] == "page"}


def headers_of(route: dict[str, Any]) -> dict[str, str]:
    return {
        added["header"]["key"]: added["header"]["value"]
        for added in route["response_headers_to_add"]
    }


def page_of(path: str) -> str:
    return (FOLDER / PAGES[path]).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_allows_the_pages_own_script_and_style_alone(path: str) -> None:
    policy = headers_of(routes()[path])["content-security-policy"]
    directives = dict(part.split(" ", 1) for part in policy.split("; "))
    page = page_of(path)
    for kind in ("script", "style"):
        inline = re.findall(rf"<{kind}[^>]*>(.*?)</{kind}>", page, re.DOTALL)
        digests = [
            "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
            for text in inline
        ]
        assert directives.get(f"{kind}-src", "") == " ".join(digests)
    assert directives["default-src"] == "'none'"
    assert directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert directives["form-action"] == "'none'"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_refers_to_nothing_outside_and_writes_no_markup(path: str) -> None:
    page = page_of(path)
    assert len(page.encode()) < TOO_LARGE
    assert not re.findall(r"""(?:src|href)=["'](?!/log-in["'])""", page)
    assert not re.findall(r"\bon[a-z]+=|style=|https?:|innerHTML|eval\(|document\.write", page)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_told_where_the_reader_came_from(path: str) -> None:
    route = routes()[path]
    assert headers_of(route)["referrer-policy"] == "no-referrer"
    assert route["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]


def test_every_link_of_a_mail_opens_a_page() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    waiting = [mails.WaitingSignUp("t", "Ada", "", now)]
    sent = [
        mails.verification_mail("a@b.c", "", "http://x", waiting),
        mails.confirm_email_mail("a@b.c", "", "http://x", "t"),
        mails.reset_mail("a@b.c", "", "http://x", "t", "", now),
        mails.invite_mail("a@b.c", "", "http://x", "t"),
        mails.taken_mail("a@b.c", "", "http://x"),
        mails.approved_mail("a@b.c", "", "http://x"),
    ]
    for mail in sent:
        links = re.findall(r"^http://x(/[^#\s]*)", mail.text, re.MULTILINE)
        assert links and set(links) <= set(PAGES)


def test_people_are_sent_to_the_log_in_page_of_the_setting() -> None:
    target = "https://app.example.com/log%20in?from=mail"
    route = routes(LOG_IN_URL=target)["/log-in"]
    assert route["direct_response"] == {"status": 303}
    assert headers_of(route) == {"location": target.replace("%", "%%")}
    assert routes()["/log-in"]["direct_response"]["status"] == 200

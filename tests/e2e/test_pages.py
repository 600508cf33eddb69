"""The pages that mails link to, through Envoy, and in a real Chromium."""

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.edge.pages import FOLDER, PAGES
from tests.support.node import chromium, installed_typescript, node_environment
from tests.support.site import PASSWORD, Site, running, wait_until

SCRIPT = Path(__file__).with_name("pages.mjs")
VISIT_SECONDS = 100
ANOTHER = "an entirely different secret"


def seen_by_browser(*visits: dict[str, Any]) -> list[dict[str, Any]]:
    """What was seen in the browser, a dictionary a visit."""
    installed_typescript()
    done = subprocess.run(
        ["node", str(SCRIPT), json.dumps({"visits": visits})],
        env={**node_environment(), "CHROME": chromium()},
        capture_output=True,
        text=True,
        timeout=VISIT_SECONDS,
    )
    assert done.stdout, done.stderr
    seen = json.loads(done.stdout)
    assert isinstance(seen, list), seen
    return seen


@pytest.mark.parametrize("path", PAGES)
def test_envoy_serves_the_page_with_its_headers(rest: httpx.Client, path: str) -> None:
    reply = rest.get(path)
    assert reply.status_code == 200
    assert reply.text == (FOLDER / PAGES[path]).read_text(encoding="utf-8")
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-security-policy"].startswith(
        "default-src 'none'; style-src 'sha256-"
    )
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_read_and_nothing_else(rest: httpx.Client, path: str) -> None:
    assert rest.post(path, json={}).status_code == 404
    assert rest.get(path + "/").status_code == 404
    assert rest.get(path + "?x=1").status_code == 200


def test_the_setting_sends_people_to_the_app(tmp_path: Path) -> None:
    target = "https://app.example.com/log%20in?from=mail"
    with running(tmp_path, log_in_url=target) as site:
        reply = httpx.get(f"{site.url}/log-in")
        assert (reply.status_code, reply.headers["location"]) == (303, target)
        assert httpx.get(f"{site.url}/verify-email").status_code == 200
        site.stop()


def _signed_up(site: Site, rest: httpx.Client) -> tuple[str, str]:
    email = f"{uuid.uuid4()}@example.com"
    person = {"email": email, "password": PASSWORD, "persona": "PERSONA_CREATOR"}
    assert rest.post("/v1/auth:signUp", json=person).status_code == 200
    return email, site.mailed_token(email)


def _logged_in(rest: httpx.Client, email: str, password: str) -> int:
    credentials = {"email": email, "password": password}
    return rest.post("/v1/auth:logIn", json=credentials).status_code


def test_an_address_is_confirmed_by_a_button_and_not_by_opening_the_link(
    site: Site, rest: httpx.Client
) -> None:
    email, token = _signed_up(site, rest)
    link = f"{site.url}/verify-email#token={token}"
    first, second, none = seen_by_browser(
        {"link": link}, {"link": link, "locale": "de-AT"}, {"link": f"{site.url}/verify-email"}
    )
    assert first["said"] == [
        "Press the button to confirm that this address is yours.",
        "Your address is confirmed. You can log in now.",
    ]
    assert first["errors"] == [] and first["before"] <= 2
    assert first["address"] == f"{site.url}/verify-email"
    assert [each for each in first["requests"] if each.startswith("POST")] == [
        f"POST {site.url}/v1/auth/email:verify"
    ]
    assert "log in there" in first["end"]
    assert _logged_in(rest, email, PASSWORD) == 200

    assert (second["language"], second["title"]) == ("de", "Adresse bestätigen")
    assert second["said"][-1].startswith("Dieser Link wurde schon verwendet")
    assert not second["button"] and "end" not in second
    assert none["said"] == ["This link was used before, or is too old. Ask for a new one."]


def test_a_new_password_is_chosen(site: Site, rest: httpx.Client) -> None:
    email, token = _signed_up(site, rest)
    assert rest.post("/v1/auth/email:verify", json={"token": token}).status_code == 200
    asked = rest.post("/api/auth/forgot-password", json={"email": email})
    assert (asked.status_code, asked.json()) == (200, {})
    fresh = wait_until(lambda: _other_token(site, email, token), "the mail with the new token")
    link = f"{site.url}/reset-password#token={fresh}"
    tries = [["password1"], [ANOTHER, "something else"], [ANOTHER]]
    first, second = seen_by_browser(
        {"link": link, "passwords": tries}, {"link": link, "passwords": [[ANOTHER]]}
    )
    assert first["said"][1:] == [
        "This password is too easy to guess. Add another word or two.",
        "The two are not the same.",
        "Your new password is set. You can log in now.",
    ]
    assert [each for each in first["requests"] if each.startswith("POST")] == [
        f"POST {site.url}/v1/auth/password:reset"
    ] * 2
    assert "log in there" in first["end"]
    assert second["said"][-1] == "This link was used before, or is too old. Ask for a new one."
    assert (_logged_in(rest, email, PASSWORD), _logged_in(rest, email, ANOTHER)) == (401, 200)


def _other_token(site: Site, email: str, known: str) -> str:
    found = site.mailed_token(email)
    return "" if found == known else found


def test_the_old_systems_path_resets_a_password(site: Site, rest: httpx.Client) -> None:
    email, token = _signed_up(site, rest)
    assert rest.post("/v1/auth/email:verify", json={"token": token}).status_code == 200
    rest.post("/v1/auth/password:requestReset", json={"email": email})
    fresh = wait_until(lambda: _other_token(site, email, token), "the mail with the new token")
    body = {"token": fresh, "password": ANOTHER}
    assert rest.post("/api/auth/reset-password", json=body).json() == {}
    again = rest.post("/v1/auth/password:reset", json=body)
    assert again.status_code == 400
    assert "AUTH_ERROR_REASON_VERIFICATION_TOKEN_INVALID" in again.text

"""The paths of the systems that came before, each as its own documents have it: success, and an error that
says its reason in JSON."""

import re
import uuid
from typing import Any

import httpx
import pytest

from tests.contract.test_edge import bindings
from tests.e2e.test_rest_errors import BAD_REQUEST, details, reason
from tests.support.services import all_methods
from tests.support.site import PASSWORD, Site, wait_until

NEW_PASSWORD = "another battery of correct horses"
NEXT_PASSWORD = "a third sentence about staples"
NOBODY = "CREDENTIALS_MISSING"
FIELD = "INVALID_FIELD"
ANYBODY = {"email": "a@example.com", "password": PASSWORD}

TESTED_ELSEWHERE = {("GET", "/v1/auth/oauth/callback"): "tests/e2e/test_rest_oauth.py"}

REFUSED: dict[tuple[str, str], list[tuple[dict[str, Any], int, str]]] = {
    ("POST", "/auth/signup"): [
        ({"email": "none", "password": PASSWORD, "persona": "PERSONA_BRAND"}, 400, FIELD),
        ({"phone": "0170", "password": PASSWORD, "persona": "PERSONA_BRAND"}, 400, FIELD),
        ({**ANYBODY, "user_type": "agent"}, 400, FIELD),
        ({**ANYBODY, "user_type": "brand", "role": "creator"}, 400, FIELD),
        ({**ANYBODY, "user_type": "brand", "mobile": "+4915100000000"}, 400, FIELD),
        ({**ANYBODY, "user_type": "brand", "name": "Ada", "displayName": "Bob"}, 400, FIELD),
    ],
    ("POST", "/api/auth/register"): [
        ({**ANYBODY, "password": "short", "role": "student", "username": "ada"}, 400, FIELD),
        ({**ANYBODY, "role": "student"}, 400, FIELD),
        ({**ANYBODY, "role": "admin", "username": "ada"}, 400, FIELD),
        (
            {**ANYBODY, "password": "password1", "role": "student", "username": "ada"},
            400,
            "PASSWORD_TOO_WEAK",
        ),
    ],
    ("POST", "/api/auth/verify-email"): [({"token": "none of ours"}, 400, "TOKEN_INVALID")],
    ("POST", "/auth/login"): [
        ({"email": "nobody@example.com", "password": PASSWORD}, 401, "BAD_CREDENTIALS"),
        ({"phone": "+4915100000000", "password": PASSWORD}, 401, "BAD_CREDENTIALS"),
        ({"mobile": "+4915100000000", "password": PASSWORD}, 401, "BAD_CREDENTIALS"),
        ({"email": "nobody@example.com"}, 400, FIELD),
    ],
    ("POST", "/api/auth/login"): [
        ({"email": "nobody@example.com", "password": PASSWORD}, 401, "BAD_CREDENTIALS"),
        ({"username": "nobody", "password": PASSWORD}, 401, "BAD_CREDENTIALS"),
        ({"email": "nobody", "password": PASSWORD}, 401, "BAD_CREDENTIALS"),
        ({"password": PASSWORD}, 400, FIELD),
    ],
    ("POST", "/auth/verify-otp"): [
        ({"otpId": str(uuid.uuid4()), "code": "123456"}, 400, "OTP_INVALID"),
        ({"otp_id": str(uuid.uuid4()), "code": "12345"}, 400, FIELD),
    ],
    ("POST", "/api/auth/logout"): [({}, 401, NOBODY)],
    ("GET", "/api/auth/me"): [({}, 401, NOBODY)],
    ("POST", "/api/auth/forgot-password"): [({"email": "none"}, 400, FIELD)],
    ("POST", "/api/auth/reset-password"): [
        ({"token": "none of ours", "password": NEW_PASSWORD}, 400, "TOKEN_INVALID"),
        ({"token": "none of ours", "password": "short"}, 400, FIELD),
    ],
}
"""Verb and path, what is sent, and the status and reason that come back."""

REFUSALS = [
    pytest.param(*path, *case, id=f"{path[1]} {case[2]} {number}")
    for path, cases in REFUSED.items()
    for number, case in enumerate(cases)
]


def test_every_path_of_the_old_systems_is_here() -> None:
    additional = {
        path
        for method in all_methods()
        for path in bindings(method)[1:]
        if method.full_name.startswith("greenroom.auth.")
    }
    assert additional == REFUSED.keys() | TESTED_ELSEWHERE.keys()


@pytest.mark.parametrize(("verb", "path", "body", "status", "why"), REFUSALS)
def test_refusals(
    rest: httpx.Client, verb: str, path: str, body: dict[str, Any], status: int, why: str
) -> None:
    reply = rest.request(verb, path, json=body if verb == "POST" else None)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert reason(reply).endswith(why), reply.text
    if why == FIELD:
        fields = details(reply)[BAD_REQUEST]["fieldViolations"]
        assert fields and all(field["description"] for field in fields)


def _signed_in(reply: httpx.Response) -> dict[str, str]:
    tokens = reply.raise_for_status().json()["signedIn"]["tokens"]
    return {"authorization": f"Bearer {tokens['accessToken']}"}


@pytest.mark.parametrize(
    ("sign_up", "persona"),
    [("/auth/signup", "PERSONA_BRAND"), ("/api/auth/register", "PERSONA_TEACHER")],
)
def test_a_sign_up_by_address(site: Site, rest: httpx.Client, sign_up: str, persona: str) -> None:
    address = f"{uuid.uuid4()}@example.com"
    body = {"email": address, "password": PASSWORD, "persona": persona, "displayName": "Ada"}
    if persona == "PERSONA_TEACHER":
        body["username"] = _new_name()
    first = rest.post(sign_up, json=body)
    assert (first.status_code, first.json()["email"]) == (200, address)
    credentials = {"email": address, "password": PASSWORD}
    assert reason(rest.post("/auth/login", json=credentials)).endswith("BAD_CREDENTIALS")
    token = {"token": site.mailed_token(address)}
    verified = rest.post("/api/auth/verify-email", json=token)
    assert (verified.status_code, verified.json()) == (200, {"email": address})
    assert rest.post("/api/auth/verify-email", json=token).status_code == 400
    # Somebody who has the address already gets the very same answer.
    assert rest.post(sign_up, json=body).content == first.content
    for path in ("/auth/login", "/api/auth/login"):
        headers = _signed_in(rest.post(path, json=credentials))
        me = rest.get("/api/auth/me", headers=headers).raise_for_status().json()["user"]
        assert (me["email"], me["displayName"]) == (address, "Ada")
        assert me["roles"] == [persona.removeprefix("PERSONA_").lower()]
        assert rest.post("/api/auth/logout", json={}, headers=headers).json() == {}
        assert rest.get("/api/auth/me", headers=headers).status_code == 401


def _new_name() -> str:
    return f"ada.{uuid.uuid4().hex[:12]}"


# What somebody signs up with in the words of an older system's own table of users, beside address and
# password; what it makes of them; and the path of that system, or of any where it says none.
SIGN_UPS = {
    "spectral": ("/auth/signup", {"role": "creator"}, ("", "creator")),
    "Ecme": (
        "/api/auth/register",
        {"name": "Ada King", "info": "We make tea.", "role": "editor"},
        ("Ada King", "editor"),
    ),
    "Influmojo": (
        "/auth/signup",
        {"name": "Ada King", "user_type": "brand", "language": "en"},
        ("Ada King", "brand"),
    ),
    "Influmojo, in upper case and in our words too": (
        "/auth/signup",
        {"name": "Ada", "userType": "BRAND", "displayName": "Ada", "persona": "PERSONA_BRAND"},
        ("Ada", "brand"),
    ),
    "the lessons": (
        "/api/auth/register",
        {"username": "", "full_name": "Ada King", "role": "student"},
        ("Ada King", "student"),
    ),
}


@pytest.mark.parametrize(("path", "words", "made"), SIGN_UPS.values(), ids=SIGN_UPS.keys())
def test_a_sign_up_and_a_log_in_in_the_words_of_older_systems(
    site: Site, rest: httpx.Client, path: str, words: dict[str, str], made: tuple[str, str]
) -> None:
    address = f"{uuid.uuid4()}@example.com"
    body = {**words, "email": address, "password": PASSWORD}
    if "username" in body:
        body["username"] = _new_name().upper()
    rest.post(path, json=body).raise_for_status()
    token = {"token": site.mailed_token(address)}
    rest.post("/api/auth/verify-email", json=token).raise_for_status()
    headers = _signed_in(rest.post("/auth/login", json={"email": address, "password": PASSWORD}))
    me = rest.get("/api/auth/me", headers=headers).json()["user"]
    assert (me["displayName"], me["roles"]) == (made[0] or address.partition("@")[0], [made[1]])
    if "username" not in body:
        return
    assert me["username"] == body["username"].lower()
    # Address or user name, in a field of its own or in the one for both.
    for field in ("username", "email"):
        _signed_in(
            rest.post("/api/auth/login", json={field: body["username"], "password": PASSWORD})
        )


@pytest.mark.parametrize("word", ["phone", "mobile"])
def test_a_sign_up_by_phone(site: Site, rest: httpx.Client, word: str) -> None:
    phone = f"+4917{uuid.uuid4().int % 10**9:09}"
    body = {word: phone, "password": PASSWORD, "role": "creator"}
    begun = rest.post("/auth/signup", json=body).raise_for_status().json()
    assert begun["phone"] == phone
    text = wait_until(lambda: _texts(site, phone), f"a text to {phone}")[-1]
    code = re.search(r"\b[0-9]{6}\b", text.partition("\n")[2])
    assert code
    wrong = {"otpId": begun["otpId"], "code": f"{(int(code[0]) + 1) % 10**6:06}"}
    assert rest.post("/auth/verify-otp", json=wrong).status_code == 400
    right = {"otpId": begun["otpId"], "code": code[0]}
    verified = rest.post("/auth/verify-otp", json=right)
    # The number is verified, the user is active, and the profile's completion is told.
    told = verified.raise_for_status().json()["verifiedContact"]
    assert (told["phone"], told["status"]) == (phone, "USER_STATUS_ACTIVE")
    assert (told["onboardingCompleted"], told["onboardingStep"]) == (False, 0)
    assert rest.post("/auth/verify-otp", json=right).status_code == 400
    headers = _signed_in(rest.post("/auth/login", json={word: phone, "password": PASSWORD}))
    assert rest.get("/api/auth/me", headers=headers).json()["user"]["phone"] == phone


def _texts(site: Site, phone: str) -> list[str]:
    texts = [path.read_text() for path in sorted((site.state_dir / "mail").glob("*.txt"))]
    return [text for text in texts if text.startswith(f"To: {phone}\n")]


def test_a_log_in_by_user_name(site: Site, rest: httpx.Client) -> None:
    ann, name = site.person("ann"), f"ann.{uuid.uuid4().hex[:12]}"
    credentials = {"username": name, "password": PASSWORD}
    assert rest.post("/api/auth/login", json=credentials).status_code == 401
    user = rest.get("/api/auth/me", headers=ann.headers).json()["user"]
    rest.patch(
        f"/v1/users/{ann.id}",
        params={"update_mask": "username"},
        json={"username": name.upper(), "etag": user["etag"]},
        headers=ann.headers,
    ).raise_for_status()
    for path in ("/api/auth/login", "/auth/login"):
        headers = _signed_in(rest.post(path, json=credentials))
        assert rest.get("/api/auth/me", headers=headers).json()["user"]["username"] == name


def test_a_forgotten_password(site: Site, rest: httpx.Client) -> None:
    ann = site.person("ann")
    first = site.mailed_token(ann.email)
    known = rest.post("/api/auth/forgot-password", json={"email": ann.email})
    unknown = rest.post("/api/auth/forgot-password", json={"email": "nobody@example.com"})
    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    assert (known.status_code, known.json()) == (200, {})

    def arrived() -> str:
        token = site.mailed_token(ann.email)
        return "" if token == first else token

    token = wait_until(arrived, "the mail with the token")
    body = {"token": token, "password": NEW_PASSWORD}
    changed = rest.post("/api/auth/reset-password", json=body)
    assert (changed.status_code, changed.json()) == (200, {})
    again = rest.post("/api/auth/reset-password", json={**body, "password": NEXT_PASSWORD})
    assert reason(again).endswith("TOKEN_INVALID")
    # Every session has ended, and the new password is the only one.
    assert rest.get("/api/auth/me", headers=ann.headers).status_code == 401
    old = {"email": ann.email, "password": PASSWORD}
    assert rest.post("/api/auth/login", json=old).status_code == 401
    _signed_in(rest.post("/api/auth/login", json={**old, "password": NEW_PASSWORD}))

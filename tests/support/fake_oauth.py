"""The common half of the fake providers: an authorization server (RFC 6749, RFC 7636) on loopback.

A person consents by POSTing ``sub`` to the authorization URL, as a browser would send the form of the
provider's page; the answer redirects back with a code.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from server.auth.gateways.trust import trusted_authorities
from tests.support.fake_http import Asked, FakeHttp, Response, json_of

CLIENT_ID = "greenroom-client"
CLIENT_SECRET = "greenroom-client-secret"


@dataclass(frozen=True)
class Grant:
    """What a code stands for."""

    sub: str
    redirect_uri: str
    challenge: str
    nonce: str
    scope: str


def consent(url: str, sub: str) -> dict[str, str]:
    """The person says yes; what the provider sends the browser back with."""
    # By itself each call would read all certificates, which takes longer than all the rest.
    reply = httpx.post(
        url, data={"sub": sub}, follow_redirects=False, timeout=10, verify=trusted_authorities()
    )
    assert reply.is_redirect, reply.text
    return dict(parse_qsl(urlsplit(reply.headers["location"]).query))


class FakeOAuth(FakeHttp):
    """A provider; the paths of its three endpoints and its profiles are a subclass's."""

    authorize_path = "/authorize"
    token_path = "/token"

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, Grant] = {}
        """Grants by access token."""
        self.issued: list[dict[str, Any]] = []
        """Every token answer."""
        self.faults: dict[str, Callable[[], Response]] = {}
        """What is answered on a path instead of the right thing."""
        self.paths: list[str] = []
        self._codes: dict[str, Grant] = {}

    def answer(self, asked: Asked) -> Response:
        """What a request gets."""
        self.paths.append(asked.path)
        if asked.path in self.faults:
            return self.faults[asked.path]()
        if asked.path == self.authorize_path:
            return self._authorize(asked)
        if asked.path == self.token_path and asked.method == "POST":
            return self._token(asked)
        if asked.method == "GET":
            return self.profile(asked)
        return json_of({"message": "404: Not Found", "code": 0}, 404)

    def profile(self, asked: Asked) -> Response:
        """What the provider's own API says."""
        return json_of({"message": "404: Not Found", "code": 0}, 404)

    def more_tokens(self, grant: Grant) -> dict[str, Any]:
        """What an answer of the token endpoint holds beside the access token."""
        return {"refresh_token": secrets.token_urlsafe(24)}

    def bearer(self, asked: Asked) -> Grant | None:
        """Whose access token a request carries."""
        return self.tokens.get(asked.authorization.removeprefix("Bearer "))

    def refuse_code(self) -> Response:
        """What a wrong code gets."""
        return json_of(
            {"error": "invalid_grant", "error_description": 'Invalid "code" in request.'}, 400
        )

    def _authorize(self, asked: Asked) -> Response:
        query = asked.query
        if query.get("response_type") != "code" or query.get("client_id") != CLIENT_ID:
            return json_of({"error": "invalid_request"}, 400)
        if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
            return json_of({"error": "invalid_request"}, 400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = Grant(
            asked.form["sub"],
            query["redirect_uri"],
            query["code_challenge"],
            query.get("nonce", ""),
            query["scope"],
        )
        back = urlencode({"code": code, "state": query["state"]})
        return 302, {"location": f"{query['redirect_uri']}?{back}"}, b""

    def _token(self, asked: Asked) -> Response:
        form = asked.form
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return json_of({"error": "invalid_client"}, 401)
        grant = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            grant is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != grant.redirect_uri
            or challenge != grant.challenge
        ):
            return self.refuse_code()
        token = secrets.token_urlsafe(24)
        self.tokens[token] = grant
        answer = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": grant.scope,
            **self.more_tokens(grant),
        }
        self.issued.append(answer)
        return json_of(answer)

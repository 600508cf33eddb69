"""GitHub and Facebook on loopback, as far as signing in goes."""

from typing import Any

from tests.support.fake_http import Asked, Response, json_of
from tests.support.fake_oauth import FakeOAuth


class FakeGitHub(FakeOAuth):
    """https://docs.github.com/apps/oauth-apps; errors of the token endpoint come with status 200."""

    authorize_path = "/login/oauth/authorize"
    token_path = "/login/oauth/access_token"

    def add(self, number: int, shown: str | None, emails: list[dict[str, Any]]) -> str:
        """Somebody with an account there: the address that their page shows, and all they have."""
        sub = str(number)
        self.people[sub] = {
            "user": {"id": number, "login": f"octo{sub}", "name": None, "email": shown},
            "emails": emails,
        }
        return sub

    def refuse_code(self) -> Response:
        """A wrong code."""
        return json_of({"error": "bad_verification_code", "error_description": "The code is gone."})

    def profile(self, asked: Asked) -> Response:
        """``/user`` and ``/user/emails``."""
        grant = self.bearer(asked)
        if grant is None:
            return json_of({"message": "Bad credentials"}, 401)
        person = self.people[grant.sub]
        if asked.path == "/api/v3/user":
            return json_of(person["user"])
        if asked.path == "/api/v3/user/emails":
            return json_of(person["emails"])
        return super().profile(asked)


class FakeFacebook(FakeOAuth):
    """https://developers.facebook.com/docs/facebook-login; errors are objects."""

    authorize_path = "/v21.0/dialog/oauth"
    token_path = "/v21.0/oauth/access_token"

    def add(self, sub: str, email: str) -> None:
        """Somebody with an account there."""
        self.people[sub] = {"id": sub, "name": f"Person {sub}", "email": email}

    def refuse_code(self) -> Response:
        """A wrong code."""
        return json_of({"error": {"message": "This code has been used.", "code": 100}}, 400)

    def profile(self, asked: Asked) -> Response:
        """``/me``."""
        grant = self.bearer(asked)
        if grant is None:
            return json_of({"error": {"message": "Invalid token.", "code": 190}}, 400)
        if asked.path != "/v21.0/me":
            return super().profile(asked)
        fields = asked.query["fields"].split(",")
        return json_of({name: self.people[grant.sub][name] for name in fields})

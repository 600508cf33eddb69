"""Discord on loopback, as https://discord.com/developers/docs/topics/oauth2 tells it."""

from typing import Any

from tests.support.fake_http import Asked, Response, json_of
from tests.support.fake_oauth import FakeOAuth


class FakeDiscord(FakeOAuth):
    """Its OAuth endpoints and ``/users/@me``."""

    authorize_path = "/oauth2/authorize"
    token_path = "/api/oauth2/token"

    def add(self, sub: str, email: str | None, *, verified: bool = True, **more: Any) -> None:
        """Somebody with an account there; ``sub`` is their snowflake. An address that is not
        verified is shown by the API like one that is."""
        self.people[sub] = {
            "id": sub,
            "username": f"user{sub}",
            "discriminator": "0",
            "global_name": f"User {sub}",
            "avatar": "8342729096ea3675442027381ff50dfe",
            "locale": "en-GB",
            "mfa_enabled": False,
            "verified": verified,
            "email": email,
            **more,
        }

    def profile(self, asked: Asked) -> Response:
        """``/users/@me``, without the address where the scope ``email`` was not granted."""
        if asked.path != "/api/v10/users/@me":
            return super().profile(asked)
        grant = self.bearer(asked)
        if grant is None:
            return json_of({"message": "401: Unauthorized", "code": 0}, 401)
        person = dict(self.people[grant.sub])
        if "email" not in grant.scope.split():
            del person["email"], person["verified"]
        return json_of(person)

"""What the tests of signing in with a provider do over and over."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenroom.auth.v1 import identity_pb2, sign_in_pb2, user_pb2
from greenroom.auth.v1 import identity_service_pb2 as identity_pb
from greenroom.auth.v1 import oauth_service_pb2 as pb
from server.auth.models import Identity, User
from server.core.unit import Unit
from tests.rpc.auth.scenes import bearer, in_unit
from tests.support.fake_oauth import CLIENT_ID, CLIENT_SECRET, FakeOAuth, consent
from tests.support.serve import Greenroom, Person

CALLBACK = "https://app.example.com/callback"
SIGN_IN = pb.AUTHORIZATION_PURPOSE_SIGN_IN
LINK = pb.AUTHORIZATION_PURPOSE_LINK
PROOF_INVALID = "AUTH_ERROR_REASON_OAUTH_PROOF_INVALID"
STATE_INVALID = "AUTH_ERROR_REASON_OAUTH_STATE_INVALID"
UNAVAILABLE = "AUTH_ERROR_REASON_PROVIDER_UNAVAILABLE"
LINK_REQUIRED = "AUTH_ERROR_REASON_LINK_REQUIRED"
TAKEN = "AUTH_ERROR_REASON_IDENTITY_TAKEN"


def settings_for(provider: str, issuer: str) -> dict[str, Any]:
    """Settings that make a provider known."""
    return {
        "oauth_redirect_uris": f"{CALLBACK},http://127.0.0.1:4711/callback",
        f"oauth_{provider}_client_id": CLIENT_ID,
        f"oauth_{provider}_client_secret": CLIENT_SECRET,
        f"oauth_{provider}_issuer": issuer,
    }


async def serve_with(serve: Callable[..., Any], provider: str, fake: FakeOAuth) -> Greenroom:
    """The server with one provider."""
    server: Greenroom = await serve(**settings_for(provider, fake.url))
    if hasattr(fake, "add"):
        fake.now = server.clock.now  # type: ignore[attr-defined]
    return server


@dataclass
class Trip:
    """A user on the way back from a provider."""

    begun: pb.StartOAuthResponse
    query: dict[str, str]

    def answer(self, **changed: Any) -> dict[str, Any]:
        """Fields of the request that ends it."""
        fields: dict[str, Any] = {
            "state": self.query["state"],
            "binding_secret": self.begun.binding_secret,
            "code": self.query["code"],
            **changed,
        }
        return {name: value for name, value in fields.items() if value is not None}


async def start(
    server: Greenroom,
    provider: str,
    purpose: pb.AuthorizationPurpose = SIGN_IN,
    **more: Any,
) -> pb.StartOAuthResponse:
    """Begins."""
    fields: dict[str, Any] = {"redirect_uri": CALLBACK, **more}
    return await server.oauth.StartOAuth(
        pb.StartOAuthRequest(provider=provider, purpose=purpose, **fields)
    )


async def travel(
    server: Greenroom,
    provider: str,
    sub: str,
    purpose: pb.AuthorizationPurpose = SIGN_IN,
    **more: Any,
) -> Trip:
    """Begins, and lets the person say yes at the provider."""
    begun = await start(server, provider, purpose, **more)
    return Trip(begun, await server_side(begun.authorization_url, sub))


async def server_side(url: str, sub: str) -> dict[str, str]:
    """The browser's part, in a thread: this loop serves Greenroom meanwhile."""
    return await asyncio.to_thread(consent, url, sub)


async def complete(server: Greenroom, trip: Trip, **changed: Any) -> pb.CompleteOAuthResponse:
    """Ends it by signing in."""
    return await server.oauth.CompleteOAuth(pb.CompleteOAuthRequest(**trip.answer(**changed)))


async def sign_in_with(
    server: Greenroom, provider: str, sub: str, **more: Any
) -> pb.CompleteOAuthResponse:
    """The whole way in."""
    return await complete(server, await travel(server, provider, sub, **more))


async def link(server: Greenroom, who: Person, trip: Trip, **changed: Any) -> identity_pb2.Identity:
    """Ends it by linking."""
    request = identity_pb.LinkIdentityRequest(**trip.answer(**changed))
    return (await server.identities.LinkIdentity(request, metadata=who.metadata)).identity


async def link_with(
    server: Greenroom, who: Person, provider: str, sub: str
) -> identity_pb2.Identity:
    """The whole way to a linked identity."""
    return await link(server, who, await travel(server, provider, sub, LINK))


async def identities_of(server: Greenroom, who: Person) -> list[identity_pb2.Identity]:
    """What the caller has linked, the newest first."""
    reply = await server.identities.ListIdentities(
        identity_pb.ListIdentitiesRequest(), metadata=who.metadata
    )
    return list(reply.identities)


def person_of(signed_in: sign_in_pb2.SignedIn) -> Person:
    """Somebody who came in by a provider."""
    return Person(
        signed_in.user.id, signed_in.user.email, signed_in, bearer(signed_in.tokens.access_token)
    )


async def set_row(server: Greenroom, email: str, **values: Any) -> None:
    """Changes a user's row behind the server's back."""

    def change(unit: Unit) -> None:
        User.update(update_time=unit.now, **values).where(User.email == email).execute()

    await in_unit(server, change, write=True)


async def identity_rows(server: Greenroom) -> list[Identity]:
    """Every identity, oldest first."""
    return await in_unit(server, lambda _: list(Identity.select().order_by(Identity.id)))


def creator() -> user_pb2.Persona:
    """The role that sign-ups of these tests choose."""
    return user_pb2.PERSONA_CREATOR

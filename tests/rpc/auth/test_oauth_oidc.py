"""Signing in with a real OpenID provider in a process of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from grpc import StatusCode

from greenroom.auth.v1 import identity_pb2, user_pb2
from greenroom.auth.v1 import identity_service_pb2 as identity_pb
from server.core.clock import SystemClock
from tests.rpc.auth.oauth_scenes import (
    CALLBACK,
    LINK,
    LINK_REQUIRED,
    complete,
    creator,
    identities_of,
    link,
    person_of,
    settings_for,
    sign_in_with,
    start,
    travel,
)
from tests.rpc.auth.scenes import audit_rows, get_me
from tests.support.oidc_process import oidc_provider
from tests.support.serve import Greenroom
from tests.support.statuses import refused

ADA = {"sub": "ada-1", "email": "Ada@Example.com", "email_verified": True, "name": "Ada L."}
BOB = {"sub": "bob-1", "email": "bob@example.com", "email_verified": True, "name": "Bob"}


async def test_a_person_signs_up_signs_in_links_and_unlinks(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    with oidc_provider(tmp_path, ADA, BOB) as issuer:
        server: Greenroom = await serve(clock=SystemClock(), **settings_for("google", issuer))
        new = await sign_in_with(server, "google", "ada-1", persona=creator(), language="de")
        assert new.signed_up
        user = new.signed_in.user
        assert (user.email, user.display_name) == ("ada@example.com", "Ada L.")
        assert user.status == user_pb2.USER_STATUS_ACTIVE and user.email_verified_time.seconds
        assert list(user.roles) == ["creator"] and user.signup_provider == "google"
        again = await sign_in_with(server, "google", "ada-1")
        assert not again.signed_up and again.signed_in.user.id == user.id
        ada = person_of(again.signed_in)
        assert (await get_me(server, ada.metadata)).id == user.id

        # Bob has an account of his own with the same address: he is not let in by it.
        await server.sign_up("bob@example.com", name="Bob")
        await refused(
            sign_in_with(server, "google", "bob-1"), StatusCode.FAILED_PRECONDITION, LINK_REQUIRED
        )
        bob = await server.log_in("bob@example.com")
        identity = await link(server, bob, await travel(server, "google", "bob-1", LINK))
        assert identity.type == identity_pb2.IDENTITY_TYPE_OIDC
        assert (identity.provider, identity.provider_account_id) == ("google", "bob-1")
        assert (identity.email, identity.email_verified) == ("bob@example.com", True)
        assert (await sign_in_with(server, "google", "bob-1")).signed_in.user.id == bob.id
        assert [found.id for found in await identities_of(server, bob)] == [identity.id]

        await server.identities.UnlinkIdentity(
            identity_pb.UnlinkIdentityRequest(identity_id=identity.id), metadata=bob.metadata
        )
        assert await identities_of(server, bob) == []
        await refused(
            sign_in_with(server, "google", "bob-1"), StatusCode.FAILED_PRECONDITION, LINK_REQUIRED
        )
        rows = [row for row in await audit_rows(server) if row[0].startswith("identity.")]
        assert rows == [("identity.link", "OK"), ("identity.unlink", "OK")]


async def test_the_request_is_what_the_standards_ask_for(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    with oidc_provider(tmp_path, ADA) as issuer:
        server: Greenroom = await serve(clock=SystemClock(), **settings_for("google", issuer))
        begun = await start(server, "google")
        query = parse_qs(urlsplit(begun.authorization_url).query)
        assert begun.authorization_url.startswith(f"{issuer}/oauth2/authorize?")
        assert query["redirect_uri"] == [CALLBACK] and query["response_type"] == ["code"]
        assert query["scope"] == ["openid email profile"]
        assert query["code_challenge_method"] == ["S256"]
        assert len(query["code_challenge"][0]) == 43
        assert query["state"] == [begun.state] and query["nonce"] == [begun.nonce]
        assert begun.binding_secret not in begun.authorization_url
        left = begun.expire_time.seconds - server.clock.now().timestamp()
        assert 590 < left <= 600
        other = await start(server, "google")
        secrets = [
            value for one in (begun, other) for value in (one.state, one.nonce, one.binding_secret)
        ]
        assert len(set(secrets)) == 6 and min(map(len, secrets)) >= 43
        # The code is good for the verifier of its own flow: another's state brings another one.
        trip = await travel(server, "google", "ada-1")
        assert (await complete(server, trip)).signed_up

"""GetMe, GetJwks and the authentication of every call."""

import asyncio
from datetime import timedelta

import jwt
import pytest
from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as pb
from server.auth.keys import SigningKey, SigningKeys
from server.auth.models import Role, User, UserRole
from server.auth.tokens import AccessClaims, AccessTokens
from server.auth.usecases.users import tell_rights_changed
from server.core.unit import Unit
from tests.rpc.auth.scenes import bearer, get_me, in_unit, module_of, refused_after, set_user, turn
from tests.support.forged_tokens import FORGED, THEIRS
from tests.support.serve import Greenroom
from tests.support.statuses import code_of, refused

REVOKED = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")


async def test_the_reply_is_kept_until_the_user_changes(
    server: Greenroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await server.person("Ada")
    first = await get_me(server, ada.metadata)
    database = server.running.parts.database
    units = 0
    run = database.run

    async def counted(*arguments: object, **options: object) -> object:
        nonlocal units
        units += 1
        return await run(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "run", counted)
    began = units
    for _ in range(50):
        assert await get_me(server, ada.metadata) == first
    # The tickers of auth may have looked into the database meanwhile; the calls did not.
    assert units - began < 10
    turn(server, 60)
    await server.log_in(ada.email)
    assert (await get_me(server, ada.metadata)).last_login_time != first.last_login_time


async def test_users_do_not_see_each_other(server: Greenroom) -> None:
    people = [await server.person(f"person{number}") for number in range(4)]
    for _ in range(2):
        replies = await asyncio.gather(*(get_me(server, person.metadata) for person in people))
        assert [reply.email for reply in replies] == [person.email for person in people]


async def test_a_lost_status_is_noticed_within_a_second(server: Greenroom) -> None:
    for status in ("SUSPENDED", "BANNED", "DELETED", "PENDING"):
        person = await server.person(status)
        await get_me(server, person.metadata)
        turn(server, 1)
        await set_user(server, person, status=status)
        assert await refused_after(server, person.metadata) < 1


async def test_changed_rights_hold_from_the_commit_on_and_end_streams(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    ended: list[str] = []
    module_of(server).authenticator.on_revoked(ended.append)
    assert list((await get_me(server, ada.metadata)).roles) == ["creator"]

    def promote(unit: Unit) -> None:
        role = Role.get(Role.name == "admin")
        UserRole.create(user=ada.id, role=role.id, create_time=unit.now)
        tell_rights_changed(unit, ada.id)

    await in_unit(server, promote, write=True)
    me = await get_me(server, ada.metadata)
    assert list(me.roles) == ["admin", "creator"]
    assert "auth.sessions.revoke" in me.permissions and list(me.permissions) == sorted(
        me.permissions
    )
    assert sorted(ended) == sorted([ada.session_id, other.session_id])


async def test_a_purged_user_is_nobody(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await get_me(server, ada.metadata)
    turn(server, 1)
    await in_unit(server, lambda _unit: User.delete().execute(), write=True)
    await module_of(server).authenticator.look()
    module_of(server).me.drop(ada.id)
    await refused(get_me(server, ada.metadata), *REVOKED)


async def test_a_token_ends_with_its_time(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await get_me(server, ada.metadata)
    turn(server, 899)
    await get_me(server, ada.metadata)
    turn(server, 1)
    await refused(get_me(server, ada.metadata), *REVOKED)


async def test_no_forged_token_opens_the_door(server: Greenroom) -> None:
    await server.person("Ada")
    accepted = []
    for name, token in FORGED:
        # What metadata cannot carry never reaches the server.
        if not token.isascii() or not token.isprintable() or not token.strip():
            continue
        if len(token) > 8000:
            continue
        if await code_of(get_me(server, bearer(token))) is not StatusCode.UNAUTHENTICATED:
            accepted.append(name)
    assert accepted == []


async def test_a_token_of_another_server_is_refused(server: Greenroom) -> None:
    """Same issuer and audience, same people, another signing key."""
    ada = await server.person("Ada")
    now = server.clock.now()
    theirs = AccessTokens(
        SigningKeys([SigningKey("theirs", THEIRS, now)]),
        issuer="greenroom",
        audience="greenroom",
        clock=server.clock,
    )
    claims = AccessClaims(ada.id, ada.session_id, ada.id, 1, now, now + timedelta(minutes=5))
    await refused(get_me(server, bearer(theirs.sign(claims))), *REVOKED)


async def test_the_published_keys_verify_a_token(server: Greenroom) -> None:
    ada = await server.person("Ada")
    (key,) = (await server.auth.GetJwks(pb.GetJwksRequest())).keys
    fields = {"kty": key.kty, "crv": key.crv, "x": key.x, "kid": key.kid, "alg": key.alg}
    token = ada.tokens.tokens.access_token
    assert jwt.get_unverified_header(token) == {
        "alg": "EdDSA",
        "typ": "at+jwt",
        "kid": key.kid,
    }
    claims = jwt.decode(
        token,
        jwt.PyJWK.from_dict(fields),
        algorithms=["EdDSA"],
        audience="greenroom",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (claims["sub"], claims["sid"]) == (ada.id, ada.session_id)
    assert claims["exp"] - claims["iat"] == 900 and key.use == "sig"

"""What is linked: seen by its owner, taken away, and kept so that nobody reads its tokens."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pyotp
import pytest
from grpc import StatusCode, aio

from greenroom.auth.v1 import identity_service_pb2 as pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from server.auth.models import Identity
from server.auth.usecases.provider_tokens import (
    SEALED,
    open_token,
    provider_tokens,
    seal_token,
)
from server.core.db import database
from server.core.ids import new_id
from server.core.sealing import SealBroken
from server.core.unit import Unit
from server.wire.logs import CallLog, fields_of
from tests.rpc.auth.oauth_scenes import (
    identities_of,
    identity_rows,
    link_with,
    person_of,
    settings_for,
    sign_in_with,
)
from tests.rpc.auth.scenes import in_unit, mail_number
from tests.support.digests import VIRTUAL
from tests.support.fake_discord import FakeDiscord
from tests.support.fake_oauth import Grant
from tests.support.serve import Greenroom, Person
from tests.support.statuses import failure_of, reason_of, refused

NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_IDENTITY_NOT_FOUND")
LAST = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_LAST_WAY_IN")


class Canaries(FakeDiscord):
    """A Discord whose tokens can be searched for."""

    def __init__(self) -> None:
        super().__init__()
        self.planted: list[str] = []

    def more_tokens(self, grant: Grant) -> dict[str, Any]:
        planted = {
            "refresh_token": f"canary-refresh-{secrets.token_hex(16)}",
            "id_token": f"canary-id-{secrets.token_hex(16)}",
        }
        self.planted += planted.values()
        return planted


@pytest.fixture
async def discord() -> AsyncIterator[Canaries]:
    with Canaries() as fake:
        fake.add("1", None)
        fake.add("2", None)
        yield fake


@pytest.fixture
async def server(serve: Callable[..., Any], discord: Canaries) -> Greenroom:
    served: Greenroom = await serve(
        log_level="debug", log_requests="all", **settings_for("discord", discord.url)
    )
    return served


async def _unlink(server: Greenroom, who: Person, identity_id: str) -> None:
    await server.identities.UnlinkIdentity(
        pb.UnlinkIdentityRequest(identity_id=identity_id), metadata=who.metadata
    )


async def test_the_list_comes_in_pages_and_holds_no_token(
    server: Greenroom, discord: Canaries
) -> None:
    ada = await server.person("Ada")
    for number in range(5):
        discord.add(str(number), None)
        await link_with(server, ada, "discord", str(number))
    found: list[str] = []
    token = ""
    for size in (2, 2, 1):
        reply = await server.identities.ListIdentities(
            pb.ListIdentitiesRequest(page_size=2, page_token=token), metadata=ada.metadata
        )
        assert len(reply.identities) == size
        assert not any(planted in str(reply) for planted in discord.planted)
        found += [one.provider_account_id for one in reply.identities]
        token = reply.next_page_token
    assert found == ["4", "3", "2", "1", "0"] and token == ""
    identity = reply.identities[0]
    assert list(identity.scopes) == ["email", "identify"] and identity.display_name == "User 0"
    assert identity.avatar_url.startswith("https://cdn.discordapp.com/avatars/0/")
    assert identity.create_time.seconds == identity.last_used_time.seconds > 0
    bob = await server.person("Bob")
    assert await identities_of(server, bob) == []
    await refused(
        server.identities.ListIdentities(
            pb.ListIdentitiesRequest(page_token="x"), metadata=ada.metadata
        ),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN",
    )


async def test_nobody_signed_in_gets_nowhere(server: Greenroom) -> None:
    calls: list[Any] = [
        server.identities.ListIdentities(pb.ListIdentitiesRequest()),
        server.identities.LinkIdentity(pb.LinkIdentityRequest(state="x", code="y")),
        server.identities.UnlinkIdentity(pb.UnlinkIdentityRequest(identity_id=new_id())),
    ]
    for call in calls:
        await refused(call, StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")


async def test_a_foreign_identity_looks_absent(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    linked = await link_with(server, ada, "discord", "1")
    foreign = await refused(_unlink(server, bob, linked.id), *NOT_FOUND)
    absent = await refused(_unlink(server, bob, new_id()), *NOT_FOUND)
    assert foreign.details() == absent.details()
    assert len(await identities_of(server, ada)) == 1
    await server.stale(ada)
    await refused(
        _unlink(server, ada, linked.id),
        StatusCode.PERMISSION_DENIED,
        "WIRE_ERROR_REASON_STEP_UP_REQUIRED",
    )


async def test_the_last_way_in_stays(server: Greenroom) -> None:
    ada = person_of((await sign_in_with(server, "discord", "1")).signed_in)
    first = (await identities_of(server, ada))[0]
    await refused(_unlink(server, ada, first.id), *LAST)
    second = await link_with(server, ada, "discord", "2")
    await _unlink(server, ada, first.id)
    await refused(_unlink(server, ada, first.id), *NOT_FOUND)
    await refused(_unlink(server, ada, second.id), *LAST)
    assert (await sign_in_with(server, "discord", "2")).signed_in.user.id == ada.id
    assert (await sign_in_with(server, "discord", "1")).signed_in.user.id != ada.id


async def test_of_two_last_ways_in_that_go_at_once_one_stays(server: Greenroom) -> None:
    ada = person_of((await sign_in_with(server, "discord", "1")).signed_in)
    await link_with(server, ada, "discord", "2")
    ids = [one.id for one in await identities_of(server, ada)]
    ended = await asyncio.gather(
        *(_unlink(server, ada, one) for one in ids), return_exceptions=True
    )
    errors = [error for error in ended if isinstance(error, aio.AioRpcError)]
    assert [reason_of(error) for error in errors] == [LAST[1]]
    assert len(await identities_of(server, ada)) == 1


async def test_unlinking_is_told_by_mail(server: Greenroom) -> None:
    ada = await server.person("Ada")
    linked = await link_with(server, ada, "discord", "1")
    await _unlink(server, ada, linked.id)
    mails = {(await mail_number(server, ada.email, number))["subject"] for number in (2, 3)}
    assert mails == {
        "You can sign in with Discord now",
        "You cannot sign in with Discord any more",
    }


async def test_a_second_factor_is_asked_for(server: Greenroom) -> None:
    ada = person_of((await sign_in_with(server, "discord", "1")).signed_in)
    made = await server.mfa.CreateMfaFactor(
        mfa_pb.CreateMfaFactorRequest(label="Phone"), metadata=ada.metadata
    )
    code = pyotp.TOTP(made.secret).at(server.clock.now())
    await server.mfa.ActivateMfaFactor(
        mfa_pb.ActivateMfaFactorRequest(factor_id=made.factor.id, totp_code=code),
        metadata=ada.metadata,
    )
    reply = await sign_in_with(server, "discord", "1")
    assert reply.WhichOneof("outcome") == "mfa_challenge" and not reply.signed_up
    assert reply.mfa_challenge.challenge_token


async def test_tokens_are_opened_for_other_modules(server: Greenroom, discord: Canaries) -> None:
    ada = person_of((await sign_in_with(server, "discord", "1")).signed_in)
    keyring = server.running.parts.keyring

    def opened(unit: Unit, user_id: str = ada.id, provider: str = "discord") -> Any:
        return provider_tokens(unit, user_id, provider, keyring=keyring)

    tokens = await in_unit(server, opened)
    assert tokens.access_token == discord.issued[0]["access_token"]
    assert [tokens.refresh_token, tokens.id_token] == discord.planted
    assert tokens.scopes == {"identify", "email"} and tokens.token_type == "Bearer"
    assert (tokens.expires_at - server.clock.now()).total_seconds() == 3600
    assert not any(token in repr(tokens) for token in [tokens.access_token, *discord.planted])
    assert await in_unit(server, lambda unit: opened(unit, provider="google")) is None
    assert await in_unit(server, lambda unit: opened(unit, user_id=new_id())) is None
    # A later answer without a refresh token keeps the one that is there.
    discord.more_tokens = lambda grant: {}  # type: ignore[method-assign]
    await sign_in_with(server, "discord", "1")
    renewed = await in_unit(server, opened)
    assert renewed.refresh_token == tokens.refresh_token
    assert renewed.access_token == discord.issued[1]["access_token"]


async def test_no_token_is_found_in_database_or_log(
    server: Greenroom,
    discord: Canaries,
    database_kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A-12: 50 people's tokens, none of them readable."""
    said: list[str] = []
    write = CallLog.write

    def keep(log: CallLog, line: Any) -> None:
        said.append(orjson.dumps(fields_of(line)).decode())
        write(log, line)

    monkeypatch.setattr(CallLog, "write", keep)
    logging.getLogger().addHandler(handler := _Keeping(said))
    try:
        for number in range(50):
            discord.add(str(number), None)
            await sign_in_with(server, "discord", str(number))
    finally:
        logging.getLogger().removeHandler(handler)
    assert len(await identity_rows(server)) == 50
    canaries = discord.planted + [answer["access_token"] for answer in discord.issued]
    assert len(canaries) == 150
    stored = await in_unit(server, _everything)
    files = _files_of(server)
    logged = "\n".join(said)
    # What is not sealed is found, in all three: otherwise this would look in the wrong place.
    assert "User 49" in stored and "CompleteOAuth" in logged
    assert database_kind != "sqlite" or b"User 49" in files
    for canary in canaries:
        assert canary not in stored and canary not in logged
        assert canary.encode() not in files


def _everything(_unit: Unit) -> str:
    """Every row of every table."""
    tables = [f'SELECT * FROM "{table}"' for table in set(database.get_tables()) - VIRTUAL]
    return repr([database.execute_sql(query).fetchall() for query in tables])


def _files_of(server: Greenroom) -> bytes:
    """Whatever lies in the state directory, and beside an SQLite database: itself and its WAL."""
    folders = [server.settings.state_dir]
    kind, _, path = server.settings.database_url.partition(":///")
    if kind == "sqlite":
        folders.append(Path(path).parent)
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert kind != "sqlite" or {"greenroom.db", "greenroom.db-wal"} <= {one.name for one in found}
    return b"".join(path.read_bytes() for path in found)


class _Keeping(logging.Handler):
    def __init__(self, kept: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(f"{record.getMessage()} {record.__dict__}")


async def test_sealed_columns_are_good_for_their_row_only(server: Greenroom) -> None:
    ada = person_of((await sign_in_with(server, "discord", "1")).signed_in)
    await sign_in_with(server, "discord", "2")
    keyring = server.running.parts.keyring
    mine, theirs = await identity_rows(server)
    for name in SEALED:
        seal_token(mine, name, f"secret-{name}", keyring=keyring)
        seal_token(theirs, name, f"other-{name}", keyring=keyring)
        assert open_token(mine, name, keyring=keyring) == f"secret-{name}"
    for name in SEALED:
        kept = getattr(mine, f"{name}_enc")
        for other in SEALED:
            for row in (mine, theirs):
                if (row, other) == (mine, name):
                    continue
                saved = getattr(row, f"{other}_enc")
                setattr(row, f"{other}_enc", kept)
                with pytest.raises(SealBroken):
                    open_token(row, other, keyring=keyring)
                setattr(row, f"{other}_enc", saved)
        for position in range(len(kept)):
            for bit in range(7):
                flipped = chr(ord(kept[position]) ^ (1 << bit))
                setattr(mine, f"{name}_enc", kept[:position] + flipped + kept[position + 1 :])
                with pytest.raises(SealBroken):
                    open_token(mine, name, keyring=keyring)
        setattr(mine, f"{name}_enc", kept)

    def swap(unit: Unit) -> None:
        Identity.update(access_token_enc=theirs.access_token_enc).where(
            Identity.id == mine.id
        ).execute()

    await in_unit(server, swap, write=True)
    with pytest.raises(SealBroken):
        await in_unit(
            server, lambda unit: provider_tokens(unit, ada.id, "discord", keyring=keyring)
        )


async def test_a_provider_that_is_gone_is_named(
    serve: Callable[..., Any], discord: Canaries
) -> None:
    server = await serve(oauth_redirect_uris="https://app.example.com/callback")
    error = await failure_of(sign_in_with(server, "discord", "1"))
    assert reason_of(error) == "AUTH_ERROR_REASON_PROVIDER_NOT_CONFIGURED"

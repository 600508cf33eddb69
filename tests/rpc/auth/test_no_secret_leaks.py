"""No secret that goes in or comes out stands in a log, an error, a metric or a table (A-16).

The kinds are taken from the descriptors: every field of a request that is marked ``secret``, so that
a new one is covered the day it is written; every header that may carry one; every secret that the
server gives out itself in a tour through all ways in; and those that it runs with.
"""

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from grpc import aio
from prometheus_client import generate_latest

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from greenroom.auth.v1 import oauth_service_pb2 as oauth_pb
from greenroom.auth.v1 import passkey_service_pb2 as passkey_pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from server.auth.models import Credential
from server.core.db import database
from server.core.unit import Unit
from server.wire import exchange, redaction
from server.wire.logs import configure
from server.wire.policies import is_secret
from tests.rpc.auth.keys import create_key, service
from tests.rpc.auth.oauth_scenes import CALLBACK
from tests.rpc.auth.otp_scenes import new_phone, sign_up_by_phone, texted_code
from tests.rpc.auth.scenes import in_unit, mail_number, refresh, tokens_in
from tests.rpc.auth.second_factors import challenge_of, code_now, enrolled
from tests.rpc.auth.staff import member_of_staff
from tests.support.canaries import CODE, Canaries, named, secret_inputs, unknown_field, variants
from tests.support.digests import VIRTUAL
from tests.support.serve import PASSWORD, Greenroom
from tests.support.services import all_methods

KINDS = 60
INPUTS = secret_inputs()
PROVIDERS = ("google", "apple", "discord", "github", "facebook")
HEADERS = (
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-access-token",
    "x-session",
    "set-cookie",
    "referer",
)

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Talkative:
    """A server that logs all that it can, and what it has logged."""

    server: Greenroom
    out: io.BytesIO
    canaries: Canaries

    async def texts(self) -> dict[str, str]:
        """Every text that leaves the process or stays behind for others to read."""
        self.server.running._log.flush()
        return {
            "log": self.out.getvalue().decode(),
            "metrics": generate_latest(self.server.running.registry).decode(),
            "tables": await in_unit(self.server, _every_row),
            "errors": b"\n".join(self.canaries.told).decode(errors="replace"),
        }


def _every_row(_unit: Unit) -> str:
    tables = set(database.get_tables()) - VIRTUAL
    assert {"audit_events", "jobs", "idempotency_keys", "sessions"} <= tables
    return repr([database.execute_sql(f'SELECT * FROM "{one}"').fetchall() for one in tables])


@contextmanager
def _logging_everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.BytesIO]:
    """As `python -m server serve` does with LOG_LEVEL=debug; what tests had is put back."""
    root, out = logging.getLogger(), io.BytesIO()
    level, handlers = root.level, root.handlers[:]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
        configure("debug", "json")
        try:
            yield out
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


@pytest.fixture
async def talkative(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    canaries = Canaries()
    settings: dict[str, str] = {"oauth_redirect_uris": CALLBACK}
    for one in PROVIDERS:
        settings[f"oauth_{one}_client_id"] = "a client"
        settings[f"oauth_{one}_client_secret"] = canaries.new(f"client secret of {one}")
    with _logging_everything(monkeypatch) as out:
        server = await serve(log_level="debug", log_requests="all", **settings)
        yield Talkative(server, out, canaries)


def _method(name: str) -> MethodDescriptor:
    return next(method for method in all_methods() if method.name == name)


async def _send(one: Talkative, method: MethodDescriptor, raw: bytes, metadata: Metadata) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    channel: Any = one.server.channel
    try:
        await channel.unary_unary(path)(raw, metadata=metadata)
    except aio.AioRpcError as error:
        one.canaries.told.append((error.details() or "").encode())
        for _, value in error.trailing_metadata() or ():
            one.canaries.told.append(value if isinstance(value, bytes) else value.encode())


async def _tour(one: Talkative) -> None:
    """What the server gives out by itself."""
    server, canaries = one.server, one.canaries
    await _by_mail_and_text(server, canaries)
    who = await enrolled(server, "Bob")
    canaries.add("secret of an app", who.secret)
    canaries.add("backup code", *who.backup_codes)
    challenge = await challenge_of(server, who)
    canaries.gave(challenge)
    request = mfa_pb.CompleteMfaChallengeRequest(
        challenge_token=challenge.challenge_token, totp_code=code_now(server, who.secret)
    )
    canaries.gave(await server.mfa.CompleteMfaChallenge(request))
    renewal = mfa_pb.RegenerateBackupCodesRequest()
    canaries.gave(await server.mfa.RegenerateBackupCodes(renewal, metadata=who.metadata))
    canaries.gave(
        await server.mfa.CreateMfaFactor(mfa_pb.CreateMfaFactorRequest(), metadata=who.metadata)
    )
    staff = await member_of_staff(server, "super_admin")
    canaries.gave(await create_key(server, staff, "auth.tokens.introspect"))
    options = await server.passkeys.StartPasskeyLogin(passkey_pb.StartPasskeyLoginRequest())
    canaries.add("challenge of a passkey", json.loads(options.options_json)["challenge"])
    start = oauth_pb.StartOAuthRequest(
        provider="discord", redirect_uri=CALLBACK, purpose=oauth_pb.AUTHORIZATION_PURPOSE_SIGN_IN
    )
    canaries.gave(await server.oauth.StartOAuth(start))


async def _by_mail_and_text(server: Greenroom, canaries: Canaries) -> None:
    ada = await server.person("Ada")
    canaries.gave(ada.tokens)
    canaries.gave(await refresh(server, ada.tokens.tokens.refresh_token))
    canaries.add("mailed token", *tokens_in(await mail_number(server, ada.email, 1)))
    forgotten = password_pb.RequestPasswordResetRequest(email=ada.email)
    await server.passwords.RequestPasswordReset(forgotten)
    canaries.add("mailed reset", await server.mailed_token(ada.email, 2))
    phone = new_phone()
    await sign_up_by_phone(server, phone)
    canaries.add("texted code", await texted_code(server, phone))


def _keys(server: Greenroom) -> Iterator[tuple[str, str]]:
    """The keys that the server runs with, as its files hold them."""
    folder = server.settings.keys_dir
    for key in json.loads((folder / "encryption.json").read_text()).values():
        yield "key that seals", key
    for path in folder.glob("signing-*.json"):
        yield "key that signs", json.loads(path.read_text())["d"]


async def _send_everything(one: Talkative) -> None:
    """Every secret through its method, and any secret through every method."""
    server, canaries = one.server, one.canaries
    ada = await server.person("Ada")
    staff = await member_of_staff(server, "super_admin")
    key = await service(server, "auth.web_storage", "auth.tokens.introspect")
    callers: tuple[Metadata, ...] = ((), ada.metadata, staff.metadata, key)
    canaries.add("bearer", *(value.removeprefix("Bearer ") for ((_, value),) in callers[1:]))
    for method, way in INPUTS:
        value = canaries.new(named(method.name, way))
        for raw in variants(method, way, value):
            for metadata in callers:
                await _send(one, method, raw, metadata)
    for method in all_methods():
        # Undecodable everywhere, so that nobody is signed out on the way.
        hidden = canaries.new("field that no message has").encode()
        for metadata in callers:
            await _send(one, method, unknown_field(hidden) + b"\xff", metadata)
    for name in HEADERS:
        value = canaries.new(f"header {name}")
        for text, before in ((value, ()), (f"Bearer {value}", ()), (f"s={value}", ada.metadata)):
            await _send(one, _method("GetMe"), b"", ((name, text), *before))


def test_every_secret_that_comes_in_is_tried() -> None:
    assert len(INPUTS) >= 40
    streaming = [one.full_name for one, _ in INPUTS if one.client_streaming]
    assert streaming == [], "say here how such a stream is opened"


def test_whatever_is_named_like_a_secret_is_one() -> None:
    """A field that loses its mark drops out of the tests below; it cannot drop out of this one."""
    names = {way[-1].name for _, way in INPUTS}
    assert names >= {
        *("password", "old_password", "new_password", "token", "refresh_token", "session_token"),
        *("access_token", "id_token", "oauth_token", "oauth_token_secret", "challenge_token"),
        *("code", "totp_code", "backup_code", "state", "binding_secret"),
        *("passkey_json", "credential_json"),
    }
    unmarked = {
        one.full_name
        for method in all_methods()
        for message in (method.input_type, method.output_type)
        for one in message.fields
        if one.name in names
        and not is_secret(one)
        and not one.full_name.startswith("greenroom.chat")
    }
    assert unmarked == set()


@pytest.mark.timeout(300)
async def test_no_secret_is_told_on(talkative: Talkative) -> None:
    server, canaries = talkative.server, talkative.canaries
    for kind, value in _keys(server):
        canaries.add(kind, value)
    await _tour(talkative)
    await _send_everything(talkative)
    texts = await talkative.texts()
    assert canaries.kinds > {"key that seals", "key that signs"}
    assert len(canaries.kinds) >= KINDS, sorted(canaries.kinds)
    assert len(canaries.told) > 500 and texts["log"].count("RefreshToken") > 20
    assert all(method.full_name in texts["log"] for method in all_methods())
    # Six digits may be part of any number.
    long = replace(canaries, values=[one for one in canaries.values if len(one[1]) > 6])
    assert {where: long.found_in(text) for where, text in texts.items()} == {
        where: [] for where in texts
    }
    assert [where for where, text in texts.items() if PASSWORD in text] == []
    short = [CODE, *(value for _, value in canaries.values if len(value) == 6)]
    alone = re.compile(rf"(?<![\w.])({'|'.join(short)})(?![\w.])")
    assert [where for where, text in texts.items() if alone.search(text)] == []
    assert "Traceback" not in texts["errors"]
    hashes = await in_unit(server, lambda _unit: [one.password_hash for one in Credential.select()])
    told = texts["log"] + texts["errors"] + texts["metrics"]
    assert hashes and not [one for one in hashes if one in told]


async def _log_in(one: Talkative, **fields: Any) -> None:
    request = auth_pb.LogInRequest(**{"email": "a@example.com", "password": "wrong", **fields})
    await _send(one, _method("LogIn"), request.SerializeToString(), ())


async def test_a_field_without_its_mark_is_noticed(
    talkative: Talkative, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = talkative.canaries.new("a password")
    await _log_in(talkative, password=value)
    assert talkative.canaries.found_in((await talkative.texts())["log"]) == []
    monkeypatch.setattr(
        redaction, "is_secret", lambda field: is_secret(field) and field.name != "password"
    )
    await _log_in(talkative, password=value)
    assert talkative.canaries.found_in((await talkative.texts())["log"]) == ["a password"]


async def test_a_request_that_is_logged_whole_is_noticed(
    talkative: Talkative, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = talkative.canaries.new("a password")
    monkeypatch.setattr(exchange, "redacted", json_format.MessageToDict)
    await _log_in(talkative, password=value)
    assert talkative.canaries.found_in((await talkative.texts())["log"]) == ["a password"]


async def test_the_net_catches_what_is_told(talkative: Talkative) -> None:
    """Against a test that looks into nothing: what is no secret is found wherever it is told."""
    value = talkative.canaries.new("a device name")
    ada = await talkative.server.person("Ada")
    await _log_in(talkative, email=ada.email, password=PASSWORD, device_name=value)
    logging.getLogger("server.auth").debug("told on: %s", value)
    texts = await talkative.texts()
    assert texts["log"].count(value) == 2 and value in texts["tables"]
    request = auth_pb.LogInRequest(email=ada.email, password="x", device_name=value * 20)
    await _send(talkative, _method("LogIn"), request.SerializeToString(), ((value.lower(), "x"),))
    await _send(talkative, _method("GetMe"), b"", (("x-request-id", value),))
    assert value in (await talkative.texts())["errors"]

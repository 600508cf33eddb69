"""No secret that goes in or comes out stands in a log, an error, a metric or an audit row (A-16).

The kinds are taken from the descriptors: every field of a request that is marked ``secret``, so that
a new one is covered the day it is written, every header that may carry one, and every secret that
the server gives out itself in a tour through sign-up, log-in, refresh, two factors and keys.
"""

import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from prometheus_client import generate_latest

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from greenroom.auth.v1 import passkey_service_pb2 as passkey_pb
from server.core.db import database
from server.core.ids import new_id, new_secret
from server.core.unit import Unit
from server.wire.logs import configure
from server.wire.policies import is_secret
from tests.rpc.auth.keys import create_key, service
from tests.rpc.auth.scenes import bearer, in_unit, refresh
from tests.rpc.auth.second_factors import challenge_of, code_now, enrolled
from tests.rpc.auth.staff import member_of_staff
from tests.support.serve import PASSWORD, Greenroom
from tests.support.services import all_methods

KINDS = 60
CODE = "904817"
"""Where only six digits are taken; looked for standing alone."""

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

Path = tuple[FieldDescriptor, ...]


def secret_paths(message: Descriptor, before: Path = ()) -> Iterator[Path]:
    """The way to each secret field of a message."""
    for one in message.fields:
        way = (*before, one)
        if is_secret(one):
            yield way
        elif one.message_type is not None and one not in before:
            yield from secret_paths(one.message_type, way)


SECRETS = [(method, way) for method in all_methods() for way in secret_paths(method.input_type)]


def _filled(method: MethodDescriptor, way: Path, value: str) -> Message:
    """A request that is good as far as can be told from its fields, with the secret in its place."""
    request: Any = GetMessageClass(method.input_type)()
    _fill(request, way[0].name if len(way) == 1 else "")
    holder = request
    for one in way[:-1]:
        holder = getattr(holder, one.name)
        if one.is_repeated:
            holder = holder.add()
    for one in way[-1:]:
        if one.is_repeated:
            getattr(holder, one.name).append(value)
        elif one.type == FieldDescriptor.TYPE_BYTES:
            setattr(holder, one.name, value.encode())
        else:
            setattr(holder, one.name, value)
    return request  # type: ignore[no-any-return]


def _fill(message: Any, secret: str) -> None:
    for one in message.DESCRIPTOR.fields:
        inside_oneof = one.containing_oneof is not None and one.name != "email"
        if one.is_repeated or inside_oneof or one.name == secret:
            continue
        if one.type == FieldDescriptor.TYPE_MESSAGE:
            if one.message_type.full_name.startswith("greenroom."):
                _fill(getattr(message, one.name), "")
        elif one.type == FieldDescriptor.TYPE_STRING:
            setattr(message, one.name, _plausible(one))
        elif one.type == FieldDescriptor.TYPE_ENUM:
            setattr(message, one.name, 1)


def _plausible(one: FieldDescriptor) -> str:
    if is_secret(one):
        return "another secret that is good"
    if "email" in one.name:
        return "somebody@example.com"
    if one.name == "id" or one.name.endswith("_id"):
        return new_id()
    return {"phone": "", "request_id": new_id(), "language": "en", "provider": "google"}.get(
        one.name, ""
    )


@dataclass
class Canaries:
    """Secrets by kind, and where they turned up."""

    values: dict[str, str] = field(default_factory=dict)
    errors: list[bytes] = field(default_factory=list)

    def new(self, kind: str) -> str:
        """A secret that nobody else has."""
        self.values[kind] = f"Canary-{new_secret(20)}"
        return self.values[kind]

    def gave(self, reply: Message) -> None:
        """Takes the secrets of a reply."""
        for way in secret_paths(reply.DESCRIPTOR):  # type: ignore[arg-type]
            for value in _values(reply, way):
                if value:
                    name = f"{reply.DESCRIPTOR.name}.{'.'.join(one.name for one in way)}"
                    self.values[f"{name} #{len(self.values)}"] = value

    def found_in(self, text: str) -> list[str]:
        """The kinds of which something stands in a text."""
        return [kind for kind, value in self.values.items() if value in text]


def _values(message: Any, way: Path) -> Iterator[str]:
    one, *rest = way
    if not rest:
        value = getattr(message, one.name)
        yield from value if one.is_repeated else [value]
    elif one.is_repeated:
        for inner in getattr(message, one.name):
            yield from _values(inner, tuple(rest))
    elif message.HasField(one.name):
        yield from _values(getattr(message, one.name), tuple(rest))


@contextmanager
def _logging_everything() -> Iterator[None]:
    """As `python -m server serve` does with LOG_LEVEL=debug; what tests had is put back."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    configure("debug", "json")
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
async def talkative(serve: Callable[..., Any]) -> AsyncIterator[Greenroom]:
    with _logging_everything():
        yield await serve(log_level="debug", log_requests="all")


async def _send(
    server: Greenroom,
    canaries: Canaries,
    method: MethodDescriptor,
    raw: bytes,
    metadata: tuple[tuple[str, str], ...],
) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    try:
        await server.channel.unary_unary(path)(raw, metadata=metadata)
    except aio.AioRpcError as error:
        canaries.errors.append((error.details() or "").encode())
        for _, value in error.trailing_metadata() or ():
            canaries.errors.append(value if isinstance(value, bytes) else value.encode())


def _variants(method: MethodDescriptor, way: Path, canaries: Canaries) -> Iterator[bytes]:
    """Alone, amid good fields, as a code, too long, with a mistake beside it, in a field that we do
    not know, and in bytes that are no message."""
    kind = f"{method.name}.{'.'.join(one.name for one in way)}"
    value = canaries.new(kind)
    request = _filled(method, way, value)
    yield request.SerializeToString()
    yield _filled(method, way, CODE).SerializeToString()
    yield _filled(method, way, value * 500).SerializeToString()
    raw = value.encode()
    yield request.SerializeToString() + b"\xfa\x7f" + bytes([len(raw)]) + raw
    yield b"\xff" + raw
    yield request.SerializeToString()[:-1] + b"\xff\xff"


async def _everywhere(server: Greenroom, out: str) -> dict[str, str]:
    """Every text that leaves the process or stays behind for others to read."""
    server.running._log.flush()

    def read(_unit: Unit) -> str:
        tables = ["jobs", "audit_events", "idempotency_keys"]
        cursors = [database.execute_sql(f"SELECT * FROM {table}") for table in tables]
        return repr([cursor.fetchall() for cursor in cursors])

    return {
        "log": out,
        "metrics": generate_latest(server.running.registry).decode(),
        "database": await in_unit(server, read),
    }


async def _tour(server: Greenroom, canaries: Canaries) -> None:
    """What the server gives out by itself."""
    ada = await server.person("Ada")
    canaries.gave(ada.tokens)
    canaries.gave(await refresh(server, ada.tokens.tokens.refresh_token))
    who = await enrolled(server, "Bob")
    canaries.values["the secret of an app"] = who.secret
    canaries.values |= {f"backup code {n}": code for n, code in enumerate(who.backup_codes)}
    challenge = await challenge_of(server, who)
    canaries.gave(challenge)
    request = mfa_pb.CompleteMfaChallengeRequest(
        challenge_token=challenge.challenge_token, totp_code=code_now(server, who.secret)
    )
    canaries.gave(await server.mfa.CompleteMfaChallenge(request))
    canaries.gave(
        await server.mfa.RegenerateBackupCodes(
            mfa_pb.RegenerateBackupCodesRequest(), metadata=who.metadata
        )
    )
    staff = await member_of_staff(server, "super_admin")
    made = await create_key(server, staff, "auth.tokens.introspect")
    canaries.gave(made)
    options = await server.passkeys.StartPasskeyLogin(passkey_pb.StartPasskeyLoginRequest())
    challenge_text = json.loads(options.options_json)["challenge"]
    canaries.values["the challenge of a passkey"] = challenge_text
    await _send(server, canaries, _method("GetMe"), b"", bearer(made.key))


def _method(name: str) -> MethodDescriptor:
    return next(method for method in all_methods() if method.name == name)


def test_every_secret_that_comes_in_is_tried() -> None:
    assert len(SECRETS) >= 35
    streaming = [one.full_name for one, _ in SECRETS if one.client_streaming]
    assert streaming == [], "say here how such a stream is opened"


@pytest.mark.timeout(300)
async def test_no_secret_is_told_on(talkative: Greenroom, capfd: Any) -> None:
    server, canaries = talkative, Canaries()
    ada = await server.person("Ada")
    staff = await member_of_staff(server, "super_admin")
    key = await service(server, "auth.web_storage", "auth.tokens.introspect")
    await _tour(server, canaries)
    for method, way in SECRETS:
        for raw in _variants(method, way, canaries):
            for metadata in ((), ada.metadata, staff.metadata, key):
                await _send(server, canaries, method, raw, metadata)
    for name in HEADERS:
        value = canaries.new(f"header {name}")
        for metadata in (
            ((name, value),),
            ((name, f"Bearer {value}"),),
            ((name, f"session={value}"), *ada.metadata),
        ):
            await _send(server, canaries, _method("GetMe"), b"", metadata)
    sys.stdout.flush()
    logged = capfd.readouterr()
    texts = await _everywhere(server, logged.out + logged.err)
    texts["errors"] = b"\n".join(canaries.errors).decode(errors="replace")
    assert len(canaries.values) >= KINDS
    assert len(canaries.errors) > 500 and texts["log"].count("RefreshToken") > 20
    assert {where: canaries.found_in(text) for where, text in texts.items()} == {
        where: [] for where in texts
    }
    assert PASSWORD not in texts["log"] + texts["errors"] + texts["database"]
    alone = re.compile(rf"(?<![\w.]){CODE}(?![\w.])")
    assert [where for where, text in texts.items() if alone.search(text)] == []
    assert "Traceback" not in texts["errors"]


async def test_the_net_catches_what_is_told(talkative: Greenroom, capfd: Any) -> None:
    """Against a test that looks into nothing: what is no secret is found in the log."""
    server, canaries = talkative, Canaries()
    value = canaries.new("a device name")
    ada = await server.person("Ada")
    await server.auth.LogIn(
        auth_pb.LogInRequest(email=ada.email, password=PASSWORD, device_name=value)
    )
    logging.getLogger("server.auth").debug("told on: %s", value)
    texts = await _everywhere(server, capfd.readouterr().out)
    assert canaries.found_in(texts["log"]) and texts["log"].count(value) == 2

    def tell(unit: Unit) -> None:
        unit.audit("test.told", value=value)

    await in_unit(server, tell, write=True)
    assert canaries.found_in((await _everywhere(server, ""))["database"])

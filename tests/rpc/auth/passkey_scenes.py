"""What the tests of passkeys do over and over."""

import json
from typing import Any

from greenroom.auth.v1 import passkey_pb2, session_pb2
from greenroom.auth.v1 import passkey_service_pb2 as pb
from server.auth.models import AuditEvent, Credential, Passkey, User
from server.core.unit import Unit
from tests.rpc.auth.scenes import in_unit
from tests.support.authenticator import Authenticator
from tests.support.serve import Greenroom, Person


async def creation_options(server: Greenroom, person: Person) -> str:
    """Options for a new passkey of somebody."""
    request = pb.StartPasskeyRegistrationRequest()
    reply = await server.passkeys.StartPasskeyRegistration(request, metadata=person.metadata)
    return reply.options_json


async def finish_registration(
    server: Greenroom, person: Person, answer: str, label: str = ""
) -> passkey_pb2.Passkey:
    """Hands in what an authenticator made."""
    request = pb.FinishPasskeyRegistrationRequest(credential_json=answer, label=label)
    reply = await server.passkeys.FinishPasskeyRegistration(request, metadata=person.metadata)
    return reply.passkey


async def register(
    server: Greenroom, person: Person, device: Authenticator, label: str = ""
) -> passkey_pb2.Passkey:
    """Registers an authenticator."""
    answer = device.create(await creation_options(server, person))
    return await finish_registration(server, person, answer, label)


async def request_options(server: Greenroom, **named: str) -> str:
    """Options for a log-in, of anybody or of somebody named."""
    reply = await server.passkeys.StartPasskeyLogin(pb.StartPasskeyLoginRequest(**named))
    return reply.options_json


async def finish_log_in(
    server: Greenroom, answer: str, device_name: str = ""
) -> pb.FinishPasskeyLoginResponse:
    """Hands in what an authenticator signed."""
    request = pb.FinishPasskeyLoginRequest(credential_json=answer, device_name=device_name)
    return await server.passkeys.FinishPasskeyLogin(request)


async def log_in(server: Greenroom, device: Authenticator, **named: str) -> session_pb2.Session:
    """Logs in with an authenticator."""
    answer = device.get(await request_options(server, **named))
    return (await finish_log_in(server, answer)).signed_in.session


async def row_of(server: Greenroom, passkey_id: str) -> Passkey | None:
    """The row of a passkey."""
    found: Passkey | None = await in_unit(
        server, lambda _unit: Passkey.get_or_none(Passkey.id == passkey_id)
    )
    return found


async def lose_ways_in(server: Greenroom, person: Person) -> None:
    """Takes somebody's password and the proof of their address from them."""

    def lose(unit: Unit) -> None:
        Credential.delete().where(Credential.user == person.id).execute()
        User.update(email_verified_at=None, update_time=unit.now).where(
            User.id == person.id
        ).execute()

    await in_unit(server, lose, write=True)


async def last_audit(server: Greenroom) -> tuple[str, str, str]:
    """Action, result and actor of the newest audit row."""

    def read(_unit: Unit) -> tuple[str, str, str]:
        row = AuditEvent.select().order_by(AuditEvent.id.desc()).get()
        return row.action, row.result, row.actor_id or ""

    return await in_unit(server, read)


def changed(answer: str, **parts: Any) -> str:
    """An answer with other parts in its ``response``."""
    credential = json.loads(answer)
    credential["response"].update(parts)
    return json.dumps(credential)

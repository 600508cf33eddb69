"""Passkeys between rows and messages."""

from greenroom.auth.v1 import passkey_pb2, passkey_service_pb2
from server.auth.convert.times import time_to_pb
from server.auth.models import Passkey
from server.auth.usecases.log_in import Identifier
from server.core.pagination import Page


def passkey_to_pb(passkey: Passkey) -> passkey_pb2.Passkey:
    """A passkey for its owner."""
    message = passkey_pb2.Passkey(
        id=passkey.id,
        label=passkey.label,
        aaguid=passkey.aaguid,
        transports=passkey.transports,
        backup_eligible=passkey.backup_eligible,
        backed_up=passkey.backed_up,
        create_time=time_to_pb(passkey.create_time),
    )
    if passkey.last_used_at is not None:
        message.last_used_time.CopyFrom(time_to_pb(passkey.last_used_at))
    return message


def passkeys_to_pb(page: Page[Passkey]) -> passkey_service_pb2.ListPasskeysResponse:
    """One page of passkeys."""
    return passkey_service_pb2.ListPasskeysResponse(
        passkeys=[passkey_to_pb(passkey) for passkey in page.items],
        next_page_token=page.next_page_token,
    )


def named_account(request: passkey_service_pb2.StartPasskeyLoginRequest) -> Identifier | None:
    """Whose passkey has to answer; ``None`` for anybody's."""
    kind = request.WhichOneof("identifier")
    return None if kind is None else Identifier(kind, getattr(request, kind))

"""Whoever is thrown out of an account leaves nothing behind by which they could come back.

The owner's reset locks the account and ends the thief's session. A call of the thief's that was let in
before waits for that lock; what it would have made has to stay unmade.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import email_service_pb2 as email_pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from server.auth.models import ApiKey, MfaFactor, Passkey, Session, User, VerificationToken
from server.auth.usecases import second_factors
from server.core.unit import Unit
from tests.rpc.auth.keys import create_key
from tests.rpc.auth.passkey_scenes import creation_options, finish_registration
from tests.rpc.auth.scenes import in_unit
from tests.rpc.auth.test_passwords_reset import settled
from tests.support.authenticator import Authenticator
from tests.support.serve import Greenroom, Person
from tests.support.statuses import refused

Attempt = Callable[[], Awaitable[Any]]


async def change_of_address(server: Greenroom, thief: Person) -> Attempt:
    request = email_pb.ChangeEmailRequest(new_email="thief@example.com")
    return lambda: server.emails.ChangeEmail(request, metadata=thief.metadata)


async def key(server: Greenroom, thief: Person) -> Attempt:
    return lambda: create_key(server, thief)


async def passkey(server: Greenroom, thief: Person) -> Attempt:
    answer = Authenticator().create(await creation_options(server, thief))
    return lambda: finish_registration(server, thief, answer)


async def second_factor(server: Greenroom, thief: Person) -> Attempt:
    request = mfa_pb.CreateMfaFactorRequest(label="phone")
    return lambda: server.mfa.CreateMfaFactor(request, metadata=thief.metadata)


def left_behind(user_id: str) -> dict[str, int]:
    """What could be used later, counted."""
    tokens = VerificationToken.select().where(
        (VerificationToken.user == user_id) & VerificationToken.consumed_at.is_null()
    )
    return {
        "keys": ApiKey.select().where(ApiKey.user == user_id).count(),
        "passkeys": Passkey.select().where(Passkey.user == user_id).count(),
        "factors": MfaFactor.select().where(MfaFactor.user == user_id).count(),
        "tokens": tokens.count(),
    }


@pytest.mark.parametrize("prepare", [change_of_address, key, passkey, second_factor])
async def test_a_call_that_waited_for_the_end_of_its_session_has_no_effect(
    server: Greenroom,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[Greenroom, Person], Awaitable[Attempt]],
) -> None:
    ada = await server.person("Ada")
    thief = await server.log_in(ada.email)
    attempt = await prepare(server, thief)
    before = await in_unit(server, lambda _unit: left_behind(ada.id))
    lock = second_factors.locked_user

    def lock_late(user_id: str) -> User | None:
        ended = Session.update(is_revoked=True, revoked_at=server.clock.now())
        ended.where(Session.id == thief.session_id).execute()
        return lock(user_id)

    monkeypatch.setattr(second_factors, "locked_user", lock_late)
    await refused(attempt(), StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_INVALID")
    monkeypatch.undo()
    await settled(server)

    def now(_unit: Unit) -> dict[str, int]:
        return left_behind(ada.id)

    assert await in_unit(server, now) == before
    assert not server.mails("thief@example.com")

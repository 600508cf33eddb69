"""What the audit log has to tell of: each event with the rows that it leaves, and a scene that makes it
happen. A scene sets the stage and returns the one call that is the event."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from greenroom.auth.v1 import auth_service_pb2 as pb
from greenroom.auth.v1 import mfa_service_pb2 as mfa_pb
from greenroom.auth.v1 import passkey_service_pb2 as passkey_pb
from greenroom.auth.v1 import password_service_pb2 as password_pb
from greenroom.auth.v1 import session_service_pb2 as session_pb
from greenroom.auth.v1 import user_service_pb2 as user_pb
from tests.rpc.auth import passkey_scenes as passkeys
from tests.rpc.auth.keys import Metadata
from tests.rpc.auth.scenes import ANOTHER_PASSWORD, refresh, sign_up_request, turn
from tests.rpc.auth.second_factors import (
    WRONG_BACKUP_CODE,
    challenge_of,
    code_now,
    complete,
    enrolled,
    wrong_code,
)
from tests.support.authenticator import Authenticator
from tests.support.fake_discord import FakeDiscord
from tests.support.serve import PASSWORD, Greenroom, Person
from tests.support.statuses import failure_of

_numbers = itertools.count(1)


@dataclass
class Stage:
    """A server with a member of staff, a service and a provider."""

    server: Greenroom
    staff: Person
    key: Metadata
    discord: FakeDiscord

    @staticmethod
    def fresh(prefix: str = "somebody") -> str:
        """A name that nobody has."""
        return f"{prefix}{next(_numbers)}"

    def address(self) -> str:
        """An address that nobody has."""
        return f"{self.fresh()}@example.com"


Act = Callable[[], Awaitable[object]]
Scene = Callable[[Stage], Awaitable[Act]]


@dataclass(frozen=True)
class SecurityEvent:
    """``rows`` are action and result of all that it leaves, the oldest first."""

    name: str
    rows: tuple[tuple[str, str], ...]
    scene: Scene = field(compare=False)


EVENTS: list[SecurityEvent] = []


def event(*rows: str) -> Callable[[Scene], Scene]:
    """Registers a scene; a row is ``action`` or ``action RESULT``."""

    def register(scene: Scene) -> Scene:
        pairs = tuple((row.partition(" ")[0], row.partition(" ")[2] or "OK") for row in rows)
        EVENTS.append(SecurityEvent(scene.__name__, pairs, scene))
        return scene

    return register


# Passwords and addresses.


@event("registration.sign_up ACCEPTED")
async def sign_up(stage: Stage) -> Act:
    request = sign_up_request(stage.address())
    return lambda: stage.server.auth.SignUp(request)


@event("registration.verify_email")
async def verify_email(stage: Stage) -> Act:
    address = stage.address()
    await stage.server.auth.SignUp(sign_up_request(address))
    request = pb.VerifyEmailRequest(token=await stage.server.mailed_token(address))
    return lambda: stage.server.auth.VerifyEmail(request)


@event("password.ask_reset ACCEPTED")
async def ask_for_a_reset(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    request = password_pb.RequestPasswordResetRequest(email=ada.email)
    return lambda: stage.server.passwords.RequestPasswordReset(request)


@event("password.reset")
async def reset_a_password(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    request = password_pb.RequestPasswordResetRequest(email=ada.email)
    await stage.server.passwords.RequestPasswordReset(request)
    token = await stage.server.mailed_token(ada.email, 2)
    reset = password_pb.ResetPasswordRequest(token=token, password=ANOTHER_PASSWORD)
    return lambda: stage.server.passwords.ResetPassword(reset)


def _change(stage: Stage, person: Person, old: str) -> Act:
    request = password_pb.ChangePasswordRequest(old_password=old, new_password=ANOTHER_PASSWORD)
    return lambda: stage.server.passwords.ChangePassword(request, metadata=person.metadata)


@event("password.change")
async def change_a_password(stage: Stage) -> Act:
    return _change(stage, await stage.server.person("Ada"), PASSWORD)


@event("password.change BAD_CREDENTIALS")
async def change_a_password_without_knowing_it(stage: Stage) -> Act:
    return _change(stage, await stage.server.person("Ada"), "not the password")


# Ways in and out.


@event("session.log_in")
async def log_in(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: stage.server.log_in(ada.email)


@event("session.log_in BAD_CREDENTIALS")
async def log_in_with_a_wrong_password(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: stage.server.log_in(ada.email, "not the password")


@event("session.log_in BAD_CREDENTIALS")
async def log_in_to_nothing(stage: Stage) -> Act:
    address = stage.address()
    return lambda: stage.server.log_in(address)


@event("session.log_in TOO_MANY_ATTEMPTS")
async def log_in_too_often(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    await stage.server.auth.LogOut(pb.LogOutRequest(), metadata=ada.metadata)
    for _ in range(5):
        await failure_of(stage.server.log_in(ada.email, "not the password"))
    return lambda: stage.server.log_in(ada.email)


@event("session.log_out")
async def log_out(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    return lambda: stage.server.auth.LogOut(pb.LogOutRequest(), metadata=ada.metadata)


@event("session.revoke")
async def revoke_a_session(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    other = await stage.server.log_in(ada.email)
    request = session_pb.RevokeSessionRequest(session_id=other.session_id)
    return lambda: stage.server.sessions.RevokeSession(request, metadata=ada.metadata)


@event("session.revoke_others")
async def revoke_the_others(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    await stage.server.log_in(ada.email)
    request = session_pb.RevokeOtherSessionsRequest()
    return lambda: stage.server.sessions.RevokeOtherSessions(request, metadata=ada.metadata)


@event("session.refresh_reused REUSED")
async def reuse_a_refresh_token(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    stolen = ada.tokens.tokens.refresh_token
    await refresh(stage.server, stolen)
    turn(stage.server, 11)
    return lambda: refresh(stage.server, stolen)


def _raise(stage: Stage, person: Person, **proof: str) -> Act:
    request = pb.ReauthenticateRequest(**proof)
    return lambda: stage.server.auth.Reauthenticate(request, metadata=person.metadata)


@event("session.reauthenticate")
async def raise_a_session(stage: Stage) -> Act:
    return _raise(stage, await stage.server.person("Ada"), password=PASSWORD)


@event("session.reauthenticate BAD_CREDENTIALS")
async def fail_to_raise_a_session(stage: Stage) -> Act:
    return _raise(stage, await stage.server.person("Ada"), password="not the password")


@event("session.reauthenticate SECOND_FACTOR_REQUIRED")
async def raise_a_session_by_the_weaker_factor(stage: Stage) -> Act:
    return _raise(stage, (await enrolled(stage.server)).person, password=PASSWORD)


@event("session.reauthenticate BAD_CODE")
async def raise_a_session_by_a_wrong_code(stage: Stage) -> Act:
    return _raise(stage, (await enrolled(stage.server)).person, backup_code=WRONG_BACKUP_CODE)


@event("wire.access.denied WIRE_ERROR_REASON_STEP_UP_REQUIRED")
async def a_risky_call_without_a_fresh_factor(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    await stage.server.stale(ada)
    request = mfa_pb.CreateMfaFactorRequest()
    return lambda: stage.server.mfa.CreateMfaFactor(request, metadata=ada.metadata)


@event("wire.access.denied WIRE_ERROR_REASON_ACCESS_DENIED")
async def a_call_that_is_staffs(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    request = user_pb.BanUserRequest(user_id=stage.staff.id, reason="spite")
    return lambda: stage.server.users.BanUser(request, metadata=ada.metadata)


# Second factors.


@event("mfa.create")
async def begin_an_enrolment(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    request = mfa_pb.CreateMfaFactorRequest()
    return lambda: stage.server.mfa.CreateMfaFactor(request, metadata=ada.metadata)


async def _activation(stage: Stage, right: bool) -> Act:
    ada = await stage.server.person("Ada")
    made = await stage.server.mfa.CreateMfaFactor(
        mfa_pb.CreateMfaFactorRequest(), metadata=ada.metadata
    )
    code = (code_now if right else wrong_code)(stage.server, made.secret)
    request = mfa_pb.ActivateMfaFactorRequest(factor_id=made.factor.id, totp_code=code)
    return lambda: stage.server.mfa.ActivateMfaFactor(request, metadata=ada.metadata)


@event("mfa.activate")
async def activate_a_factor(stage: Stage) -> Act:
    return await _activation(stage, right=True)


@event("mfa.activate BAD_CODE")
async def activate_a_factor_by_a_wrong_code(stage: Stage) -> Act:
    return await _activation(stage, right=False)


@event("mfa.delete")
async def remove_a_factor(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    request = mfa_pb.DeleteMfaFactorRequest(factor_id=who.factor_id)
    return lambda: stage.server.mfa.DeleteMfaFactor(request, metadata=who.metadata)


@event("mfa.renew_backup_codes")
async def renew_backup_codes(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    request = mfa_pb.RegenerateBackupCodesRequest()
    return lambda: stage.server.mfa.RegenerateBackupCodes(request, metadata=who.metadata)


@event("session.log_in SECOND_FACTOR_NEEDED")
async def log_in_by_the_first_of_two_factors(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    return lambda: challenge_of(stage.server, who)


@event("session.log_in")
async def complete_a_challenge(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    token = (await challenge_of(stage.server, who)).challenge_token
    return lambda: complete(stage.server, token, totp=code_now(stage.server, who.secret))


@event("session.log_in")
async def complete_a_challenge_by_a_backup_code(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    token = (await challenge_of(stage.server, who)).challenge_token
    return lambda: complete(stage.server, token, backup=who.backup_codes[0])


@event("mfa.challenge BAD_CODE")
async def fail_at_a_challenge(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    token = (await challenge_of(stage.server, who)).challenge_token
    return lambda: complete(stage.server, token, totp=wrong_code(stage.server, who.secret))


@event("mfa.challenge BAD_CODE", "mfa.block")
async def fail_at_a_challenge_for_the_fifth_time(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    token = (await challenge_of(stage.server, who)).challenge_token
    for _ in range(4):
        await failure_of(complete(stage.server, token, backup=WRONG_BACKUP_CODE))
    return lambda: complete(stage.server, token, backup=WRONG_BACKUP_CODE)


@event("mfa.challenge TOO_MANY_ATTEMPTS")
async def fail_at_a_challenge_too_often(stage: Stage) -> Act:
    who = await enrolled(stage.server)
    token = (await challenge_of(stage.server, who)).challenge_token
    for _ in range(5):
        await failure_of(complete(stage.server, token, backup=WRONG_BACKUP_CODE))
    return lambda: complete(stage.server, token, backup=who.backup_codes[0])


@event("mfa.challenge CHALLENGE_INVALID")
async def complete_no_challenge(stage: Stage) -> Act:
    return lambda: complete(stage.server, "grm_unknown", totp="123456")


# Passkeys.


@event("passkey.add")
async def add_a_passkey(stage: Stage) -> Act:
    ada = await stage.server.person("Ada")
    answer = Authenticator().create(await passkeys.creation_options(stage.server, ada))
    return lambda: passkeys.finish_registration(stage.server, ada, answer)


@event("passkey.add PASSKEY_CHALLENGE_INVALID")
async def add_a_passkey_to_somebody_elses_challenge(stage: Stage) -> Act:
    eve, ada = await stage.server.person("Eve"), await stage.server.person("Ada")
    answer = Authenticator().create(await passkeys.creation_options(stage.server, ada))
    return lambda: passkeys.finish_registration(stage.server, eve, answer)


async def _with_passkey(stage: Stage) -> tuple[Person, Authenticator, str]:
    ada, device = await stage.server.person("Ada"), Authenticator()
    made = await passkeys.register(stage.server, ada, device)
    return ada, device, made.id


@event("passkey.remove")
async def remove_a_passkey(stage: Stage) -> Act:
    ada, _, passkey_id = await _with_passkey(stage)
    request = passkey_pb.DeletePasskeyRequest(passkey_id=passkey_id)
    return lambda: stage.server.passkeys.DeletePasskey(request, metadata=ada.metadata)


@event("session.log_in")
async def log_in_with_a_passkey(stage: Stage) -> Act:
    _, device, _ = await _with_passkey(stage)
    answer = device.get(await passkeys.request_options(stage.server))
    return lambda: passkeys.finish_log_in(stage.server, answer)


@event("session.log_in PASSKEY_CHALLENGE_INVALID")
async def log_in_with_an_answer_for_the_second_time(stage: Stage) -> Act:
    _, device, _ = await _with_passkey(stage)
    answer = device.get(await passkeys.request_options(stage.server))
    await passkeys.finish_log_in(stage.server, answer)
    return lambda: passkeys.finish_log_in(stage.server, answer)


@event("session.reauthenticate")
async def raise_a_session_with_a_passkey(stage: Stage) -> Act:
    ada, device, _ = await _with_passkey(stage)
    answer = device.get(await passkeys.request_options(stage.server))
    return _raise(stage, ada, passkey_json=answer)

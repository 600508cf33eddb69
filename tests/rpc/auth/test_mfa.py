"""MfaService: enrolment, the list, removal, backup codes, and who may do it."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from grpc import StatusCode

from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.auth.v1 import mfa_factor_pb2
from greenroom.auth.v1 import mfa_service_pb2 as pb
from greenroom.auth.v1.sign_in_pb2 import MFA_METHOD_BACKUP_CODE, MFA_METHOD_TOTP
from server.auth.models import MfaChallenge, MfaFactor, RecoveryCode, Session
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.scenes import audit_rows, in_unit, mail_number, sign_up_request, turn
from tests.rpc.auth.second_factors import (
    STEP,
    challenge_of,
    code_now,
    complete,
    enrol,
    enrolled,
    sign_in,
    wrong_code,
)
from tests.support.serve import Greenroom, Person
from tests.support.statuses import refused

CODE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_MFA_CODE_INVALID")
NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_MFA_FACTOR_NOT_FOUND")
NOT_PENDING = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_MFA_FACTOR_NOT_PENDING")
TOO_MANY_FACTORS = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_TOO_MANY_MFA_FACTORS")
NO_FACTOR = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_NO_MFA_FACTOR")
STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
MISSING = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")
INVALID_FIELD = (StatusCode.INVALID_ARGUMENT, "WIRE_ERROR_REASON_INVALID_FIELD")


async def _create(server: Greenroom, person: Person, label: str = "") -> pb.CreateMfaFactorResponse:
    request = pb.CreateMfaFactorRequest(label=label)
    return await server.mfa.CreateMfaFactor(request, metadata=person.metadata)


async def _activate(
    server: Greenroom, person: Person, factor_id: str, code: str
) -> pb.ActivateMfaFactorResponse:
    request = pb.ActivateMfaFactorRequest(factor_id=factor_id, totp_code=code)
    return await server.mfa.ActivateMfaFactor(request, metadata=person.metadata)


async def _list(server: Greenroom, person: Person) -> pb.ListMfaFactorsResponse:
    return await server.mfa.ListMfaFactors(pb.ListMfaFactorsRequest(), metadata=person.metadata)


async def _delete(server: Greenroom, person: Person, factor_id: str) -> None:
    request = pb.DeleteMfaFactorRequest(factor_id=factor_id)
    await server.mfa.DeleteMfaFactor(request, metadata=person.metadata)


async def _regenerate(server: Greenroom, person: Person) -> list[str]:
    reply = await server.mfa.RegenerateBackupCodes(
        pb.RegenerateBackupCodesRequest(), metadata=person.metadata
    )
    return list(reply.backup_codes)


async def test_an_enrolment_from_its_secret_to_the_demand_at_sign_in(server: Greenroom) -> None:
    ada = await server.person("Ada")
    made = await _create(server, ada, "Ada's\nphone")
    assert made.factor.status == mfa_factor_pb2.MFA_FACTOR_STATUS_PENDING
    assert made.factor.label == "Ada's phone"
    uri = urlsplit(made.otpauth_uri)
    assert (uri.scheme, uri.netloc) == ("otpauth", "totp")
    assert unquote(uri.path) == f"/Greenroom:{ada.email}"
    assert parse_qs(uri.query) == {"secret": [made.secret], "issuer": ["Greenroom"]}
    assert len(made.secret) == 32  # 160 bits in base 32
    # Until it is activated nothing is asked for.
    await server.log_in(ada.email)
    activated = await _activate(server, ada, made.factor.id, code_now(server, made.secret))
    assert activated.factor.status == mfa_factor_pb2.MFA_FACTOR_STATUS_ACTIVE
    assert activated.factor.activate_time == activated.factor.last_use_time
    assert len(set(activated.backup_codes)) == 10
    mail = await mail_number(server, ada.email, 2)
    assert mail["subject"] == "Two-factor sign-in is on"
    actions = [action for action, result in await audit_rows(server) if result == "OK"]
    assert actions[-3:] == ["mfa.create", "session.log_in", "mfa.activate"]


async def test_both_factors_open_a_session_that_says_so(server: Greenroom) -> None:
    who = await enrolled(server)
    challenge = await challenge_of(server, who)
    assert list(challenge.methods) == [MFA_METHOD_TOTP, MFA_METHOD_BACKUP_CODE]
    left = challenge.expire_time.ToDatetime() - server.clock.now().replace(tzinfo=None)
    assert left.total_seconds() == 600
    signed_in = await complete(server, challenge.challenge_token, totp=code_now(server, who.secret))
    assert signed_in.user.id == who.person.id
    assert signed_in.session.device_name == "laptop"

    def read(_unit: Unit) -> Session:
        return Session.get_by_id(signed_in.session.id)

    session = await in_unit(server, read)
    assert session.auth_methods == ["password", "totp"] and session.assurance_level == 2
    rows = [row for row in await audit_rows(server) if row[0] == "session.log_in"]
    assert rows[-2:] == [("session.log_in", "SECOND_FACTOR_NEEDED"), ("session.log_in", "OK")]


async def test_the_session_that_enrols_has_proven_it(server: Greenroom) -> None:
    who = await enrolled(server)

    def read(_unit: Unit) -> Session:
        return Session.get_by_id(who.person.session_id)

    session = await in_unit(server, read)
    assert session.auth_methods == ["password", "totp"] and session.assurance_level == 2


async def test_other_sessions_are_not_trusted_any_more(server: Greenroom) -> None:
    ada = await server.person("Ada")
    other = await server.log_in(ada.email)
    await _create(server, other)  # It is trusted, since it was opened a moment ago.
    who = await enrol(server, ada)
    await refused(_delete(server, other, who.factor_id), *STEP_UP)
    await _delete(server, ada, who.factor_id)


async def test_the_list_shows_no_secret(server: Greenroom) -> None:
    who = await enrolled(server)
    made = await _create(server, who.person, "tablet")
    listed = await _list(server, who.person)
    assert [factor.label for factor in listed.factors] == ["phone", "tablet"]
    assert listed.backup_codes_left == 10 and not listed.next_page_token
    shown = str(listed)
    for secret in (who.secret, made.secret, *who.backup_codes):
        assert secret not in shown
    page = await server.mfa.ListMfaFactors(
        pb.ListMfaFactorsRequest(page_size=1), metadata=who.metadata
    )
    rest = await server.mfa.ListMfaFactors(
        pb.ListMfaFactorsRequest(page_token=page.next_page_token), metadata=who.metadata
    )
    assert [factor.label for factor in (*page.factors, *rest.factors)] == ["phone", "tablet"]


async def test_what_is_stored_opens_nothing(server: Greenroom) -> None:
    who = await enrolled(server)
    challenge = await challenge_of(server, who)

    def stored(_unit: Unit) -> str:
        tables = (MfaFactor, RecoveryCode, MfaChallenge)
        return repr([row for table in tables for row in table.select().dicts()])

    text = await in_unit(server, stored)
    for secret in (who.secret, challenge.challenge_token, *who.backup_codes):
        assert secret not in text and secret.replace("-", "") not in text


async def test_a_secret_opens_on_its_own_row_only(server: Greenroom) -> None:
    ada, eve = await enrolled(server, "Ada"), await enrolled(server, "Eve")

    def move(_unit: Unit) -> None:
        stolen = MfaFactor.get_by_id(eve.factor_id).secret_enc
        MfaFactor.update(secret_enc=stolen).where(MfaFactor.id == ada.factor_id).execute()

    await in_unit(server, move, write=True)
    token = (await challenge_of(server, ada)).challenge_token
    await refused(
        complete(server, token, totp=code_now(server, eve.secret)),
        StatusCode.INTERNAL,
        "WIRE_ERROR_REASON_INTERNAL",
    )


async def test_an_enrolment_needs_a_code_of_its_own_factor(server: Greenroom) -> None:
    ada = await server.person("Ada")
    made = await _create(server, ada)
    code = wrong_code(server, made.secret)
    await refused(_activate(server, ada, made.factor.id, code), *CODE_INVALID)
    later = code_now(server, made.secret, steps=1)
    await refused(_activate(server, ada, made.factor.id, later), *CODE_INVALID)
    await _activate(server, ada, made.factor.id, code_now(server, made.secret, steps=-1))
    again = code_now(server, made.secret)
    await refused(_activate(server, ada, made.factor.id, again), *NOT_PENDING)


async def test_a_new_enrolment_voids_the_one_before_and_ends_by_itself(
    serve: Callable[..., Any],
) -> None:
    server: Greenroom = await serve(access_token_seconds=3600)
    ada = await server.person("Ada")
    first, second = await _create(server, ada), await _create(server, ada)
    code = code_now(server, first.secret)
    await refused(_activate(server, ada, first.factor.id, code), *NOT_FOUND)
    turn(server, 14 * 60 + 59)
    assert [factor.id for factor in (await _list(server, ada)).factors] == [second.factor.id]
    turn(server, 1)
    assert not (await _list(server, ada)).factors
    code = code_now(server, second.secret)
    await refused(_activate(server, ada, second.factor.id, code), *NOT_FOUND)


async def test_there_are_two_factors_at_most_and_each_of_them_counts(server: Greenroom) -> None:
    first = await enrolled(server)
    second = await enrol(server, first.person, "tablet")
    assert second.backup_codes == []  # There are some already.
    await refused(_create(server, first.person), *TOO_MANY_FACTORS)
    for secret in (first.secret, second.secret):
        token = (await challenge_of(server, first)).challenge_token
        await complete(server, token, totp=code_now(server, secret))


async def test_after_the_last_factor_nothing_is_asked_for(server: Greenroom) -> None:
    who = await enrolled(server)
    waiting = (await challenge_of(server, who)).challenge_token
    await _delete(server, who.person, who.factor_id)
    assert (await _list(server, who.person)).backup_codes_left == 0
    await server.log_in(who.person.email)
    await refused(
        complete(server, waiting, totp=code_now(server, who.secret)),
        StatusCode.UNAUTHENTICATED,
        "AUTH_ERROR_REASON_MFA_CHALLENGE_INVALID",
    )
    mail = await mail_number(server, who.person.email, 3)
    assert mail["subject"] == "An authenticator app was removed"


async def test_a_repeated_removal_gets_the_first_reply(server: Greenroom) -> None:
    who = await enrolled(server)
    request = pb.DeleteMfaFactorRequest(factor_id=who.factor_id, request_id=new_id())
    await server.mfa.DeleteMfaFactor(request, metadata=who.metadata)
    await server.mfa.DeleteMfaFactor(request, metadata=who.metadata)
    await refused(_delete(server, who.person, who.factor_id), *NOT_FOUND)


async def test_new_backup_codes_void_the_old_ones(server: Greenroom) -> None:
    who = await enrolled(server)
    fresh = await _regenerate(server, who.person)
    assert len(set(fresh)) == 10 and not set(fresh) & set(who.backup_codes)
    token = (await challenge_of(server, who)).challenge_token
    await refused(complete(server, token, backup=who.backup_codes[0]), *CODE_INVALID)
    await complete(server, token, backup=fresh[0])
    assert (await _list(server, who.person)).backup_codes_left == 9
    subjects = [(await mail_number(server, who.person.email, n))["subject"] for n in (3, 4)]
    assert sorted(subjects) == ["A backup code was used", "You have new backup codes"]


async def test_there_are_no_backup_codes_without_a_factor(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(_regenerate(server, ada), *NO_FACTOR)


async def test_strangers_find_nothing(server: Greenroom) -> None:
    who, eve = await enrolled(server), await server.person("Eve")
    pending = await _create(server, who.person)
    code = code_now(server, pending.secret)
    for factor_id in (who.factor_id, new_id()):
        await refused(_delete(server, eve, factor_id), *NOT_FOUND)
    for factor_id in (pending.factor.id, new_id()):
        await refused(_activate(server, eve, factor_id, code), *NOT_FOUND)
    assert not (await _list(server, eve)).factors
    assert len((await _list(server, who.person)).factors) == 2


async def test_nobody_and_a_session_that_is_not_fresh_are_refused(server: Greenroom) -> None:
    who = await enrolled(server)
    nobody = Person("", "", who.person.tokens, ())
    for caller, told in ((nobody, MISSING), (who.person, STEP_UP)):
        await refused(_create(server, caller), *told)
        await refused(_delete(server, caller, who.factor_id), *told)
        await refused(_regenerate(server, caller), *told)
        if caller is nobody:
            await refused(_list(server, caller), *told)
            await refused(_activate(server, caller, who.factor_id, "123456"), *told)
        await server.stale(who.person)


async def test_fields_are_validated(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await refused(_create(server, ada, "x" * 101), *INVALID_FIELD)
    await refused(_delete(server, ada, "no-id"), *INVALID_FIELD)
    for code in ("12345", "1234567", "12345a", "１２３４５６", "123456\n"):
        await refused(_activate(server, ada, new_id(), code), *INVALID_FIELD)
    for token, code in (("", "123456"), ("t", ""), ("t" * 257, "123456")):
        await refused(complete(server, token, totp=code), *INVALID_FIELD)
    await refused(complete(server, "t", backup="x" * 33), *INVALID_FIELD)


async def test_a_user_who_signs_in_by_both_may_remove_a_factor(server: Greenroom) -> None:
    who = await enrolled(server)
    again = await sign_in(server, who)
    turn(server, 600 - STEP - 1)
    await _create(server, again)
    turn(server, 1)
    await refused(_create(server, again), *STEP_UP)


async def test_a_squatter_leaves_no_second_factor_behind(serve: Callable[..., Any]) -> None:
    server: Greenroom = await serve(auto_activate=True)
    address = "early@example.com"
    await server.auth.SignUp(sign_up_request(address, "what mallory prepared"))
    await enrol(server, await server.log_in(address, "what mallory prepared"))
    await server.auth.SignUp(sign_up_request(address))
    token = await server.mailed_token(address, 3)
    await server.auth.VerifyEmail(auth_pb.VerifyEmailRequest(token=token))
    owner = await server.log_in(address)
    listed = await _list(server, owner)
    assert (list(listed.factors), listed.backup_codes_left) == ([], 0)

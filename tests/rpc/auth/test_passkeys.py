"""Passkeys of a user: registration, list, removal."""

import json
import uuid

import pytest
from grpc import StatusCode

from greenroom.auth.v1 import passkey_service_pb2 as pb
from server.auth.models import Passkey, PasskeyChallenge
from server.auth.usecases import cleanup
from server.auth.wiring import lifetimes_of
from server.core.ids import new_id
from server.core.unit import Unit
from tests.rpc.auth.passkey_scenes import (
    creation_options,
    finish_registration,
    last_audit,
    log_in,
    lose_ways_in,
    register,
    row_of,
)
from tests.rpc.auth.scenes import audit_rows, in_unit, mail_number, turn
from tests.support.authenticator import (
    BACKED_UP,
    BACKUP_ELIGIBLE,
    EDDSA,
    ES256,
    USER_PRESENT,
    USUAL,
    Authenticator,
    decoded,
    encoded,
)
from tests.support.serve import Greenroom, Person
from tests.support.statuses import refused

CHALLENGE_INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_CHALLENGE_INVALID")
INVALID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_INVALID")
ORIGIN = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_ORIGIN_REJECTED")
RP_ID = (StatusCode.INVALID_ARGUMENT, "AUTH_ERROR_REASON_PASSKEY_RP_ID_REJECTED")
EXISTS = (StatusCode.ALREADY_EXISTS, "AUTH_ERROR_REASON_PASSKEY_EXISTS")
TOO_MANY = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_TOO_MANY_PASSKEYS")
NOT_FOUND = (StatusCode.NOT_FOUND, "AUTH_ERROR_REASON_PASSKEY_NOT_FOUND")
LAST_WAY_IN = (StatusCode.FAILED_PRECONDITION, "AUTH_ERROR_REASON_LAST_WAY_IN")
STEP_UP = (StatusCode.PERMISSION_DENIED, "WIRE_ERROR_REASON_STEP_UP_REQUIRED")
MISSING = (StatusCode.UNAUTHENTICATED, "WIRE_ERROR_REASON_CREDENTIALS_MISSING")


async def _list(server: Greenroom, person: Person, **page: object) -> pb.ListPasskeysResponse:
    request = pb.ListPasskeysRequest(**page)  # type: ignore[arg-type]
    return await server.passkeys.ListPasskeys(request, metadata=person.metadata)


async def _delete(server: Greenroom, person: Person, passkey_id: str, request_id: str = "") -> None:
    request = pb.DeletePasskeyRequest(passkey_id=passkey_id, request_id=request_id)
    await server.passkeys.DeletePasskey(request, metadata=person.metadata)


async def _have(server: Greenroom, person: Person, number: int) -> None:
    """Gives somebody passkeys past all services."""

    def create(unit: Unit) -> None:
        for _ in range(number):
            Passkey.create(
                user=person.id, user_handle="aA", credential_id=new_id(), public_key="aA"
            )

    await in_unit(server, create, write=True)


async def test_the_options_are_what_browsers_take(server: Greenroom) -> None:
    ada = await server.person("Ada")
    request = pb.StartPasskeyRegistrationRequest()
    reply = await server.passkeys.StartPasskeyRegistration(request, metadata=ada.metadata)
    options = json.loads(reply.options_json)
    assert options["rp"] == {"id": "localhost", "name": "Greenroom"}
    assert (options["user"]["name"], options["user"]["displayName"]) == (ada.email, "Ada")
    assert len(decoded(options["user"]["id"])) == len(decoded(options["challenge"])) == 32
    assert [wanted["alg"] for wanted in options["pubKeyCredParams"]] == [EDDSA, ES256, -257]
    assert {wanted["type"] for wanted in options["pubKeyCredParams"]} == {"public-key"}
    selection = options["authenticatorSelection"]
    assert (selection["residentKey"], selection["userVerification"]) == ("required", "required")
    assert (options["attestation"], options["timeout"]) == ("none", 300_000)
    assert options["excludeCredentials"] == []
    assert reply.expire_time.ToDatetime() > server.clock.now().replace(tzinfo=None)


@pytest.mark.parametrize("algorithm", [ES256, EDDSA])
async def test_a_passkey_is_registered_and_listed(server: Greenroom, algorithm: int) -> None:
    ada = await server.person("Ada")
    shared = Authenticator(algorithm, flags=USUAL | BACKUP_ELIGIBLE | BACKED_UP, counts=False)
    made = await register(server, ada, shared, "Ada's phone")
    assert await last_audit(server) == ("passkey.add", "OK", ada.id)
    assert (made.label, made.transports) == ("Ada's phone", ["internal", "hybrid"])
    assert made.backup_eligible and made.backed_up and not made.HasField("last_used_time")
    assert made.aaguid == "00000000-0000-0000-0000-000000000000"
    mail = await mail_number(server, ada.email, 2)
    assert mail["subject"] == "A passkey was added"
    key = await register(server, ada, Authenticator(algorithm, transports=("usb", "odd")))
    assert (key.label, key.transports, key.backup_eligible) == ("", ["usb"], False)
    assert list((await _list(server, ada)).passkeys) == [made, key]
    row = await row_of(server, made.id)
    assert row is not None and row.user_verified
    assert row.credential_id == encoded(shared.credential_id)
    turn(server, 60)
    await log_in(server, shared)
    first, second = (await _list(server, ada)).passkeys
    assert first.last_used_time.seconds > first.create_time.seconds
    assert not second.HasField("last_used_time")


async def test_options_name_what_the_user_has_already(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    before = json.loads(await creation_options(server, ada))
    await register(server, ada, device)
    after = json.loads(await creation_options(server, ada))
    listed = {
        "id": encoded(device.credential_id),
        "type": "public-key",
        "transports": ["internal", "hybrid"],
    }
    assert after["excludeCredentials"] == [listed]
    assert after["user"]["id"] == device.user_handle
    assert after["challenge"] != before["challenge"]
    bob = await server.person("Bob")
    others = json.loads(await creation_options(server, bob))
    assert others["excludeCredentials"] == [] and others["user"]["id"] != device.user_handle


async def test_a_challenge_is_good_for_one_registration(server: Greenroom) -> None:
    ada = await server.person("Ada")
    options = await creation_options(server, ada)
    await finish_registration(server, ada, Authenticator().create(options))
    await refused(
        finish_registration(server, ada, Authenticator().create(options)), *CHALLENGE_INVALID
    )
    assert await last_audit(server) == ("passkey.add", "PASSKEY_CHALLENGE_INVALID", ada.id)
    # A wrong answer uses it up as well.
    options = await creation_options(server, ada)
    wrong = Authenticator(origin="https://evil.example").create(options)
    await refused(finish_registration(server, ada, wrong), *ORIGIN)
    right = Authenticator().create(options)
    await refused(finish_registration(server, ada, right), *CHALLENGE_INVALID)


async def test_a_challenge_ends_after_five_minutes(server: Greenroom) -> None:
    ada = await server.person("Ada")
    late, in_time = [await creation_options(server, ada) for _ in range(2)]
    turn(server, 299)
    await finish_registration(server, ada, Authenticator().create(in_time))
    turn(server, 1)
    await refused(
        finish_registration(server, ada, Authenticator().create(late)), *CHALLENGE_INVALID
    )


async def test_a_challenge_belongs_to_the_session_that_asked(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    elsewhere = await server.log_in(ada.email)
    options = await creation_options(server, ada)
    answer = Authenticator().create(options)
    foreign = await refused(finish_registration(server, bob, answer), *CHALLENGE_INVALID)
    await refused(finish_registration(server, elsewhere, answer), *CHALLENGE_INVALID)
    unknown = Authenticator(client_data={"challenge": encoded(bytes(32))}).create(options)
    absent = await refused(finish_registration(server, bob, unknown), *CHALLENGE_INVALID)
    assert foreign.details() == absent.details()
    # None of them used it up.
    await finish_registration(server, ada, answer)


async def test_a_registration_of_another_site_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for device, error in (
        (Authenticator(origin="http://localhost:8081"), ORIGIN),
        (Authenticator(origin="https://localhost:8080"), ORIGIN),
        (Authenticator(origin="http://localhost:8080.evil.example"), ORIGIN),
        (Authenticator(client_data={"crossOrigin": True}), ORIGIN),
        (Authenticator(rp_id="evil.example"), RP_ID),
        (Authenticator(rp_id="LOCALHOST"), RP_ID),
    ):
        await refused(register(server, ada, device), *error)
    assert (await _list(server, ada)).passkeys == []
    assert [result for action, result in await audit_rows(server) if action == "passkey.add"] == [
        *["PASSKEY_ORIGIN_REJECTED"] * 4,
        *["PASSKEY_RP_ID_REJECTED"] * 2,
    ]


async def test_a_registration_without_a_verified_user_is_refused(server: Greenroom) -> None:
    ada = await server.person("Ada")
    for flags in (USER_PRESENT, 0x04, USUAL | BACKED_UP):
        await refused(register(server, ada, Authenticator(flags=flags)), *INVALID)
    assert await last_audit(server) == ("passkey.add", "PASSKEY_INVALID", ada.id)


async def test_a_credential_is_registered_once(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    device = Authenticator()
    await register(server, ada, device)
    for person in (ada, bob):
        await refused(register(server, person, device), *EXISTS)
    assert await last_audit(server) == ("passkey.add", "PASSKEY_EXISTS", bob.id)


async def test_a_user_has_twenty_passkeys_at_most(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await _have(server, ada, 19)
    spare = await creation_options(server, ada)
    await register(server, ada, Authenticator())
    assert len((await _list(server, ada)).passkeys) == 20
    await refused(creation_options(server, ada), *TOO_MANY)
    await refused(finish_registration(server, ada, Authenticator().create(spare)), *TOO_MANY)
    assert len((await _list(server, ada)).passkeys) == 20


async def test_a_repeated_registration_gets_the_first_reply(server: Greenroom) -> None:
    ada = await server.person("Ada")
    request = pb.FinishPasskeyRegistrationRequest(
        credential_json=Authenticator().create(await creation_options(server, ada)),
        request_id=str(uuid.uuid4()),
    )
    finish = server.passkeys.FinishPasskeyRegistration
    first = await finish(request, metadata=ada.metadata)
    assert await finish(request, metadata=ada.metadata) == first
    assert len((await _list(server, ada)).passkeys) == 1


async def test_the_list_comes_in_pages(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    await _have(server, ada, 5)
    await _have(server, bob, 1)
    first = await _list(server, ada, page_size=3)
    rest = await _list(server, ada, page_size=3, page_token=first.next_page_token)
    ids = [passkey.id for passkey in (*first.passkeys, *rest.passkeys)]
    assert ids == sorted(ids) and len(set(ids)) == 5 and rest.next_page_token == ""
    await refused(
        _list(server, bob, page_token=first.next_page_token),
        StatusCode.INVALID_ARGUMENT,
        "WIRE_ERROR_REASON_INVALID_PAGE_TOKEN",
    )


async def test_a_removed_passkey_opens_nothing(server: Greenroom) -> None:
    ada = await server.person("Ada")
    device = Authenticator()
    made = await register(server, ada, device)
    request_id = str(uuid.uuid4())
    await _delete(server, ada, made.id, request_id)
    assert await last_audit(server) == ("passkey.remove", "OK", ada.id)
    await _delete(server, ada, made.id, request_id)
    await refused(_delete(server, ada, made.id), *NOT_FOUND)
    assert (await mail_number(server, ada.email, 3))["subject"] == "A passkey was removed"
    await refused(
        log_in(server, device), StatusCode.UNAUTHENTICATED, "AUTH_ERROR_REASON_PASSKEY_REJECTED"
    )
    assert (await _list(server, ada)).passkeys == []


async def test_somebody_elses_passkey_is_not_there(server: Greenroom) -> None:
    ada, bob = await server.person("Ada"), await server.person("Bob")
    made = await register(server, ada, Authenticator())
    foreign = await refused(_delete(server, bob, made.id), *NOT_FOUND)
    absent = await refused(_delete(server, bob, new_id()), *NOT_FOUND)
    assert foreign.details() == absent.details()
    assert len((await _list(server, ada)).passkeys) == 1
    assert (await _list(server, bob)).passkeys == []


async def test_the_last_way_in_stays(server: Greenroom) -> None:
    ada = await server.person("Ada")
    first = await register(server, ada, Authenticator())
    second = await register(server, ada, Authenticator())
    await lose_ways_in(server, ada)
    await _delete(server, ada, first.id)
    await refused(_delete(server, ada, second.id), *LAST_WAY_IN)
    assert [passkey.id for passkey in (await _list(server, ada)).passkeys] == [second.id]


async def test_who_may_call(server: Greenroom) -> None:
    ada = await server.person("Ada")
    options = await creation_options(server, ada)
    made = await register(server, ada, Authenticator())
    nobody = server.passkeys
    answer = Authenticator().create(options)
    for call in (
        nobody.StartPasskeyRegistration(pb.StartPasskeyRegistrationRequest()),
        nobody.FinishPasskeyRegistration(
            pb.FinishPasskeyRegistrationRequest(credential_json=answer)
        ),
        nobody.ListPasskeys(pb.ListPasskeysRequest()),
        nobody.DeletePasskey(pb.DeletePasskeyRequest(passkey_id=made.id)),
    ):
        await refused(call, *MISSING)
    await server.stale(ada)
    await refused(creation_options(server, ada), *STEP_UP)
    await refused(_delete(server, ada, made.id), *STEP_UP)
    # Whoever was trusted when they began may finish.
    await finish_registration(server, ada, answer)


async def test_what_is_kept_of_a_challenge_is_its_hash(server: Greenroom) -> None:
    ada = await server.person("Ada")
    challenge = json.loads(await creation_options(server, ada))["challenge"]
    rows = await in_unit(
        server, lambda _unit: [str(row.__data__) for row in PasskeyChallenge.select()]
    )
    assert len(rows) == 1 and challenge not in rows[0]


async def test_ended_challenges_go_and_others_stay(server: Greenroom) -> None:
    ada = await server.person("Ada")
    await creation_options(server, ada)
    turn(server, 200)
    waiting = await creation_options(server, ada)
    turn(server, 101)
    for step in cleanup.steps(lifetimes_of(server.settings).grace):
        await in_unit(server, step, write=True)
    assert await in_unit(server, lambda _unit: PasskeyChallenge.select().count()) == 1
    await finish_registration(server, ada, Authenticator().create(waiting))

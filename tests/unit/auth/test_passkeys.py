"""Passkeys without database and gRPC: counters, and ceremonies that are fed with anything."""

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.auth.ceremonies import (
    Account,
    KnownPasskey,
    RelyingParty,
    read_assertion,
    read_registration,
)
from server.auth.errors import PasskeyInvalid, PasskeyOriginRejected, PasskeyRpIdRejected
from server.auth.rules import count_went_back
from tests.support.authenticator import (
    EDDSA,
    ES256,
    HAS_CREDENTIAL,
    ORIGIN,
    RP_ID,
    USUAL,
    Authenticator,
    decoded,
    encoded,
)

SITE = RelyingParty(RP_ID, (ORIGIN,))
CHALLENGE = encoded(bytes(range(32)))
ADA = Account(encoded(bytes(32)), "ada@example.com", "Ada")


def made_by(device: Authenticator) -> str:
    return device.create(SITE.creation_options(CHALLENGE, ADA, []))


def signed_by(device: Authenticator) -> str:
    return device.get(SITE.request_options(CHALLENGE))


@pytest.mark.parametrize(
    ("stored", "told", "back"),
    [(0, 0, False), (0, 1, False), (1, 2, False), (1, 1, True), (2, 1, True), (1, 0, True)],
)
def test_a_counter_goes_up_or_stays_at_nothing(stored: int, told: int, back: bool) -> None:
    assert count_went_back(stored, told) is back


@pytest.mark.parametrize("algorithm", [ES256, EDDSA])
def test_a_key_that_was_registered_verifies_what_it_signs(algorithm: int) -> None:
    device = Authenticator(algorithm)
    new = read_registration(made_by(device))
    made = SITE.verified_registration(new, CHALLENGE)
    assertion = read_assertion(signed_by(device))
    use = SITE.verified_use(assertion, CHALLENGE, made.public_key)
    assert use is not None and use.sign_count == 1
    assert SITE.verified_use(assertion, encoded(bytes(32)), made.public_key) is None
    assert SITE.verified_use(assertion, CHALLENGE, encoded(b"no key")) is None
    other = SITE.verified_registration(read_registration(made_by(Authenticator())), CHALLENGE)
    assert SITE.verified_use(assertion, CHALLENGE, other.public_key) is None


def test_a_site_is_its_origins_and_its_domain() -> None:
    def problem(device: Authenticator) -> type | None:
        found = SITE.problem_with(read_assertion(signed_by(device)).claims)
        return None if found is None else type(found)

    assert problem(Authenticator()) is None
    assert problem(Authenticator(origin=ORIGIN + "/")) is PasskeyOriginRejected
    assert problem(Authenticator(origin=ORIGIN.upper())) is PasskeyOriginRejected
    embedded = Authenticator(client_data={"crossOrigin": True})
    assert problem(embedded) is PasskeyOriginRejected
    assert problem(Authenticator(rp_id="example.com")) is PasskeyRpIdRejected


def attested(change: Callable[[dict[str, Any]], object]) -> str:
    """A registration whose attestation object was changed."""
    answer = json.loads(made_by(Authenticator()))
    attestation = cbor2.loads(decoded(answer["response"]["attestationObject"]))
    change(attestation)
    answer["response"]["attestationObject"] = encoded(cbor2.dumps(attestation))
    return json.dumps(answer)


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.update(fmt="packed", attStmt={"alg": -7, "sig": b"s", "x5c": [b"c"]}),
        lambda it: it.update(fmt="tpm"),
        lambda it: it.update(fmt="fido-u2f", attStmt={"sig": b"s", "x5c": [b"c"]}),
        lambda it: it.update(fmt="apple"),
        lambda it: it.update(fmt=["none"]),
        lambda it: it.update(attStmt=7),
        lambda it: it.update(authData=b"short"),
        lambda it: it.update(authData=7),
        lambda it: it.pop("authData"),
        lambda it: it.update(authData=it["authData"] + b"more"),
        lambda it: it.update(authData=it["authData"][:-20]),
    ],
)
def test_attestations_that_were_not_asked_for_are_not_read(
    change: Callable[[dict[str, Any]], object],
) -> None:
    with pytest.raises(PasskeyInvalid):
        read_registration(attested(change))


@pytest.mark.parametrize(
    "key",
    [
        {},
        {1: 2},
        {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)},
        {1: 2, 3: -7, -1: 1, -2: 7, -3: 7},
        {1: 1, 3: -8, -1: 6, -2: bytes(5)},
        {1: 2, 3: -47, -1: 8, -2: bytes(32), -3: bytes(32)},
        {1: 3, 3: -65535, -1: bytes(256), -2: b"\1\0\1"},
        {1: 3, 3: -257, -1: bytes(8), -2: b"\1"},
        [1, 2],
        7,
        "x",
    ],
)
def test_a_key_that_signs_nothing_we_know_is_refused_or_opens_nothing(key: Any) -> None:
    device = Authenticator()
    device._cose_key = lambda: cbor2.dumps(key)  # type: ignore[method-assign]
    try:
        new = read_registration(made_by(device))
        made = SITE.verified_registration(new, CHALLENGE)
    except PasskeyInvalid:
        return
    assertion = read_assertion(signed_by(device))
    assert SITE.verified_use(assertion, CHALLENGE, made.public_key) is None


def test_the_browser_and_the_authenticator_name_the_same_credential() -> None:
    answer = json.loads(made_by(Authenticator()))
    answer["id"] = answer["rawId"] = encoded(secrets.token_bytes(32))
    with pytest.raises(PasskeyInvalid):
        SITE.verified_registration(read_registration(json.dumps(answer)), CHALLENGE)
    long = Authenticator(credential_id=bytes(1024))
    with pytest.raises(PasskeyInvalid):
        SITE.verified_registration(read_registration(made_by(long)), CHALLENGE)


def test_options_name_the_ways_to_known_passkeys() -> None:
    known = [KnownPasskey(encoded(b"id"), ("usb", "smart-card")), KnownPasskey(encoded(b"x"), ())]
    options = json.loads(SITE.creation_options(CHALLENGE, ADA, known))
    assert options["challenge"] == CHALLENGE
    assert [item["id"] for item in options["excludeCredentials"]] == [encoded(b"id"), encoded(b"x")]
    assert options["excludeCredentials"][0]["transports"] == ["usb", "smart-card"]


_DEVICE = Authenticator(EDDSA)
_KEY = SITE.verified_registration(read_registration(made_by(_DEVICE)), CHALLENGE).public_key
_SIGNED, _MADE = signed_by(_DEVICE), made_by(_DEVICE)
_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def accepted(text: str) -> bool:
    """Whether an assertion is taken for one of our device; anything but an error of ours fails."""
    try:
        assertion = read_assertion(text)
    except PasskeyInvalid:
        return False
    if SITE.problem_with(assertion.claims) or assertion.claims.challenge != CHALLENGE:
        return False
    return SITE.verified_use(assertion, CHALLENGE, _KEY) is not None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["id", "rawId", "type", "response"]), _JUNK)
def test_junk_in_place_of_a_part_is_refused(name: str, junk: Any) -> None:
    for text in (_SIGNED, _MADE):
        parts = json.loads(text)
        if parts[name] == junk:
            continue
        changed = json.dumps({**parts, name: junk})
        assert not accepted(changed)
        with pytest.raises(PasskeyInvalid):
            read_registration(changed)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]),
    st.integers(0, 10_000),
    st.integers(1, 255),
)
def test_no_byte_of_an_assertion_can_be_changed(name: str, place: int, flip: int) -> None:
    parts = json.loads(_SIGNED)
    raw = bytearray(decoded(parts["response"][name]))
    raw[place % len(raw)] ^= flip
    parts["response"][name] = encoded(bytes(raw))
    assert not accepted(json.dumps(parts))


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 10_000), st.binary(max_size=6))
def test_an_attestation_with_other_bytes_is_read_or_refused(place: int, other: bytes) -> None:
    parts = json.loads(_MADE)
    raw = bytearray(decoded(parts["response"]["attestationObject"]))
    start = place % len(raw)
    raw[start : start + len(other)] = other
    parts["response"]["attestationObject"] = encoded(bytes(raw))
    try:
        SITE.verified_registration(read_registration(json.dumps(parts)), CHALLENGE)
    except PasskeyInvalid:
        return


@pytest.mark.parametrize("said", [2**62, 100, [0] * 37, "0" * 37, None])
def test_an_attestation_says_nothing_but_bytes_of_its_authenticator(said: object) -> None:
    parts = json.loads(_MADE)
    attestation = cbor2.loads(decoded(parts["response"]["attestationObject"]))
    attestation["authData"] = said
    parts["response"]["attestationObject"] = encoded(cbor2.dumps(attestation))
    with pytest.raises(PasskeyInvalid):
        read_registration(json.dumps(parts))


def test_the_software_authenticator_says_what_it_should() -> None:
    """The fake itself: flags and sizes as the standard has them (section 6.1)."""
    seen = base64.urlsafe_b64decode(json.loads(_SIGNED)["response"]["authenticatorData"] + "==")
    assert len(seen) == 37 and seen[32] == USUAL
    attestation = cbor2.loads(decoded(json.loads(_MADE)["response"]["attestationObject"]))
    assert attestation["authData"][32] == USUAL | HAS_CREDENTIAL

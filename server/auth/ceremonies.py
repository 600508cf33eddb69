"""The ceremonies of WebAuthn (level 3): the one place that knows the library.

What browsers send is read here into plain values, with its site checked and its signature verified;
whose passkey it is, and whether a challenge is still good, is decided by the use cases.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson
import webauthn
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    parse_attestation_object,
    parse_authentication_credential_json,
    parse_authenticator_data,
    parse_cbor,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticationCredential,
    AuthenticatorData,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from server.auth.errors import PasskeyInvalid, PasskeyOriginRejected, PasskeyRpIdRejected
from server.auth.rules import PASSKEY_CHALLENGE_LIFE
from server.core.errors import GreenroomError

ALGORITHMS = [
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
"""What passkeys may sign with, the best first."""

LONGEST_CREDENTIAL_ID = 1023
"""Bytes of a credential id (WebAuthn, section 4)."""

# The library looks into what it reads only as far as it goes, so that a wrong type or a missing
# part of a key ends in whichever of these comes first.
_UNREADABLE = (
    WebAuthnException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
)

_TIMEOUT = int(PASSKEY_CHALLENGE_LIFE.total_seconds() * 1000)


@dataclass(frozen=True, slots=True)
class KnownPasskey:
    """How browsers are told of a passkey."""

    credential_id: str
    transports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """How browsers are told whom a passkey is made for."""

    handle: str
    name: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What the browser says of a ceremony, and the authenticator confirms by its signature."""

    challenge: str
    origin: str
    embedded: bool
    rp_id_hash: bytes


@dataclass(frozen=True, slots=True)
class NewCredential:
    """The answer to creation options, read and not yet verified."""

    raw: RegistrationCredential
    claims: Claims


@dataclass(frozen=True, slots=True)
class Assertion:
    """The answer to request options, read and not yet verified. ``user_handle`` is empty where the
    authenticator did not tell one; without a list of allowed credentials it has to (section 7.2)."""

    raw: AuthenticationCredential
    claims: Claims
    credential_id: str
    user_handle: str


@dataclass(frozen=True, slots=True)
class MadeCredential:
    """A verified registration."""

    credential_id: str
    public_key: str
    sign_count: int
    aaguid: str
    transports: tuple[str, ...]
    backup_eligible: bool
    backed_up: bool


@dataclass(frozen=True, slots=True)
class Use:
    """A verified use of a passkey."""

    sign_count: int
    backup_eligible: bool
    backed_up: bool


def read_registration(text: str) -> NewCredential:
    """Reads a RegistrationResponseJSON; ``PasskeyInvalid`` when it is none."""
    with _reading():
        raw = parse_registration_credential_json(orjson.loads(text))
        _check_id(raw)
        _check_attestation(raw.response.attestation_object)
        attestation = parse_attestation_object(raw.response.attestation_object)
        # None was asked for, so nobody has a reason to send certificates; reading them is a risk.
        if attestation.fmt not in ("none", "packed") or attestation.att_stmt.x5c:
            raise ValueError("an attestation with certificates")
        return NewCredential(
            raw, _claims(raw.response.client_data_json, "webauthn.create", attestation.auth_data)
        )


def read_assertion(text: str) -> Assertion:
    """Reads an AuthenticationResponseJSON; ``PasskeyInvalid`` when it is none."""
    with _reading():
        raw = parse_authentication_credential_json(orjson.loads(text))
        seen = parse_authenticator_data(raw.response.authenticator_data)
        _check_id(raw)
        return Assertion(
            raw,
            _claims(raw.response.client_data_json, "webauthn.get", seen),
            credential_id=bytes_to_base64url(raw.raw_id),
            user_handle=bytes_to_base64url(raw.response.user_handle or b""),
        )


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """This server as authenticators and browsers know it. ``origins`` are those of the pages that
    may use its passkeys; each is compared as a whole."""

    rp_id: str
    origins: tuple[str, ...]
    name: str = "Greenroom"

    def creation_options(
        self, challenge: str, account: Account, known: Sequence[KnownPasskey]
    ) -> str:
        """PublicKeyCredentialCreationOptionsJSON. ``known`` are passkeys that the account has: an
        authenticator that holds one of them makes no other."""
        options = webauthn.generate_registration_options(
            rp_id=self.rp_id,
            rp_name=self.name,
            user_id=base64url_to_bytes(account.handle),
            user_name=account.name,
            user_display_name=account.display_name,
            challenge=base64url_to_bytes(challenge),
            timeout=_TIMEOUT,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                require_resident_key=True,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[_descriptor(passkey) for passkey in known],
            supported_pub_key_algs=ALGORITHMS,
        )
        return webauthn.options_to_json(options)

    def request_options(self, challenge: str) -> str:
        """PublicKeyCredentialRequestOptionsJSON that any passkey of this server can answer."""
        options = webauthn.generate_authentication_options(
            rp_id=self.rp_id,
            challenge=base64url_to_bytes(challenge),
            timeout=_TIMEOUT,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def problem_with(self, claims: Claims) -> GreenroomError | None:
        """Why an answer is not for this site; ``None`` when it is. A page within a page of
        somebody else counts as theirs."""
        if claims.origin not in self.origins or claims.embedded:
            return PasskeyOriginRejected()
        own = hashlib.sha256(self.rp_id.encode()).digest()
        if not hmac.compare_digest(claims.rp_id_hash, own):
            return PasskeyRpIdRejected()
        return None

    def verified_registration(self, new: NewCredential, challenge: str) -> MadeCredential:
        """The passkey that was made; ``PasskeyInvalid`` when it does not verify or its user was
        not verified."""
        with _reading():
            made = webauthn.verify_registration_response(
                credential=new.raw,
                expected_challenge=base64url_to_bytes(challenge),
                expected_rp_id=self.rp_id,
                expected_origin=list(self.origins),
                require_user_verification=True,
                supported_pub_key_algs=ALGORITHMS,
            )
            if made.credential_id != new.raw.raw_id:
                raise ValueError("the browser names another credential than the authenticator")
            if len(made.credential_id) > LONGEST_CREDENTIAL_ID:
                raise ValueError("the id is too long")
            return MadeCredential(
                credential_id=bytes_to_base64url(made.credential_id),
                public_key=bytes_to_base64url(made.credential_public_key),
                sign_count=made.sign_count,
                aaguid=made.aaguid,
                transports=tuple(
                    dict.fromkeys(way.value for way in new.raw.response.transports or ())
                ),
                backup_eligible=made.credential_device_type == "multi_device",
                backed_up=made.credential_backed_up,
            )

    def verified_use(self, assertion: Assertion, challenge: str, public_key: str) -> Use | None:
        """What an assertion tells when the key has signed it and its user was verified; ``None``
        when not. The counter is left to the caller, who knows what it was before."""
        try:
            seen = webauthn.verify_authentication_response(
                credential=assertion.raw,
                expected_challenge=base64url_to_bytes(challenge),
                expected_rp_id=self.rp_id,
                expected_origin=list(self.origins),
                credential_public_key=base64url_to_bytes(public_key),
                credential_current_sign_count=0,
                require_user_verification=True,
            )
        except _UNREADABLE:
            return None
        return Use(
            sign_count=seen.new_sign_count,
            backup_eligible=seen.credential_device_type == "multi_device",
            backed_up=seen.credential_backed_up,
        )


@contextmanager
def _reading() -> Iterator[None]:
    """What cannot be read or verified is the client's mistake."""
    try:
        yield
    except _UNREADABLE as error:
        raise PasskeyInvalid(field="credential_json") from error


def _check_id(raw: RegistrationCredential | AuthenticationCredential) -> None:
    if raw.id != bytes_to_base64url(raw.raw_id):
        raise ValueError("the two ids differ")


def _check_attestation(attestation_object: bytes) -> None:
    """The library makes bytes of ``authData`` whatever it is: of a number, as many as it says."""
    attestation = parse_cbor(attestation_object)
    if not isinstance(attestation, dict) or not isinstance(attestation.get("authData"), bytes):
        raise ValueError("an attestation without the bytes of the authenticator")


def _claims(client_data: bytes, ceremony: str, seen: AuthenticatorData) -> Claims:
    told = parse_client_data_json(client_data)
    if told.type != ceremony:
        raise ValueError(f"not the answer to {ceremony}")
    if not isinstance(told.origin, str):
        raise TypeError("an origin is a text")
    return Claims(
        challenge=bytes_to_base64url(told.challenge),
        origin=told.origin,
        embedded=bool(told.cross_origin),
        rp_id_hash=seen.rp_id_hash,
    )


def _descriptor(passkey: KnownPasskey) -> PublicKeyCredentialDescriptor:
    return PublicKeyCredentialDescriptor(
        id=base64url_to_bytes(passkey.credential_id),
        transports=[AuthenticatorTransport(way) for way in passkey.transports],
    )

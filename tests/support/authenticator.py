"""An authenticator in software, and the browser in front of it: what navigator.credentials answers.

Everything that can be wrong with an answer can be made wrong: site, counter, flags, key, handle.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

ORIGIN = "http://localhost:8080"
RP_ID = "localhost"
ES256, EDDSA = -7, -8

USER_PRESENT, USER_VERIFIED = 0x01, 0x04
BACKUP_ELIGIBLE, BACKED_UP, HAS_CREDENTIAL = 0x08, 0x10, 0x40
USUAL = USER_PRESENT | USER_VERIFIED


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """The bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One credential, made when a registration asks for it. ``counts`` says whether it has a
    counter; passkeys that are copied between devices have none."""

    algorithm: int = ES256
    origin: str = ORIGIN
    rp_id: str = RP_ID
    flags: int = USUAL
    counts: bool = True
    count: int = 0
    transports: tuple[str, ...] = ("internal", "hybrid")
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: str = ""
    client_data: dict[str, Any] = field(default_factory=dict)
    """What the browser says beside or instead of the truth."""

    def __post_init__(self) -> None:
        self.key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        if self.algorithm == ES256:
            self.key = ec.generate_private_key(ec.SECP256R1())
        else:
            self.key = ed25519.Ed25519PrivateKey.generate()

    def create(self, options_json: str) -> str:
        """Answers creation options."""
        options = json.loads(options_json)
        assert self.algorithm in [wanted["alg"] for wanted in options["pubKeyCredParams"]]
        assert options["rp"]["id"] == RP_ID
        self.user_handle = options["user"]["id"]
        raw_id, aaguid = self.credential_id, bytes(16)
        credential = aaguid + len(raw_id).to_bytes(2, "big") + raw_id + self._cose_key()
        seen = self._seen(HAS_CREDENTIAL) + credential
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": seen})
        return self._answer(
            {
                "clientDataJSON": encoded(self._client_data("create", options["challenge"])),
                "attestationObject": encoded(attestation),
                "transports": list(self.transports),
            }
        )

    def get(self, options_json: str) -> str:
        """Answers request options."""
        options = json.loads(options_json)
        self.count += self.counts
        said, seen = self._client_data("get", options["challenge"]), self._seen()
        return self._answer(
            {
                "clientDataJSON": encoded(said),
                "authenticatorData": encoded(seen),
                "signature": encoded(self._sign(seen + hashlib.sha256(said).digest())),
                "userHandle": self.user_handle,
            }
        )

    def _answer(self, response: dict[str, Any]) -> str:
        return json.dumps(
            {
                "id": encoded(self.credential_id),
                "rawId": encoded(self.credential_id),
                "type": "public-key",
                "authenticatorAttachment": "platform",
                "clientExtensionResults": {},
                "response": response,
            }
        )

    def _client_data(self, ceremony: str, challenge: str) -> bytes:
        said = {
            "type": f"webauthn.{ceremony}",
            "challenge": challenge,
            "origin": self.origin,
            "crossOrigin": False,
        }
        return json.dumps({**said, **self.client_data}).encode()

    def _seen(self, also: int = 0) -> bytes:
        count = self.count.to_bytes(4, "big")
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([self.flags | also]) + count

    def _sign(self, signed: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(signed)
        return self.key.sign(signed, ec.ECDSA(SHA256()))

    def _cose_key(self) -> bytes:
        """The public key as RFC 9053 writes it."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            x = self.key.public_key().public_bytes_raw()
            return bytes(cbor2.dumps({1: 1, 3: EDDSA, -1: 6, -2: x}))
        point = self.key.public_key().public_numbers()
        x, y = point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")
        return bytes(cbor2.dumps({1: 2, 3: ES256, -1: 1, -2: x, -3: y}))

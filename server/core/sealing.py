"""Secrets at rest: AES-256-GCM bound to its row, and keyed hashes; all keys can be rotated."""

import base64
import binascii
import hashlib
import hmac
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.core.config import Settings, SettingsError

KEY_BYTES = 32
DEVELOPMENT_PREFIX = "dev-"
"""Key ids of keys that a development server made for itself; production refuses them."""

_NONCE_BYTES = 12
_FILE = "encryption.json"


class SealBroken(ValueError):
    """The text was not sealed by a key of this ring for this place, or it was changed since."""


class Keyring:
    """Named master keys. The first one seals and signs; all of them open and verify.

    Every use has keys of its own, derived from the master keys with HKDF-SHA256 by label, so that
    nothing sealed or hashed for one use means anything in another.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("A keyring needs at least one key.")
        for kid, key in keys.items():
            if not kid or "." in kid or not kid.isascii() or not kid.isprintable():
                raise ValueError(f"not a key id: {kid!r}")
            if len(key) != KEY_BYTES:
                raise ValueError(f"key {kid} has {len(key)} bytes, not {KEY_BYTES}")
        self._masters = dict(keys)
        self._current = next(iter(keys))
        self._derived: dict[tuple[str, str], bytes] = {}
        self._ciphers: dict[str, AESGCM] = {
            kid: AESGCM(self._derive(kid, "seal")) for kid in self._masters
        }

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys, the one that seals first."""
        return tuple(self._masters)

    def seal(self, plaintext: bytes, associated: str) -> str:
        """Encrypts ``plaintext`` for one place, such as ``identities.access_token:<row>:<owner>``.

        The result is ASCII: the key id, a dot, and base64url of 28 bytes more than the plaintext.
        Nonces are random, so a key is good for 2**32 seals; then rotate it.
        """
        kid = self._current
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._ciphers[kid].encrypt(nonce, plaintext, _bound(kid, associated))
        return f"{kid}.{_encoded(sealed)}"

    def open(self, text: str, associated: str) -> bytes:
        """What was sealed for this place; raises :class:`SealBroken` for anything else."""
        kid, separator, body = text.partition(".")
        cipher = self._ciphers.get(kid)
        if cipher is None or not separator:
            raise SealBroken("sealed under a key that is not known here")
        raw = _decoded(body)
        if len(raw) < _NONCE_BYTES:
            raise SealBroken("too short")
        try:
            return cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _bound(kid, associated))
        except InvalidTag:
            raise SealBroken("changed, or sealed for another place") from None

    def is_current(self, text: str) -> bool:
        """Whether the first key sealed it; if not, it should be opened and sealed again."""
        return text.partition(".")[0] == self._current

    def hmac(self, label: str, data: bytes) -> bytes:
        """HMAC-SHA256 of ``data`` under the first key, for the use ``label`` names; 32 bytes."""
        return hmac.digest(self._derive(self._current, f"hmac:{label}"), data, hashlib.sha256)

    def verify_hmac(self, label: str, data: bytes, digest: bytes) -> bool:
        """Whether :meth:`hmac` gave ``digest`` under any key of the ring; takes constant time."""
        for kid in self._masters:
            own = hmac.digest(self._derive(kid, f"hmac:{label}"), data, hashlib.sha256)
            if hmac.compare_digest(own, digest):
                return True
        return False

    def derived_keys(self, label: str) -> dict[str, bytes]:
        """A 32-byte key for ``label`` from every master key, by key id, the current one first."""
        return {kid: self._derive(kid, f"key:{label}") for kid in self._masters}

    def _derive(self, kid: str, label: str) -> bytes:
        known = self._derived.get((kid, label))
        if known is None:
            info = b"greenroom:" + label.encode()
            known = HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self._masters[kid])
            self._derived[kid, label] = known
        return known


def parse_keys(text: str | bytes) -> dict[str, bytes]:
    """Reads ``{"<key id>": "<base64 of 32 bytes>"}``; a ``ValueError`` says what is wrong."""
    content = orjson.loads(text)
    if not isinstance(content, dict) or not content:
        raise ValueError("expected a JSON object of key ids and keys")
    keys: dict[str, bytes] = {}
    for kid, encoded in content.items():
        if not isinstance(encoded, str):
            raise ValueError(f"key {kid} is not a base64 text")
        try:
            keys[kid] = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            raise ValueError(f"key {kid} is not base64") from None
    Keyring(keys)
    return keys


def load_keyring(settings: Settings) -> Keyring:
    """The ring from the setting ENCRYPTION_KEY, else from ``encryption.json`` in KEYS_DIR.

    In development a missing file is made. Production demands it and refuses keys made that way;
    both raise ``SettingsError``.
    """
    source = "ENCRYPTION_KEY"
    try:
        if settings.encryption_key:
            keys = parse_keys(settings.encryption_key)
        else:
            source = str(settings.keys_dir / _FILE)
            keys = parse_keys(read_key_file(settings, _FILE, _development_keys))
    except ValueError as problem:
        raise SettingsError([f"{source}: {problem}"]) from None
    if settings.is_production:
        refused = [kid for kid in keys if kid.startswith(DEVELOPMENT_PREFIX)]
        if refused:
            raise SettingsError([f"{source}: {', '.join(refused)} was made for development"])
    return Keyring(keys)


def read_key_file(settings: Settings, name: str, make: Callable[[], Any]) -> bytes:
    """Content of a file in KEYS_DIR; in development ``make()`` is written where there is none.

    The file must be its owner's alone (0600). Processes that start at once agree on one content.
    """
    path = settings.keys_dir / name
    if not path.exists():
        if settings.is_production:
            raise SettingsError([f"{path}: missing; production makes no keys of its own"])
        _write_once(path, orjson.dumps(make(), option=orjson.OPT_INDENT_2))
    if path.stat().st_mode & 0o077:
        raise SettingsError([f"{path}: others may read it; run: chmod 600 {path}"])
    return path.read_bytes()


def _development_keys() -> dict[str, str]:
    kid = DEVELOPMENT_PREFIX + os.urandom(4).hex()
    return {kid: base64.b64encode(os.urandom(KEY_BYTES)).decode()}


def _write_once(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # Another process was first: its content counts.
    finally:
        os.unlink(temporary)


def _bound(kid: str, associated: str) -> bytes:
    return f"{kid}|{associated}".encode()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise SealBroken("not base64url") from None
    # The decoder skips what is no base64 and ignores spare bits: only one spelling is accepted.
    if _encoded(raw) != text:
        raise SealBroken("not canonical base64url")
    return raw

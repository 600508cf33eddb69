"""The Ed25519 keys that sign access tokens: JWK files (RFC 8037) in the keys directory, one a key.

A file is named ``signing-<kid>.json`` and holds the private JWK plus ``sign_from`` (from when it
signs) and ``publish_until`` (absent while it is in use); both are RFC 3339 times. A key is
published from the moment its file exists, so a new one is made with a ``sign_from`` a day ahead. A
file ``revoked-<kid>.json`` voids the key of that id for good, even where its other file comes back.
``key_rotation.py`` makes and revokes keys, ``key_watch.py`` has a running server follow.
"""

import base64
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from server.core.config import Settings, SettingsError
from server.core.sealing import DEVELOPMENT_PREFIX

_PREFIX = "signing-"
_REVOKED = "revoked-"
_ALWAYS = "1970-01-01T00:00:00+00:00"


class NoKeyInUse(Exception):
    """None of the keys may sign at this time."""


@dataclass(frozen=True)
class SigningKey:
    """One key pair and when it is in use."""

    kid: str
    private: Ed25519PrivateKey
    sign_from: datetime
    publish_until: datetime | None = None

    @property
    def public(self) -> Ed25519PublicKey:
        """The half that verifies."""
        return self.private.public_key()

    @property
    def public_jwk(self) -> dict[str, str]:
        """What GetJwks shows of it."""
        x = _encoded(self.public.public_bytes_raw())
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": x,
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
        }


class SigningKeys:
    """The keys of a server: one signs, all that are published verify."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        self._keys: list[SigningKey] = []
        self._verifying: dict[str, tuple[Ed25519PublicKey, datetime | None]] = {}
        self.replace(keys)

    def replace(self, keys: Iterable[SigningKey]) -> frozenset[str]:
        """Takes these instead of the keys so far; ids of those that are not among them. Other
        threads see the old keys or the new ones, each list as a whole."""
        ordered = sorted(keys, key=lambda key: (key.sign_from, key.kid), reverse=True)
        if not ordered:
            raise NoKeyInUse("A server needs at least one signing key.")
        gone = self._verifying.keys() - {key.kid for key in ordered}
        self._keys = ordered
        self._verifying = {key.kid: (key.public, key.publish_until) for key in ordered}
        return frozenset(gone)

    @property
    def all(self) -> tuple[SigningKey, ...]:
        """Every key, in use or not, newest first."""
        return tuple(self._keys)

    def signing(self, now: datetime) -> SigningKey:
        """The key that signs now: the newest whose time has come."""
        for key in self._keys:
            if key.sign_from <= now and (key.publish_until is None or now < key.publish_until):
                return key
        raise NoKeyInUse("No signing key is in use at this time.")

    def verifying(self, kid: str, now: datetime) -> Ed25519PublicKey | None:
        """The public half of a published key; ``None`` for any other id."""
        found = self._verifying.get(kid)
        if found is None or (found[1] is not None and found[1] <= now):
            return None
        return found[0]

    def published(self, now: datetime) -> list[dict[str, str]]:
        """Public JWKs, newest first."""
        return [
            key.public_jwk
            for key in self._keys
            if key.publish_until is None or now < key.publish_until
        ]


def load_signing_keys(settings: Settings, now: datetime) -> SigningKeys:
    """The keys from the setting SIGNING_KEY, else from the files in KEYS_DIR.

    In development a first one is made where there is none. Production demands it and refuses keys
    made that way; both raise ``SettingsError``, and so does a file that others may read.
    """
    if settings.signing_key:
        keys = [_parsed(settings.signing_key, "SIGNING_KEY")]
    elif settings.is_production:
        keys = read_keys(settings.keys_dir)
        if not keys:
            raise SettingsError(
                [f"{settings.keys_dir}/{_PREFIX}<kid>.json: missing; production makes no keys"]
            )
    else:
        keys = _read_or_make(settings.keys_dir, now)
    if settings.is_production:
        made = [key.kid for key in keys if key.kid.startswith(DEVELOPMENT_PREFIX)]
        if made:
            raise SettingsError([f"signing key {', '.join(made)}: was made for development"])
    if not keys:
        raise SettingsError([f"{settings.keys_dir}: holds revoked keys only; run: keys rotate"])
    return SigningKeys(keys)


def _read_or_make(directory: Path, now: datetime) -> list[SigningKey]:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked_folder(directory):
        keys = read_keys(directory)
        if not keys:
            keys = [create_signing_key(directory, sign_from=now, prefix=DEVELOPMENT_PREFIX)]
    return keys


def create_signing_key(directory: Path, *, sign_from: datetime, prefix: str = "") -> SigningKey:
    """Makes a key pair and writes its file, readable by its owner only. Its id is ``prefix`` and
    its RFC 7638 thumbprint."""
    private = Ed25519PrivateKey.generate()
    x = _encoded(private.public_key().public_bytes_raw())
    key = SigningKey(kid=prefix + _thumbprint(x), private=private, sign_from=sign_from)
    write_key(directory, key)
    return key


def write_key(directory: Path, key: SigningKey) -> None:
    """Writes the file of a key, in one step."""
    content: dict[str, object] = {
        **key.public_jwk,
        "d": _encoded(key.private.private_bytes_raw()),
        "sign_from": key.sign_from,
    }
    if key.publish_until is not None:
        content["publish_until"] = key.publish_until
    _write(directory / f"{_PREFIX}{key.kid}.json", content)


def write_revocation(directory: Path, key: SigningKey, now: datetime) -> None:
    """Voids a key for good: its public half stays on record, its private half goes."""
    _write(directory / f"{_REVOKED}{key.kid}.json", {**key.public_jwk, "revoked_at": now})
    delete_key(directory, key.kid)


def delete_key(directory: Path, kid: str) -> None:
    """Removes the file of a key, if it is there."""
    (directory / f"{_PREFIX}{kid}.json").unlink(missing_ok=True)
    _sync(directory)


def revoked_kids(directory: Path) -> frozenset[str]:
    """Ids of the keys that were revoked."""
    names = (path.name for path in directory.glob(f"{_REVOKED}*.json"))
    return frozenset(name.removeprefix(_REVOKED).removesuffix(".json") for name in names)


def _write(path: Path, content: Mapping[str, object]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".signing-")
    with os.fdopen(handle, "wb") as file:
        file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o600)
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Has the names in a folder on the disk: a revoked key must not be back after a power failure."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_keys(directory: Path) -> list[SigningKey]:
    """The keys of the files in a folder but those that were revoked; ``SettingsError`` for a file
    that is spoilt or that others may read."""
    revoked = revoked_kids(directory)
    return [key for key in _read_all(directory) if key.kid not in revoked]


def _read_all(directory: Path) -> Iterator[SigningKey]:
    for path in sorted(directory.glob(f"{_PREFIX}*.json")):
        if path.stat().st_mode & 0o077:
            raise SettingsError([f"{path}: others may read it; run: chmod 600 {path}"])
        key = _parsed(path.read_bytes(), str(path))
        if path.name != f"{_PREFIX}{key.kid}.json":
            raise SettingsError([f"{path}: holds the key {key.kid}"])
        yield key


def _parsed(text: str | bytes, source: str) -> SigningKey:
    try:
        content: Mapping[str, Any] = orjson.loads(text)
        private = Ed25519PrivateKey.from_private_bytes(_decoded(content["d"]))
        until = content.get("publish_until")
        key = SigningKey(
            kid=content["kid"],
            private=private,
            sign_from=_time(content.get("sign_from", _ALWAYS)),
            publish_until=_time(until) if until else None,
        )
        if key.public_jwk["x"] != content["x"]:
            raise ValueError("x is not the public half of d")
    except (KeyError, TypeError, ValueError) as problem:
        raise SettingsError([f"{source}: is not an Ed25519 JWK ({problem})"]) from None
    return key


def _time(text: str) -> datetime:
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return parsed


@contextmanager
def locked_folder(directory: Path) -> Iterator[None]:
    """Holds off other processes that would change the keys at the same time."""
    handle = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _thumbprint(x: str) -> str:
    """RFC 7638 thumbprint of an Ed25519 public key."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    return _encoded(hashlib.sha256(canonical.encode()).digest())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

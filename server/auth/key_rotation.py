"""What ``python -m server keys list|rotate|revoke`` does, on the folder of the signing keys alone:
it needs neither a server nor, but for the audit rows, a database. Running servers follow the folder
(``key_watch.py``)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from server.auth.keys import (
    SigningKey,
    create_signing_key,
    delete_key,
    locked_folder,
    read_keys,
    revoked_kids,
    write_key,
    write_revocation,
)
from server.auth.tokens import LONGEST_LIFE
from server.core.errors import FailedPrecondition, NotFound

AHEAD = timedelta(days=1)
"""How long a new key is published before it signs: whoever verifies tokens of ours elsewhere keeps
our keys for hours."""

SHORTEST_AHEAD = timedelta(seconds=30)
"""The least of that: a few looks of every running server."""


class KeysFromSetting(FailedPrecondition):
    """The key comes from SIGNING_KEY, so there is no folder to work on."""

    message = "The signing key comes from SIGNING_KEY; change that setting and restart the servers."


class NoSuchKey(NotFound):
    """No key of the folder has this id."""

    message = "There is no signing key {kid}; `keys list` shows those there are."


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as ``keys list`` shows it: ``state`` is SIGNS, WAITS, VERIFIES, ENDED or REVOKED, and
    ``until`` when that changes, if it is known to."""

    kid: str
    state: str
    until: datetime | None = None


def list_keys(folder: Path, now: datetime) -> list[ListedKey]:
    """Every key of the folder, newest first, then the revoked ones."""
    keys = sorted(read_keys(folder), key=lambda key: (key.sign_from, key.kid), reverse=True)
    listed = []
    signs = True
    for key in keys:
        if key.sign_from > now:
            listed.append(ListedKey(key.kid, "WAITS", key.sign_from))
        elif key.publish_until is not None and key.publish_until <= now:
            listed.append(ListedKey(key.kid, "ENDED"))
        else:
            listed.append(ListedKey(key.kid, "SIGNS" if signs else "VERIFIES", key.publish_until))
            signs = False
    return listed + [ListedKey(kid, "REVOKED") for kid in sorted(revoked_kids(folder))]


def rotate(folder: Path, now: datetime, ahead: timedelta = AHEAD) -> SigningKey:
    """Makes a key that is published at once and signs after ``ahead``, or at once when it is the
    first. Those before it go on verifying until the last token that they can have signed is over.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked_folder(folder):
        before = read_keys(folder)
        sign_from = now + max(ahead, SHORTEST_AHEAD) if before else now
        # The new one first: were this to stop half way, there would be a key too many, not too few.
        made = create_signing_key(folder, sign_from=sign_from)
        for key in before:
            if key.publish_until is None:
                write_key(folder, replace(key, publish_until=sign_from + LONGEST_LIFE))
            elif key.publish_until <= now:
                delete_key(folder, key.kid)
    return made


def revoke(folder: Path, kid: str, now: datetime) -> SigningKey:
    """Voids a key at once, with every token that it has signed; the key that signs from now on.

    Where no other is in use, the next one that waits begins early, and where none waits one is made.
    The successor of the present key leaves it in use.
    """
    with locked_folder(folder):
        keys = sorted(read_keys(folder), key=lambda key: (key.sign_from, key.kid), reverse=True)
        doomed = next((key for key in keys if key.kid == kid), None)
        if doomed is None:
            raise NoSuchKey(kid=kid)
        others = [key for key in keys if key is not doomed]
        heir = _heir_of(doomed, others, now)
        if heir is None:
            heir = create_signing_key(folder, sign_from=now)
        elif heir not in others:
            write_key(folder, heir)
        write_revocation(folder, doomed, now)
    return heir


def _heir_of(doomed: SigningKey, others: list[SigningKey], now: datetime) -> SigningKey | None:
    """Which of the other keys, newest first, is to sign from now on, as it must be for that."""
    lasting = [key for key in others if key.publish_until is None]
    present = next((key for key in others if _in_use(key, now)), None)
    if present is not None and not (_in_use(doomed, now) and doomed.sign_from > present.sign_from):
        # Not the doomed one signs now: the present one goes on, past its end if none comes after it.
        return present if lasting else replace(present, publish_until=None)
    for key in lasting:
        if key.sign_from <= now:
            return key
    return replace(lasting[-1], sign_from=now) if lasting else None


def _in_use(key: SigningKey, now: datetime) -> bool:
    return key.sign_from <= now and (key.publish_until is None or now < key.publish_until)

"""Rotating and revoking signing keys, and a server's watch over their folder."""

import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from server.auth.key_rotation import (
    AHEAD,
    SHORTEST_AHEAD,
    ListedKey,
    NoSuchKey,
    list_keys,
    revoke,
    rotate,
)
from server.auth.key_watch import KeyWatch
from server.auth.keys import SigningKeys, read_keys, revoked_kids
from server.auth.tokens import LONGEST_LIFE

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _keys(folder: Path) -> SigningKeys:
    return SigningKeys(read_keys(folder))


def test_the_first_key_signs_at_once_and_later_ones_wait(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first = rotate(folder, NOW)
    assert first.sign_from == NOW and folder.stat().st_mode & 0o777 == 0o700
    second = rotate(folder, NOW)
    assert second.sign_from == NOW + AHEAD
    keys = _keys(folder)
    assert {key["kid"] for key in keys.published(NOW)} == {first.kid, second.kid}
    assert keys.signing(NOW).kid == first.kid
    assert keys.signing(NOW + AHEAD).kid == second.kid
    for path in folder.glob("*.json"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_old_key_verifies_until_its_last_token_has_ended(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    second = rotate(tmp_path, NOW, timedelta(minutes=5))
    keys = _keys(tmp_path)
    last = second.sign_from + LONGEST_LIFE
    assert keys.verifying(first.kid, last - timedelta(seconds=1)) is not None
    assert keys.verifying(first.kid, last) is None
    assert keys.verifying(second.kid, last) is not None
    third = rotate(tmp_path, last + timedelta(days=1), timedelta(minutes=5))
    assert {key.kid for key in read_keys(tmp_path)} == {second.kid, third.kid}


def test_no_key_signs_sooner_than_every_server_knows_it(tmp_path: Path) -> None:
    rotate(tmp_path, NOW)
    assert rotate(tmp_path, NOW, timedelta(0)).sign_from == NOW + SHORTEST_AHEAD


def test_the_list_says_what_each_key_does(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    second = rotate(tmp_path, NOW, timedelta(hours=1))
    later = NOW + timedelta(hours=2)
    end = second.sign_from + LONGEST_LIFE
    assert list_keys(tmp_path, NOW) == [
        ListedKey(second.kid, "WAITS", second.sign_from),
        ListedKey(first.kid, "SIGNS", end),
    ]
    assert list_keys(tmp_path, later) == [
        ListedKey(second.kid, "SIGNS"),
        ListedKey(first.kid, "VERIFIES", end),
    ]
    assert list_keys(tmp_path, end)[1] == ListedKey(first.kid, "ENDED")
    revoke(tmp_path, first.kid, later)
    assert list_keys(tmp_path, later)[1] == ListedKey(first.kid, "REVOKED")


def test_a_revoked_key_is_void_and_another_signs(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    heir = revoke(tmp_path, first.kid, NOW)
    keys = _keys(tmp_path)
    assert keys.verifying(first.kid, NOW) is None
    assert keys.signing(NOW).kid == heir.kid != first.kid
    assert revoked_kids(tmp_path) == {first.kid}
    kept = json.loads((tmp_path / f"revoked-{first.kid}.json").read_text())
    assert "d" not in kept and kept["kid"] == first.kid


def test_a_waiting_key_begins_early_when_the_one_before_it_is_revoked(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    second = rotate(tmp_path, NOW)
    assert revoke(tmp_path, first.kid, NOW).kid == second.kid
    assert _keys(tmp_path).signing(NOW).kid == second.kid


def test_no_key_that_ends_soon_signs_again(tmp_path: Path) -> None:
    rotate(tmp_path, NOW)
    second = rotate(tmp_path, NOW, timedelta(minutes=1))
    later = NOW + timedelta(minutes=2)
    heir = revoke(tmp_path, second.kid, later)
    signing = _keys(tmp_path).signing(later)
    assert signing.kid == heir.kid and signing.publish_until is None


def test_revoking_a_waiting_or_old_key_leaves_the_signing_one(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    second = rotate(tmp_path, NOW, timedelta(hours=1))
    waits = rotate(tmp_path, NOW + timedelta(hours=2))
    later = NOW + timedelta(hours=3)
    for doomed in (first, waits):
        revoke(tmp_path, doomed.kid, later)
    assert _keys(tmp_path).signing(later).kid == second.kid


def test_a_revoked_key_does_not_come_back_with_its_file(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    text = (tmp_path / f"signing-{first.kid}.json").read_bytes()
    revoke(tmp_path, first.kid, NOW)
    back = tmp_path / f"signing-{first.kid}.json"
    back.write_bytes(text)
    back.chmod(0o600)
    assert _keys(tmp_path).verifying(first.kid, NOW) is None


def test_an_unknown_key_is_not_revoked(tmp_path: Path) -> None:
    rotate(tmp_path, NOW)
    for kid in ("nobody", "", "../x", "*"):
        with pytest.raises(NoSuchKey):
            revoke(tmp_path, kid, NOW)
    assert revoked_kids(tmp_path) == frozenset()


async def test_the_watch_takes_new_keys_and_tells_of_withdrawn_ones(tmp_path: Path) -> None:
    first = rotate(tmp_path, NOW)
    keys = _keys(tmp_path)
    watch = KeyWatch(tmp_path, keys)
    withdrawn: list[frozenset[str]] = []
    watch.on_withdrawn(withdrawn.append)
    await watch.look()
    second = rotate(tmp_path, NOW)
    await watch.look()
    assert keys.verifying(second.kid, NOW) is not None and withdrawn == []
    revoke(tmp_path, first.kid, NOW)
    await watch.look()
    assert withdrawn == [frozenset({first.kid})]
    assert keys.verifying(first.kid, NOW) is None


async def test_a_spoilt_file_changes_nothing_but_does_not_hide_a_revocation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = rotate(tmp_path, NOW)
    second = rotate(tmp_path, NOW)
    keys = _keys(tmp_path)
    watch = KeyWatch(tmp_path, keys)
    withdrawn: list[frozenset[str]] = []
    watch.on_withdrawn(withdrawn.append)
    spoilt = tmp_path / "signing-spoilt.json"
    spoilt.write_text("{")
    spoilt.chmod(0o600)
    for _ in range(3):
        await watch.look()
    assert keys.verifying(first.kid, NOW) is not None and withdrawn == []
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    (tmp_path / f"revoked-{first.kid}.json").write_text("{}")
    await watch.look()
    assert withdrawn == [frozenset({first.kid})]
    assert keys.signing(NOW + AHEAD).kid == second.kid
    spoilt.unlink()
    third = rotate(tmp_path, NOW)
    await watch.look()
    assert keys.verifying(third.kid, NOW) is not None


async def test_an_emptied_folder_does_not_stop_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = rotate(tmp_path, NOW)
    keys = _keys(tmp_path)
    watch = KeyWatch(tmp_path, keys)
    (tmp_path / f"signing-{first.kid}.json").unlink()
    await watch.look()
    assert keys.signing(NOW).kid == first.kid
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "rotate" in caplog.text


async def test_tokens_of_unknown_keys_cause_a_look_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate(tmp_path, NOW)
    watch = KeyWatch(tmp_path, _keys(tmp_path))
    looks = 0
    read = watch._read

    def counted(folder: Path) -> object:
        nonlocal looks
        looks += 1
        return read(folder)

    monkeypatch.setattr(watch, "_read", counted)
    for _ in range(50):
        await watch.look_soon()
    assert looks == 1


async def test_without_a_folder_nothing_is_followed(tmp_path: Path) -> None:
    rotate(tmp_path, NOW)
    watch = KeyWatch(None, _keys(tmp_path))
    await watch.look()
    await watch.look_soon()


def test_a_revocation_is_on_the_disk_before_it_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure brings no revoked key back: the folder is synced after each of its changes."""
    done: list[str] = []
    fsync, replace, unlink = os.fsync, os.replace, Path.unlink
    made = rotate(tmp_path, NOW)

    def noted(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *of: (done.append("named"), replace(*of)))
    monkeypatch.setattr(
        Path, "unlink", lambda *of, **how: (done.append("gone"), unlink(*of, **how))
    )
    revoke(tmp_path, made.kid, NOW)
    # The heir, the revocation, and the end of the key itself.
    assert done == ["file", "named", "folder"] * 2 + ["gone", "folder"]

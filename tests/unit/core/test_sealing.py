"""Sealed texts open for their own place only; keys rotate; key files are private."""

import base64
import json
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.config import Settings, SettingsError, load_settings
from server.core.sealing import Keyring, SealBroken, load_keyring, parse_keys

RING = Keyring({"k1": b"1" * 32})


@given(st.binary(max_size=300), st.text(max_size=50))
def test_what_was_sealed_opens_for_its_place_only(plaintext: bytes, place: str) -> None:
    text = RING.seal(plaintext, place)
    assert text.isascii()
    assert RING.open(text, place) == plaintext
    with pytest.raises(SealBroken):
        RING.open(text, place + " ")


def test_sealing_twice_gives_two_texts_and_hides_the_plaintext() -> None:
    assert RING.seal(b"secret", "a") != RING.seal(b"secret", "a")
    assert b"secret" not in base64.urlsafe_b64decode(RING.seal(b"secret" * 9, "a")[3:] + "==")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 31])
def test_every_flipped_bit_is_noticed(size: int) -> None:
    text = RING.seal(b"x" * size, "place").encode()
    for index in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[index] ^= 1 << bit
            with pytest.raises(SealBroken):
                RING.open(changed.decode("latin-1"), "place")


def test_every_cut_extension_and_swap_is_noticed() -> None:
    texts = {f"row {index}": RING.seal(b"same", f"row {index}") for index in range(20)}
    for place, text in texts.items():
        for other, elsewhere in texts.items():
            if place != other:
                with pytest.raises(SealBroken):
                    RING.open(elsewhere, place)
        for wrong in (text[:-1], text[:-4], text + "A", text + "=", text + "\n", " " + text, ""):
            with pytest.raises(SealBroken):
                RING.open(wrong, place)


def test_all_keys_open_and_the_first_seals() -> None:
    old = RING.seal(b"x", "a")
    rotated = Keyring({"k2": b"2" * 32, "k1": b"1" * 32})
    assert rotated.open(old, "a") == b"x"
    assert not rotated.is_current(old)
    new = rotated.seal(b"x", "a")
    assert new.startswith("k2.")
    assert rotated.is_current(new)
    with pytest.raises(SealBroken):
        RING.open(new, "a")
    with pytest.raises(SealBroken):
        Keyring({"k1": b"9" * 32}).open(old, "a")
    with pytest.raises(SealBroken):  # The same key under another name is another key.
        Keyring({"k2": b"1" * 32}).open("k2" + old[2:], "a")


def test_hashes_differ_by_label_and_survive_rotation() -> None:
    digest = RING.hmac("request", b"body")
    assert len(digest) == 32
    assert digest != RING.hmac("page", b"body")
    assert digest != RING.hmac("request", b"body2")
    rotated = Keyring({"k2": b"2" * 32, "k1": b"1" * 32})
    assert rotated.hmac("request", b"body") != digest
    assert rotated.verify_hmac("request", b"body", digest)
    assert not rotated.verify_hmac("page", b"body", digest)
    assert not rotated.verify_hmac("request", b"body", digest[:-1])


def test_derived_keys_differ_by_label_and_master() -> None:
    rotated = Keyring({"k2": b"2" * 32, "k1": b"1" * 32})
    keys = [*rotated.derived_keys("a").values(), *rotated.derived_keys("b").values()]
    assert len(set(keys)) == 4
    assert list(rotated.derived_keys("a")) == ["k2", "k1"]
    assert rotated.derived_keys("a")["k1"] == RING.derived_keys("a")["k1"]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "nonsense", '{"a": 1}', '{"a": "x"}', '{"a": "AAAA"}', '{"a.b": "AAAA"}'],
)
def test_malformed_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_keys(text)


def settings(folder: Path, **more: str) -> Settings:
    return load_settings({"STATE_DIR": str(folder), **more})


def production(folder: Path, **more: str) -> Settings:
    return settings(folder, ENVIRONMENT="production", SMTP_URL="smtp://localhost", **more)


def test_development_makes_private_keys_once(tmp_path: Path) -> None:
    rings: list[Keyring] = []
    threads = [
        threading.Thread(target=lambda: rings.append(load_keyring(settings(tmp_path))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ring.key_ids for ring in rings}) == 1
    path = tmp_path / "keys" / "encryption.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["encryption.json"]
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_keyring(settings(tmp_path))


def test_production_demands_keys_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"encryption\.json: missing"):
        load_keyring(production(tmp_path))
    load_keyring(settings(tmp_path))
    with pytest.raises(SettingsError, match="made for development"):
        load_keyring(production(tmp_path))
    keys = json.dumps({"2026": base64.b64encode(b"k" * 32).decode()})
    assert load_keyring(production(tmp_path, ENCRYPTION_KEY=keys)).key_ids == ("2026",)
    with pytest.raises(SettingsError, match="ENCRYPTION_KEY") as caught:
        load_keyring(production(tmp_path, ENCRYPTION_KEY='{"a": "c2VjcmV0"}'))
    assert "c2VjcmV0" not in str(caught.value)

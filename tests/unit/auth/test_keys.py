"""Signing keys as files: made in development, demanded in production, never readable by others."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server.auth.keys import create_signing_key, load_signing_keys
from server.core.config import Settings, SettingsError, load_settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _settings(folder: Path, **more: str) -> Settings:
    return load_settings({"STATE_DIR": str(folder), "SMTP_URL": "smtp://localhost", **more})


def _files(folder: Path) -> list[Path]:
    return sorted((folder / "keys").glob("signing-*.json"))


def test_development_makes_one_key_and_keeps_it(tmp_path: Path) -> None:
    first = load_signing_keys(_settings(tmp_path), NOW)
    second = load_signing_keys(_settings(tmp_path), NOW + timedelta(days=1))
    assert first.signing(NOW).kid == second.signing(NOW).kid
    (file,) = _files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_production_makes_none_and_takes_none_made_for_development(tmp_path: Path) -> None:
    production = {"ENVIRONMENT": "production", "PUBLIC_URL": "https://example.com"}
    with pytest.raises(SettingsError, match="missing"):
        load_signing_keys(_settings(tmp_path, **production), NOW)
    load_signing_keys(_settings(tmp_path), NOW)
    with pytest.raises(SettingsError, match="development"):
        load_signing_keys(_settings(tmp_path, **production), NOW)
    _files(tmp_path)[0].unlink()
    made = create_signing_key(tmp_path / "keys", sign_from=NOW)
    keys = load_signing_keys(_settings(tmp_path, **production), NOW)
    assert keys.signing(NOW).kid == made.kid


def test_a_key_may_come_from_a_setting(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    made = create_signing_key(tmp_path / "keys", sign_from=NOW)
    text = _files(tmp_path)[0].read_text()
    keys = load_signing_keys(_settings(tmp_path / "other", SIGNING_KEY=text), NOW)
    assert keys.signing(NOW).kid == made.kid
    assert not (tmp_path / "other").exists()


def _spoil(tmp_path: Path, change: dict[str, Any]) -> None:
    file = _files(tmp_path)[0]
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


@pytest.mark.parametrize(
    "change",
    [
        {"d": "AAAA"},
        {"d": 1},
        {"x": "A" * 43},
        {"kid": "another"},
        {"sign_from": "yesterday"},
        {"sign_from": "2026-01-01T00:00:00"},
    ],
)
def test_a_spoilt_file_stops_the_server(tmp_path: Path, change: dict[str, Any]) -> None:
    load_signing_keys(_settings(tmp_path), NOW)
    _spoil(tmp_path, change)
    with pytest.raises(SettingsError) as raised:
        load_signing_keys(_settings(tmp_path), NOW)
    assert "signing-" in str(raised.value)


def test_a_file_that_others_may_read_stops_the_server(tmp_path: Path) -> None:
    load_signing_keys(_settings(tmp_path), NOW)
    _files(tmp_path)[0].chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_signing_keys(_settings(tmp_path), NOW)


def test_the_published_half_holds_no_secret(tmp_path: Path) -> None:
    (published,) = load_signing_keys(_settings(tmp_path), NOW).published(NOW)
    assert set(published) == {"kty", "crv", "x", "kid", "use", "alg"}

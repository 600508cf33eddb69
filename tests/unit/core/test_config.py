"""Settings: a table that is complete, errors that name everything at once, the production guard."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from server.core.config import (
    SETTINGS,
    Settings,
    SettingsError,
    hand_on,
    load_settings,
    read_dotenv,
    settings_from_environment,
)
from server.core.rates import Rate

PRODUCTION = {"ENVIRONMENT": "production", "SMTP_URL": "smtp://mail.example.org:587"}


def problems(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    return str(caught.value)


def test_every_attribute_has_its_row_and_every_default_is_accepted() -> None:
    assert [entry.name.upper() for entry in fields(Settings)] == [row.name for row in SETTINGS]
    assert all(row.meaning.endswith(".") for row in SETTINGS)
    load_settings({})
    load_settings(PRODUCTION)


def test_defaults_follow_the_state_folder_and_the_environment() -> None:
    settings = load_settings({"STATE_DIR": "/srv/greenroom"})
    assert settings.database_url == "sqlite:////srv/greenroom/greenroom.db"
    assert settings.keys_dir == Path("/srv/greenroom/keys")
    assert settings.reflection
    assert settings.cors_origins == ("http://localhost:*", "http://127.0.0.1:*")
    guarded = load_settings(PRODUCTION)
    assert guarded.is_production
    assert not guarded.reflection
    assert guarded.cors_origins == ()


def test_all_that_is_wrong_is_named_in_one_error() -> None:
    text = problems(
        GRPC_PORT="70000",
        DATABASE_POOL_SIZE="many",
        LIMIT_CHAT="often",
        WORKER="elsewhere",
        ENVIRONMENT="staging",
        TRUSTED_PROXIES="10.0.0.0/33",
        TLS_CERT_FILE="/nowhere.pem",
        DATABASE_URL="mysql://user:hunter2@host/db",
        BCRYPT_COST="3",
        UNARY_DEADLINE_SECONDS="nan",
        REFLECTION="maybe",
    )
    for name in (
        "GRPC_PORT: '70000' cannot be used; accepted is a whole number from 0 to 65535",
        "DATABASE_POOL_SIZE", "LIMIT_CHAT", "WORKER", "ENVIRONMENT", "TRUSTED_PROXIES",
        "TLS_CERT_FILE", "DATABASE_URL", "BCRYPT_COST", "UNARY_DEADLINE_SECONDS", "REFLECTION",
    ):  # fmt: skip
        assert name in text
    assert "hunter2" not in text
    assert len(text.splitlines()) == 12


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/x"]
)
def test_a_database_in_memory_is_refused_with_the_reason(url: str) -> None:
    assert "memory is not supported" in problems(DATABASE_URL=url)


def test_several_processes_need_shared_parts() -> None:
    text = problems(PROCESSES="2")
    assert "DATABASE_URL: PROCESSES above 1 needs postgresql://" in text
    assert "BUS_URL: PROCESSES above 1 needs redis://" in text
    assert "WORKER=separate needs" in problems(WORKER="separate")
    load_settings(
        {"PROCESSES": "2", "DATABASE_URL": "postgres://h/db", "BUS_URL": "redis://localhost"}
    )


def test_production_refuses_what_is_fit_for_development_only() -> None:
    text = problems(ENVIRONMENT="production", CORS_ORIGINS="https://a.example,*")
    assert "CORS_ORIGINS: production does not allow every origin" in text
    assert "SMTP_URL: missing; production does not write mails to files" in text
    assert load_settings({"ENV": "production", "SMTP_URL": "smtp://h"}).is_production


def test_rates_are_checked_and_stay_texts() -> None:
    settings = load_settings({"LIMIT_CHAT": "5/2s:9", "LIMIT_READ": "off"})
    assert Rate.parse(settings.limit_chat) == Rate(5, 2.0, 9)
    assert Rate.parse(settings.limit_read) is None


def test_empty_values_count_as_none() -> None:
    assert load_settings({"GRPC_PORT": " ", "SMTP_URL": ""}).grpc_port == 50051


def test_a_dotenv_lies_beneath_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "# a comment\n\nexport GRPC_PORT=1234 # the port\nTOKEN_ISSUER='a # b'\n"
        'TOKEN_AUDIENCE="x=y"\nHTTP_PORT=4321\nnonsense\n'
    )
    assert read_dotenv(tmp_path / ".env") == {
        "GRPC_PORT": "1234", "TOKEN_ISSUER": "a # b", "TOKEN_AUDIENCE": "x=y", "HTTP_PORT": "4321",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTP_PORT", "9999")
    monkeypatch.delenv("GRPC_PORT", raising=False)
    settings = settings_from_environment()
    assert (settings.grpc_port, settings.http_port) == (1234, 9999)


@pytest.mark.parametrize(
    "text", ["", "5", "5/s", "0/1s", "5/0s", "5/1s:0", "-1/1s", "5/1m", "٥/1s"]
)
def test_malformed_rates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        Rate.parse(text)


def test_a_rate_without_a_burst_allows_its_amount_at_once() -> None:
    rate = Rate.parse(" 30/10s ")
    assert rate == Rate(30, 10.0, 30)
    assert rate.per_second == 3.0
    assert Rate.parse(str(rate)) == rate
    assert Rate.parse("OFF") is None


def test_what_grpc_reads_itself_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_EXPERIMENTS", "")
    hand_on(load_settings({}))
    assert os.environ["GRPC_EXPERIMENTS"] == "-event_engine_listener,fuse_filters"
    hand_on(load_settings({"GRPC_EXPERIMENTS": "event_engine_listener"}))
    assert os.environ["GRPC_EXPERIMENTS"] == "event_engine_listener"


def test_grpc_is_not_imported_before_that() -> None:
    said = "import sys, server.__main__; sys.exit('grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", said], check=True)

"""The settings: read once from the environment, checked together, handed on as one value.

Each row of ``settings_table`` is an attribute of :class:`Settings`, in lower case. This is the only
file that reads the environment.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.core import origins
from server.core.settings_table import SETTINGS

__all__ = [
    "SETTINGS",
    "Settings",
    "SettingsError",
    "environment_for_child",
    "hand_on",
    "load_settings",
    "settings_from_environment",
]


class SettingsError(Exception):
    """Every setting that is wrong or missing, in one error."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"The settings are not usable:\n{listed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, checked; ``SETTINGS`` says what each one means."""

    environment: str
    state_dir: Path
    processes: int
    worker: str

    database_url: str
    database_pool_size: int
    database_wait_seconds: float
    database_statement_seconds: float
    bus_url: str

    grpc_host: str
    grpc_port: int
    grpc_experiments: str
    http_host: str
    http_port: int
    public_url: str
    log_in_url: str
    envoy_admin_port: int
    metrics_host: str
    metrics_port: int
    tls_cert_file: str
    tls_key_file: str
    trusted_proxies: tuple[str, ...]
    cors_origins: tuple[str, ...]
    reflection: bool

    unary_limit: int
    stream_limit: int
    unary_deadline_seconds: float
    message_bytes: int
    stream_heartbeat_seconds: float
    stream_max_seconds: float
    stream_write_seconds: float
    drain_seconds: float
    chat_edit_window_seconds: int

    limit_address: str
    limit_read: str
    limit_write: str
    limit_login: str
    limit_mail: str
    limit_chat: str
    limit_ephemeral: str
    limit_stream: str

    keys_dir: Path
    encryption_key: str
    signing_key: str
    token_issuer: str
    token_audience: str
    access_token_seconds: int
    session_sliding_days: float
    session_absolute_days: float
    session_limit: int
    refresh_grace_seconds: float
    step_up_seconds: int
    user_grace_days: float
    webauthn_rp_id: str
    webauthn_origins: tuple[str, ...]
    auto_activate: bool
    bcrypt_cost: int
    hash_workers: int
    hash_queue: int

    dev_oidc_port: int
    oauth_redirect_uris: tuple[str, ...]
    oauth_timeout_seconds: float
    oauth_google_client_id: str
    oauth_google_client_secret: str
    oauth_google_issuer: str
    oauth_google_scopes: str
    oauth_google_native_client_ids: tuple[str, ...]
    oauth_apple_client_id: str
    oauth_apple_client_secret: str
    oauth_apple_issuer: str
    oauth_apple_scopes: str
    oauth_apple_native_client_ids: tuple[str, ...]
    oauth_discord_client_id: str
    oauth_discord_client_secret: str
    oauth_discord_issuer: str
    oauth_discord_scopes: str
    oauth_github_client_id: str
    oauth_github_client_secret: str
    oauth_github_issuer: str
    oauth_github_scopes: str
    oauth_facebook_client_id: str
    oauth_facebook_client_secret: str
    oauth_facebook_issuer: str
    oauth_facebook_scopes: str

    smtp_url: str
    mail_from: str
    mail_dir: Path
    twilio_account_sid: str
    twilio_auth_token: str
    twilio_verify_service_sid: str
    twilio_base_url: str
    twilio_timeout_seconds: float

    log_level: str
    log_format: str
    log_requests: str

    @property
    def is_production(self) -> bool:
        """True when nothing that is only fit for development may be used."""
        return self.environment == "production"

    @property
    def is_sqlite(self) -> bool:
        """True when the database is a SQLite file."""
        return self.database_url.startswith("sqlite:")


def settings_from_environment() -> Settings:
    """The settings of this process: its environment, and beneath it ``.env`` of its folder."""
    dotenv = Path(".env")
    return load_settings({**(read_dotenv(dotenv) if dotenv.is_file() else {}), **os.environ})


def hand_on(settings: Settings) -> None:
    """Puts into this process's environment what a library reads there itself; before it is imported."""
    os.environ["GRPC_EXPERIMENTS"] = settings.grpc_experiments


def environment_for_child(
    *, given: Mapping[str, str], defaults: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a process that we start: ours, with ``given`` over it.

    ``defaults`` hold where neither our environment nor ``.env`` says anything.
    """
    dotenv = Path(".env")
    said = {**(read_dotenv(dotenv) if dotenv.is_file() else {}), **os.environ}
    missing = {name: value for name, value in defaults.items() if not said.get(name, "").strip()}
    return {**os.environ, **missing, **given}


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Checks ``environ`` (an empty value counts as none) against the table.

    Raises one :class:`SettingsError` that lists everything that is wrong, missing, or not allowed
    together.
    """
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    given.setdefault("ENVIRONMENT", given.get("ENV", "development"))
    state_dir = given.get("STATE_DIR", ".greenroom")
    cores = str(os.cpu_count() or 1)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in SETTINGS:
        text = given.get(setting.name)
        if text is None:
            default = setting.default_in(given["ENVIRONMENT"])
            text = default.replace("{state_dir}", state_dir).replace("{cores}", cores)
        try:
            values[setting.name.lower()] = setting.form.read(text)
        except ValueError:
            shown = "its value" if setting.secret else repr(text)
            problems.append(
                f"{setting.name}: {shown} cannot be used; accepted is {setting.form.accepted}"
            )
    problems += _passkey_problems(values)
    problems += _conflicts(values)
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def _conflicts(values: Mapping[str, Any]) -> list[str]:
    """What is well formed and yet not allowed together; what is malformed was left out."""
    problems: list[str] = []
    if bool(values.get("tls_cert_file")) != bool(values.get("tls_key_file")):
        problems.append("TLS_CERT_FILE, TLS_KEY_FILE: set both or neither")
    if values.get("session_absolute_days", 1e9) < values.get("session_sliding_days", 0):
        problems.append("SESSION_ABSOLUTE_DAYS: must not be below SESSION_SLIDING_DAYS")
    twilio = ("twilio_account_sid", "twilio_auth_token", "twilio_verify_service_sid")
    if len({bool(values.get(name)) for name in twilio}) > 1:
        problems.append(f"{', '.join(name.upper() for name in twilio)}: set all or none")
    sqlite = values.get("database_url", "").startswith("sqlite:")
    if values.get("processes", 1) > 1 or values.get("worker") == "separate":
        several = "PROCESSES above 1" if values.get("processes", 1) > 1 else "WORKER=separate"
        if sqlite:
            problems.append(f"DATABASE_URL: {several} needs postgresql://")
        if values.get("bus_url", "").startswith("memory:"):
            problems.append(f"BUS_URL: {several} needs redis://")
    if values.get("environment") == "production":
        if "*" in values.get("cors_origins", ()):
            problems.append("CORS_ORIGINS: production does not allow every origin (*)")
        if values.get("twilio_account_sid") and _is_plain(values.get("twilio_base_url", "")):
            problems.append("TWILIO_BASE_URL: production needs https://")
        if not values.get("smtp_url", "given"):
            problems.append("SMTP_URL: missing; production does not write mails to files")
    return problems


def _is_plain(address: str) -> bool:
    return address.startswith("http:")


def _passkey_problems(values: dict[str, Any]) -> list[str]:
    """Fills in for which site passkeys are, as far as the settings leave it open; what does not fit
    together when they do not."""
    if not {"webauthn_rp_id", "webauthn_origins", "public_url", "http_port"} <= values.keys():
        return []
    try:
        site = origins.passkey_site(
            values["webauthn_rp_id"],
            values["webauthn_origins"],
            public_url=values["public_url"],
            port=values["http_port"],
        )
    except ValueError:
        return ["PUBLIC_URL: its port cannot be used"]
    values["webauthn_rp_id"], values["webauthn_origins"] = site
    strangers = [origin for origin in site[1] if not origins.belongs_to(origin, site[0])]
    if site[1] and not strangers:
        return []
    named = ", ".join(strangers) or "none"
    return [f"WEBAUTHN_RP_ID, WEBAUTHN_ORIGINS: {named} is no origin of {site[0]}"]


def read_dotenv(path: Path) -> dict[str, str]:
    """``NAME=value`` lines of a file; ``#`` begins a comment, quotes around values are dropped."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if not separator or name.startswith("#"):
            continue
        value = value.strip()
        if len(value) >= 2 and value[0] in "'\"" and value.endswith(value[0]):
            value = value[1:-1]
        else:
            value = value.partition(" #")[0].rstrip()
        found[name.strip()] = value
    return found

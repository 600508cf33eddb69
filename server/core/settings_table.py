"""The settings table, one row each: what is checked, and what README and ``.env.example`` say."""

from dataclasses import dataclass

from server.core.forms import (
    BOOLEAN,
    DATABASE,
    DOMAIN_OR_NOTHING,
    FILE_OR_NOTHING,
    ISSUER,
    NETWORKS,
    ORIGINS,
    PATH,
    PORT,
    RATE,
    TEXT,
    WORDS,
    Form,
    choice,
    number,
    seconds,
    url,
    url_or_nothing,
    whole,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: the environment variable, the form of its value, the default, the meaning.

    ``default`` is text as it would stand in the environment, with ``{state_dir}`` and ``{cores}``
    to be filled in; ``production`` is the default there when it is another one. Values that are
    ``secret`` are never shown.
    """

    name: str
    form: Form
    default: str
    meaning: str
    production: str | None = None
    secret: bool = False

    def default_in(self, environment: str) -> str:
        """The default in one environment, not yet filled in."""
        if environment == "production" and self.production is not None:
            return self.production
        return self.default


def _provider(name: str, title: str, issuer: str, scopes: str) -> tuple[Setting, ...]:
    """The rows of one provider that people sign in with."""
    row = f"OAUTH_{name}_"
    return (
        Setting(
            row + "CLIENT_ID",
            TEXT,
            "",
            f"Our client id at {title}; when empty, nobody signs in with it.",
        ),
        Setting(row + "CLIENT_SECRET", TEXT, "", "Its secret.", secret=True),
        Setting(row + "ISSUER", ISSUER, issuer, f"Where {title} is asked."),
        Setting(row + "SCOPES", TEXT, scopes, "What is asked for, separated by spaces."),
    )


def _native_clients(name: str) -> Setting:
    return Setting(
        f"OAUTH_{name}_NATIVE_CLIENT_IDS",
        WORDS,
        "",
        "Ids of the same application's clients on devices, whose ID tokens are taken too.",
    )


SETTINGS = (
    Setting(
        "ENVIRONMENT",
        choice("development", "production"),
        "development",
        "Production makes no keys of its own and refuses what is only fit for development.",
    ),
    Setting("STATE_DIR", PATH, ".greenroom", "Folder of everything the server keeps on disk."),
    Setting(
        "PROCESSES",
        whole(1, 1024),
        "1",
        "How many server and worker processes run; more than one needs PostgreSQL and Redis.",
    ),
    Setting(
        "WORKER",
        choice("inline", "separate"),
        "inline",
        "Where jobs run: in the server's process, or in `python -m server worker`.",
    ),
    Setting(
        "DATABASE_URL",
        DATABASE,
        "sqlite:///{state_dir}/greenroom.db",
        "The database: SQLite in a file, or PostgreSQL.",
        secret=True,
    ),
    Setting(
        "DATABASE_POOL_SIZE",
        whole(2, 256),
        "8",
        "Threads that work on the database, each with one connection.",
    ),
    Setting(
        "DATABASE_WAIT_SECONDS",
        seconds(0.001, 60),
        "1.0",
        "How long a call waits for a free one until it is refused.",
    ),
    Setting(
        "DATABASE_STATEMENT_SECONDS",
        seconds(0.1, 3600),
        "30",
        "How long one statement may take (PostgreSQL).",
    ),
    Setting(
        "BUS_URL",
        url("memory", "redis", "rediss", "unix"),
        "memory://",
        "How processes wake each other: memory:// within one, redis:// between several.",
        secret=True,
    ),
    Setting("GRPC_HOST", TEXT, "127.0.0.1", "Address the gRPC server listens on."),
    Setting("GRPC_PORT", PORT, "50051", "Its port; 0 takes any that is free."),
    # Threads of gRPC's event engine read the sockets and hand every event on to the thread that wakes the
    # loop; the pollers of before read them on that thread. A unary call costs a fifth less CPU for it,
    # streams the same. Filters that are fused are walked through as one: 7 % less CPU for a call.
    Setting(
        "GRPC_EXPERIMENTS",
        TEXT,
        "-event_engine_listener,fuse_filters",
        "What gRPC itself is to do otherwise than by default, as it spells it.",
    ),
    Setting("HTTP_HOST", TEXT, "127.0.0.1", "Address of Envoy's public listener."),
    Setting("HTTP_PORT", PORT, "8080", "Its port: gRPC, gRPC-web and REST for everybody outside."),
    Setting(
        "PUBLIC_URL",
        url("http", "https"),
        "http://localhost:8080",
        "Where users reach the server; the links in mails begin with it.",
    ),
    Setting(
        "LOG_IN_URL",
        url_or_nothing("http", "https"),
        "",
        "The app's log-in page, where the pages that mails link to lead in the end.",
    ),
    Setting("ENVOY_ADMIN_PORT", PORT, "0", "Envoy's admin interface, on loopback only; 0 is off."),
    Setting("METRICS_HOST", TEXT, "127.0.0.1", "Address of the metrics page."),
    Setting("METRICS_PORT", PORT, "9464", "Its port; 0 takes any that is free."),
    Setting(
        "TLS_CERT_FILE",
        FILE_OR_NOTHING,
        "",
        "Certificates of the public listener (PEM); empty is no TLS.",
    ),
    Setting("TLS_KEY_FILE", FILE_OR_NOTHING, "", "Its private key (PEM)."),
    Setting(
        "TRUSTED_PROXIES",
        NETWORKS,
        "127.0.0.1/32,::1/128",
        "Networks whose x-forwarded-for is believed.",
    ),
    Setting(
        "CORS_ORIGINS",
        WORDS,
        "http://localhost:*,http://127.0.0.1:*",
        "Origins of web pages that may call; * stands for any port, alone for any origin.",
        production="",
    ),
    Setting(
        "REFLECTION", BOOLEAN, "true", "Whether gRPC reflection is served.", production="false"
    ),
    Setting("UNARY_LIMIT", whole(1, 100000), "512", "Unary calls in progress; more are refused."),
    Setting("STREAM_LIMIT", whole(1, 1000000), "10000", "Open streams; more are refused."),
    Setting(
        "UNARY_DEADLINE_SECONDS",
        seconds(0.1, 3600),
        "30",
        "Longest time for a unary call whose method says nothing.",
    ),
    Setting("MESSAGE_BYTES", whole(1024, 1 << 30), "4194304", "Largest message that is accepted."),
    Setting(
        "STREAM_HEARTBEAT_SECONDS",
        seconds(0.05, 600),
        "20",
        "A silent stream is sent a heartbeat this often.",
    ),
    Setting(
        "STREAM_MAX_SECONDS",
        seconds(1, 604800),
        "3600",
        "A stream is ended after this long, to be resumed.",
    ),
    Setting(
        "STREAM_WRITE_SECONDS",
        seconds(0.05, 600),
        "10",
        "A stream whose reader does not read for this long is cut.",
    ),
    Setting(
        "DRAIN_SECONDS",
        seconds(0, 300),
        "25",
        "How long calls in progress may take to end on shutdown.",
    ),
    Setting(
        "CHAT_EDIT_WINDOW_SECONDS",
        whole(0, 3_155_760_000),
        "86400",
        "How long after it was sent a message can be edited.",
    ),
    Setting("LIMIT_ADDRESS", RATE, "200/1s:400", "All calls of one network address."),
    Setting("LIMIT_READ", RATE, "600/60s", "Reads of one caller."),
    Setting("LIMIT_WRITE", RATE, "120/60s", "Writes of one caller."),
    Setting("LIMIT_LOGIN", RATE, "10/60s", "Log-ins from one network address."),
    Setting("LIMIT_MAIL", RATE, "3/3600s", "Calls that send a mail to one address."),
    Setting("LIMIT_CHAT", RATE, "30/10s", "Chat messages of one caller."),
    Setting("LIMIT_EPHEMERAL", RATE, "60/60s", "Typing marks and the like of one caller."),
    Setting("LIMIT_STREAM", RATE, "60/60s", "Streams opened by one caller."),
    Setting("KEYS_DIR", PATH, "{state_dir}/keys", "Folder of the keys (0700), each file 0600."),
    Setting(
        "ENCRYPTION_KEY",
        TEXT,
        "",
        "Instead of encryption.json: a JSON object of key ids and base64 of 32 bytes each.",
        secret=True,
    ),
    Setting(
        "SIGNING_KEY",
        TEXT,
        "",
        "Instead of files: the private JWK that signs access tokens.",
        secret=True,
    ),
    Setting("TOKEN_ISSUER", TEXT, "greenroom", "Issuer named in access tokens."),
    Setting("TOKEN_AUDIENCE", TEXT, "greenroom", "Audience named in access tokens."),
    Setting("ACCESS_TOKEN_SECONDS", whole(60, 86400), "900", "How long an access token is good."),
    Setting(
        "SESSION_SLIDING_DAYS",
        number(0.001, 3650),
        "30",
        "A session ends after this long without use.",
    ),
    Setting(
        "SESSION_ABSOLUTE_DAYS",
        number(0.001, 3650),
        "90",
        "A session ends after this long in any case.",
    ),
    Setting(
        "SESSION_LIMIT",
        whole(1, 10_000),
        "50",
        "Open sessions of one user; for one more the longest unused ends.",
    ),
    Setting(
        "REFRESH_GRACE_SECONDS",
        seconds(0, 300),
        "10",
        "A used refresh token may be repeated for this long.",
    ),
    Setting(
        "STEP_UP_SECONDS",
        whole(60, 86400),
        "600",
        "How long a session is trusted with risky calls after a fresh factor.",
    ),
    Setting(
        "USER_GRACE_DAYS",
        number(1, 365),
        "30",
        "How long a deleted account can be brought back until it is purged.",
    ),
    Setting(
        "WEBAUTHN_RP_ID",
        DOMAIN_OR_NOTHING,
        "",
        "Domain that passkeys are made for; when empty, the host of PUBLIC_URL. A change voids them.",
    ),
    Setting(
        "WEBAUTHN_ORIGINS",
        ORIGINS,
        "",
        "Origins of the pages that may use passkeys; when empty, PUBLIC_URL's, or this machine's.",
    ),
    Setting(
        "AUTO_ACTIVATE",
        BOOLEAN,
        "false",
        "Whether accounts are active before an address is verified.",
    ),
    Setting(
        "BCRYPT_COST", whole(4, 16), "12", "Cost of password hashes; one more doubles the time."
    ),
    Setting("HASH_WORKERS", whole(1, 256), "{cores}", "Threads that hash passwords."),
    Setting(
        "HASH_QUEUE", whole(0, 100000), "64", "Passwords that may wait for one; more are refused."
    ),
    Setting(
        "DEV_OIDC_PORT",
        PORT,
        "9400",
        "In development and without a client id of Google's, `make run` takes the OpenID provider on"
        " this port of this machine for Google; `make demo` starts one there.",
    ),
    Setting(
        "OAUTH_REDIRECT_URIS",
        WORDS,
        "",
        "Where providers may send users back to: whole addresses, compared character by character.",
    ),
    Setting(
        "OAUTH_TIMEOUT_SECONDS",
        seconds(0.05, 30),
        "10",
        "How long one request to a provider may take.",
    ),
    *_provider("GOOGLE", "Google", "https://accounts.google.com", "openid email profile"),
    _native_clients("GOOGLE"),
    *_provider("APPLE", "Apple", "https://appleid.apple.com", "openid"),
    _native_clients("APPLE"),
    *_provider("DISCORD", "Discord", "https://discord.com", "identify email"),
    *_provider("GITHUB", "GitHub", "https://github.com", "read:user user:email"),
    *_provider("FACEBOOK", "Facebook", "https://www.facebook.com", "public_profile email"),
    Setting(
        "SMTP_URL",
        url_or_nothing("smtp", "smtps"),
        "",
        "smtp://user:password@host:587?starttls=1; when empty, mails are files in MAIL_DIR.",
        secret=True,
    ),
    Setting("MAIL_FROM", TEXT, "Greenroom <no-reply@localhost>", "Sender of all mails."),
    Setting("MAIL_DIR", PATH, "{state_dir}/mail", "Where mails land without SMTP_URL."),
    Setting(
        "TWILIO_ACCOUNT_SID",
        TEXT,
        "",
        "Our account at Twilio; when empty, texts are files in MAIL_DIR, and production sends none.",
    ),
    Setting("TWILIO_AUTH_TOKEN", TEXT, "", "Its token.", secret=True),
    Setting(
        "TWILIO_VERIFY_SERVICE_SID",
        TEXT,
        "",
        "The Verify service that sends and checks codes; its codes must have 6 digits.",
    ),
    Setting(
        "TWILIO_BASE_URL",
        url("http", "https"),
        "https://verify.twilio.com",
        "Where Twilio Verify is asked.",
    ),
    Setting(
        "TWILIO_TIMEOUT_SECONDS",
        seconds(0.05, 30),
        "10",
        "How long one request to Twilio may take.",
    ),
    Setting(
        "LOG_LEVEL",
        choice("debug", "info", "warning", "error"),
        "info",
        "Least level that is logged.",
    ),
    Setting("LOG_FORMAT", choice("json", "text"), "json", "Form of the log lines."),
    Setting(
        "LOG_REQUESTS",
        choice("failed", "all", "never"),
        "failed",
        "Whose requests stand in their log line, without their secrets.",
    ),
)
"""In the order in which a reader would want them."""

"""Where the parts of the group listen, and where they are reached."""

from server.core.config import Settings

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "localhost": "127.0.0.1"}  # noqa: S104  (read, not bound)


def reachable_host(host: str) -> str:
    """Where to connect to a server that listens on ``host``: an address for "any" is loopback."""
    return _ANY.get(host, host)


def public_url(settings: Settings) -> str:
    """Where this machine reaches Envoy's listener."""
    host = reachable_host(settings.http_host)
    shown = "localhost" if host in ("127.0.0.1", "::1") else f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls_cert_file else 'http'}://{shown}:{settings.http_port}"

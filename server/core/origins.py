"""Origins of web pages (RFC 6454), and for which of them passkeys can be made."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"({_LABEL}\.)+{_LABEL}|localhost")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def checked_domain(text: str) -> str:
    """A domain that passkeys can be made for: in lower case, with a dot in it, and no address;
    ``localhost`` is one too. ``ValueError`` for anything else."""
    if not _DOMAIN.fullmatch(text) or len(text) > 253 or _is_address(text):
        raise ValueError(text)
    return text


def checked_origin(text: str) -> str:
    """An origin exactly as browsers write it, with https, or with http on localhost;
    ``ValueError`` for anything else."""
    parts = urlsplit(text)
    host = checked_domain(parts.hostname or "")
    if text != _written(parts.scheme, host, parts.port):
        raise ValueError(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_local(host)):
        raise ValueError(text)
    return text


def belongs_to(origin: str, domain: str) -> bool:
    """Whether a page of this origin can use passkeys of the domain: it is its own or a
    subdomain's."""
    host = urlsplit(origin).hostname or ""
    return host == domain or host.endswith(f".{domain}")


def passkey_site(
    domain: str, origins: tuple[str, ...], *, public_url: str, port: int
) -> tuple[str, tuple[str, ...]]:
    """For which domain passkeys are made and from which pages they are used, where what is empty
    follows from ``public_url``. An address or a lone name has no passkeys in any browser, so such
    a server has them on ``localhost``, at its own ``port``."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    if not domain:
        try:
            domain = checked_domain(host)
        except ValueError:
            domain = "localhost"
    if not origins:
        public = _written(parts.scheme, host, parts.port)
        local = _written("http", "localhost", port)
        own = (public, local) if domain == "localhost" else (public,)
        origins = tuple(dict.fromkeys(origin for origin in own if belongs_to(origin, domain)))
    return domain, origins


def _written(scheme: str, host: str, port: int | None) -> str:
    shown = "" if port in (None, _DEFAULT_PORTS.get(scheme)) else f":{port}"
    return f"{scheme}://{host}{shown}"


def _is_local(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

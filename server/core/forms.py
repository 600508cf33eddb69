"""The forms that settings may have: how each is read, and how an error describes it."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from server.core import origins, rates


@dataclass(frozen=True, slots=True)
class Form:
    """``read`` makes a value of a text or raises ``ValueError``; ``accepted`` says of which."""

    accepted: str
    read: Callable[[str], Any]


def choice(*words: str) -> Form:
    """One of some words."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Form(" or ".join(words), read)


def whole(low: int, high: int) -> Form:
    """A whole number within bounds, both included."""

    def read(text: str) -> int:
        if not text.isascii() or not low <= (value := int(text)) <= high:
            raise ValueError(text)
        return value

    return Form(f"a whole number from {low} to {high}", read)


def number(low: float, high: float, unit: str = "a number") -> Form:
    """A number within bounds, both included."""

    def read(text: str) -> float:
        if not text.isascii() or not low <= (value := float(text)) <= high:
            raise ValueError(text)
        return value

    return Form(f"{unit} from {low:g} to {high:g}", read)


def seconds(low: float, high: float) -> Form:
    """A duration in seconds."""
    return number(low, high, "seconds")


def url(*schemes: str) -> Form:
    """An address with one of some schemes."""

    def read(text: str) -> str:
        if urlsplit(text).scheme not in schemes:
            raise ValueError(text)
        return text

    return Form(" or ".join(f"{scheme}://..." for scheme in schemes), read)


def url_or_nothing(*schemes: str) -> Form:
    """The same, or nothing at all."""
    form = url(*schemes)
    return Form(f"{form.accepted}, or nothing", lambda text: form.read(text) if text else "")


def _boolean(text: str) -> bool:
    word = text.lower()
    if word in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off"):
        return False
    raise ValueError(text)


def _database(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme in ("postgresql", "postgres"):
        return "postgresql" + text.removeprefix(parts.scheme)
    if parts.scheme != "sqlite" or parts.netloc or parts.query:
        raise ValueError(text)
    if parts.path in ("", "/") or ":memory:" in text:
        raise ValueError(text)
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _origins(text: str) -> tuple[str, ...]:
    return tuple(origins.checked_origin(word) for word in _words(text))


def _networks(text: str) -> tuple[str, ...]:
    return tuple(str(ip_network(word)) for word in _words(text))


def _file_or_nothing(text: str) -> str:
    if text and not Path(text).is_file():
        raise ValueError(text)
    return text


def _rate(text: str) -> str:
    rates.Rate.parse(text)
    return text


def _issuer(text: str) -> str:
    """Whoever answers at an issuer's address says who people are: it has to be the right one."""
    parts = urlsplit(text)
    host = parts.hostname or ""
    if not host or "@" in parts.netloc or parts.query or parts.fragment or parts.port == 0:
        raise ValueError(text)
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError(text)
    return text.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


TEXT = Form("a text", str)
PATH = Form("a path", Path)
FILE_OR_NOTHING = Form("the path of a file that exists, or nothing", _file_or_nothing)
PORT = whole(0, 65_535)
BOOLEAN = Form("true or false", _boolean)
WORDS = Form("words separated by commas", _words)
DOMAIN_OR_NOTHING = Form(
    "a domain in lower case such as example.com, or localhost, or nothing",
    lambda text: origins.checked_domain(text) if text else "",
)
ORIGINS = Form(
    "origins as browsers write them, such as https://example.com, separated by commas "
    "(http:// for localhost only)",
    _origins,
)
NETWORKS = Form("networks such as 10.0.0.0/8, separated by commas", _networks)
ISSUER = Form("https://..., or http://... of this machine", _issuer)
RATE = Form(rates.ACCEPTED, _rate)
DATABASE = Form(
    "sqlite:///folder/file.db (one slash more for an absolute path; a database in memory is not "
    "supported), or postgresql://user:password@host:5432/name",
    _database,
)

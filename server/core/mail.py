"""Mails: a port with two ways out, SMTP and files."""

import contextlib
import os
import re
import smtplib
import ssl
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from server.core.config import Settings

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to one address. The same ``message_id`` marks the same mail when it is sent again."""

    to: str
    subject: str
    text: str
    html: str | None
    message_id: str


class Mailer(Protocol):
    """Sends mails, or raises; called from a job, which tries again."""

    def send(self, mail: Mail) -> None:
        """Returns when the mail is in safe hands."""
        ...


def _message(mail: Mail, sender: str) -> EmailMessage:
    """The mail in the form of RFC 5322, to exactly one address; ``ValueError`` if it cannot be."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = _printable(mail.to)
    addresses = message["To"].addresses
    if len(addresses) != 1 or addresses[0].addr_spec != mail.to:
        raise ValueError("the recipient of a mail is not one plain address")
    message["Subject"] = _printable(mail.subject)
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{_printable(mail.message_id)}@greenroom>"
    message.set_content(mail.text)
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    return message


def _printable(text: str) -> str:
    """``text``, which becomes a header: Python's policy lets a line feed at its end through."""
    if any(unicodedata.category(character) in _NOT_IN_HEADERS for character in text):
        raise ValueError("a header of a mail must not hold control characters")
    return text


_NOT_IN_HEADERS = frozenset({"Cc", "Cs", "Zl", "Zp"})


class FileMailer:
    """Writes mails as ``.eml`` files, the newest last by name; for development."""

    def __init__(self, directory: Path, sender: str) -> None:
        self._directory = directory
        self._sender = sender

    def send(self, mail: Mail) -> None:
        """Writes the file, readable by its owner only, under its name only when it is whole."""
        content = _message(mail, self._sender).as_bytes()
        leave_file(self._directory, mail.to, mail.message_id, ".eml", content)


def leave_file(directory: Path, to: str, message_id: str, suffix: str, content: bytes) -> None:
    """Writes a message where a developer finds it, the newest last by name."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    recipient = re.sub(r"[^A-Za-z0-9@.+-]+", "_", to)[:80]
    mark = re.sub(r"[^A-Za-z0-9]+", "_", message_id[-8:])
    descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".mail.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).rename(directory / f"{moment}-{recipient}-{mark}{suffix}")
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class SmtpMailer:
    """Sends through a mail server: ``smtp://user:password@host:587?starttls=1`` or ``smtps://``."""

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "localhost"
        self._implicit_tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._implicit_tls else 25)
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._starttls = parse_qs(parts.query).get("starttls") == ["1"]
        self._sender = sender

    def send(self, mail: Mail) -> None:
        """Hands the mail to the server; ``smtplib.SMTPException`` or ``OSError`` when it cannot."""
        message = _message(mail, self._sender)
        with self._connected() as server:
            if self._starttls:
                server.starttls(context=ssl.create_default_context())
            if self._user:
                server.login(self._user, self._password)
            server.send_message(message, to_addrs=[mail.to])

    @contextlib.contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        server: smtplib.SMTP
        if self._implicit_tls:
            context = ssl.create_default_context()
            server = smtplib.SMTP_SSL(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)
        try:
            yield server
            # The mail is in safe hands: a server that takes leave badly must not get it again.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                server.quit()
        finally:
            server.close()


def open_mailer(settings: Settings) -> Mailer:
    """SMTP when SMTP_URL is set, files in MAIL_DIR otherwise."""
    if settings.smtp_url:
        return SmtpMailer(settings.smtp_url, settings.mail_from)
    return FileMailer(settings.mail_dir, settings.mail_from)

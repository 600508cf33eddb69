"""Both ways out for a mail: files, and a real SMTP server on the loopback."""

import email
import email.policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from server.core.mail import FileMailer, Mail, SmtpMailer
from tests.support.processes import free_port


def mail(to: str = "ada@example.com", subject: str = "Hello") -> Mail:
    return Mail(to=to, subject=subject, text="täxt", html="<p>täxt</p>", message_id="id-12345678")


@pytest.mark.parametrize("to", ["ada@example.com", "../../etc/x@example.com", "a+b/c@example.com"])
def test_a_file_for_its_owner_in_its_folder(tmp_path: Path, to: str) -> None:
    folder = tmp_path / "mail"
    FileMailer(folder, "us@example.com").send(mail(to))
    (path,) = folder.iterdir()
    assert path.suffix == ".eml"
    assert path.stat().st_mode & 0o077 == 0
    read = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = read.get_body(("plain",))  # type: ignore[attr-defined]
    assert body.get_content().strip() == "täxt"


@pytest.mark.parametrize("to", ["a b/c@example.com", "a@example.com, b@example.com", ""])
def test_a_mail_goes_to_one_plain_address(tmp_path: Path, to: str) -> None:
    with pytest.raises(ValueError, match="one plain address"):
        FileMailer(tmp_path, "us@example.com").send(mail(to))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["to", "subject"])
def test_no_header_is_smuggled_in(tmp_path: Path, field: str) -> None:
    with pytest.raises(ValueError, match=r"header|linefeed|newline"):
        FileMailer(tmp_path, "us@example.com").send(mail(**{field: "x@y.z\r\nBcc: all@y.z"}))
    assert list(tmp_path.glob("*.eml")) == []


def test_smtp() -> None:
    taken: list[Any] = []

    class Inbox:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
            taken.append(envelope)
            return "250 OK"

    port = free_port()
    controller = Controller(Inbox(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        SmtpMailer(f"smtp://127.0.0.1:{port}", "Us <us@example.com>").send(mail())
    finally:
        controller.stop()
    (envelope,) = taken
    assert envelope.rcpt_tos == ["ada@example.com"]
    assert envelope.mail_from == "us@example.com"
    assert b"Message-ID: <id-12345678@greenroom>" in envelope.content

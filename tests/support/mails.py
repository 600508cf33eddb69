"""Reads the mails that a development server leaves as files."""

import asyncio
import email
import email.policy
import re
import time
from email.message import EmailMessage
from pathlib import Path


def mails_in(directory: Path, to: str = "") -> list[EmailMessage]:
    """Every mail to an address (to anybody when empty), oldest first."""
    found: list[EmailMessage] = []
    # The name tells whose it is: to parse all that a long-lived server has sent, again and again, costs
    # more than the calls of most tests.
    named = re.sub(r"[^A-Za-z0-9@.+-]+", "_", to)[:80]
    for path in sorted(directory.glob("*.eml")):
        if to and f"-{named}-" not in path.name:
            continue
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        if not to or mail["To"] == to:
            found.append(mail)
    return found


async def token_for(directory: Path, to: str, count: int = 1) -> str:
    """The token in the newest mail to an address that has one, once there are ``count`` mails. Two that
    were enqueued at once may leave in either order."""
    end = time.monotonic() + 10
    while len(mails := mails_in(directory, to)) < count:
        assert time.monotonic() < end, f"no mail to {to} in {directory}"
        await asyncio.sleep(0.01)
    texts = [mail.get_body(("plain",)).get_content() for mail in reversed(mails)]  # type: ignore[union-attr]
    found = (re.search(r"^Token: (\S+)", text, re.MULTILINE) for text in texts)
    match = next((each for each in found if each), None)
    assert match, texts
    return match[1]

"""Texts as files beside the mails; for development."""

from pathlib import Path

from server.auth.mails import code_text
from server.auth.sms_port import CodeText
from server.core.mail import leave_file


class FileSms:
    """Writes each text as a ``.txt`` file, readable by its owner only."""

    holds_codes = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def check_ready(self) -> None:
        """Files can always be written."""

    def send(self, text: CodeText) -> str:
        """Writes the file: a line that says to whom, an empty one, and what is said."""
        said = code_text(text.language, text.code, text.minutes)
        content = f"To: {text.to}\n\n{said}\n".encode()
        leave_file(self._directory, text.to, text.message_id, ".txt", content)
        return ""

    async def check(self, verification_sid: str, code: str) -> bool:
        """Never right: no code is held here."""
        return False

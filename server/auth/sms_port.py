"""The port to whoever texts one-time codes, as the use cases of auth see it."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CodeText:
    """A code to be texted. ``code`` is empty where the provider makes the codes."""

    to: str
    language: str
    minutes: int
    message_id: str
    code: str = field(default="", repr=False)
    replaces: str = ""
    """``verification_sid`` of a code to the same number that this one makes void, if there is one."""


class SmsRefused(Exception):
    """The provider will not text this number; to try again is of no use. The text holds neither
    number nor code."""


class SmsFailed(Exception):
    """The provider did not answer as it should; to try again may help."""


class SmsSender(Protocol):
    """Texts codes, and checks them where they are its own."""

    @property
    def holds_codes(self) -> bool:
        """Whether the provider makes the codes and checks them."""
        ...

    def check_ready(self) -> None:
        """``OtpSenderUnavailable`` while the provider is known to be down."""
        ...

    def send(self, text: CodeText) -> str:
        """Returns when the text is in safe hands: by what the provider knows the code, or nothing.
        ``SmsRefused`` or ``SmsFailed`` when it is not. Called from a job, which tries again."""
        ...

    async def check(self, verification_sid: str, code: str) -> bool:
        """Whether a code of the provider's is right; a right one is used up.
        ``OtpSenderUnavailable`` when the provider does not say."""
        ...

"""What the wire needs of the auth module, which lies above it and implements these ports."""

from collections.abc import Callable
from typing import Protocol

from server.core.caller import Caller


class Authenticator(Protocol):
    """Turns the credentials of a call into a caller."""

    def authenticate_cached(self, token: str) -> Caller | None:
        """The caller of a token that was verified before and is still good; ``None`` otherwise."""

    async def authenticate(self, token: str) -> Caller:
        """Verifies a token against the keys and the session; raises ``CredentialsInvalid``."""

    def on_revoked(self, listener: Callable[[str], None]) -> None:
        """Calls ``listener(session_id)`` on the loop's thread when a session or its rights end."""

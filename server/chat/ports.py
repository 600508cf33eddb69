"""What chat needs of modules it does not import."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar

from server.core.caller import Caller
from server.core.unit import Unit

T = TypeVar("T")


class Directory(Protocol):
    """Knows who there is to talk to."""

    def active_users(self, unit: Unit, user_ids: Iterable[str]) -> set[str]:
        """Those of the given users who exist and whose accounts are active."""

    def last_online(self, unit: Unit, user_ids: Iterable[str]) -> Mapping[str, datetime]:
        """When those of the users were last there whose accounts are active and who ever were."""

    def note_last_online(self, unit: Unit, user_ids: Iterable[str], at: datetime) -> None:
        """The users were there at a time; an earlier one than is known changes nothing."""


class PresenceWishes(Protocol):
    """Knows who does not want to be seen."""

    def hides_presence(self, unit: Unit, user_ids: Iterable[str]) -> set[str]:
        """Those of the users who look offline to everybody."""


class NobodyHides:
    """For servers without profiles: all can be seen."""

    def hides_presence(self, unit: Unit, user_ids: Iterable[str]) -> set[str]:
        """Nobody."""
        return set()


class Blocks(Protocol):
    """Knows who does not want to hear from whom."""

    def between(self, unit: Unit, user_id: str, other_ids: Iterable[str]) -> set[str]:
        """Those of the others who have blocked the user, or whom the user has blocked."""


class NoBlocks:
    """For servers without profiles: nobody has blocked anybody."""

    def between(self, unit: Unit, user_id: str, other_ids: Iterable[str]) -> set[str]:
        """Nobody."""
        return set()


class Media(NamedTuple):
    """A media asset, as far as a message tells of it."""

    media_id: str
    type: str
    """``IMAGE``, ``VIDEO``, ``AUDIO`` or ``FILE``."""
    name: str
    content_type: str
    size: int


class MediaShelf(Protocol):
    """Knows which media assets can be sent."""

    def ready(self, unit: Unit, user_id: str, media_ids: Sequence[str]) -> Mapping[str, Media]:
        """Those of the assets that are ready and that the user may show to others, by id."""


class EmptyShelf:
    """For servers without media: no asset is ready."""

    def ready(self, unit: Unit, user_id: str, media_ids: Sequence[str]) -> Mapping[str, Media]:
        """None."""
        return {}


class Closing(Protocol):
    """Tells a stream that it has to end."""

    @property
    def reason(self) -> str | None:
        """``DRAINING``, ``SESSION_ENDED`` or ``MAX_DURATION``; ``None`` while it may go on."""

    def wait(self) -> Awaitable[str]:
        """Returns the reason once there is one."""


class StreamCall(Protocol):
    """What a stream needs of the call it serves."""

    @property
    def caller(self) -> Caller:
        """Whose stream it is."""

    @property
    def closing(self) -> Closing:
        """Tells when it has to end."""

    async def check_rate(self, rate_class: str) -> None:
        """Counts one command in a rate class; raises ``RateLimited``."""

    async def run(self, work: Callable[[Unit], T], *, write: bool = True) -> T:
        """Runs ``work`` in a unit of work of its own."""

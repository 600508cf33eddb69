"""What the composition root hands to every module."""

from dataclasses import dataclass

from server.core.bus import Bus
from server.core.clock import Clock
from server.core.config import Settings
from server.core.db import Database
from server.core.events import Events
from server.core.hashing import HashPool
from server.core.jobs import Jobs
from server.core.limits import Counters
from server.core.mail import Mailer
from server.core.pagination import Pages
from server.core.sealing import Keyring


@dataclass(frozen=True)
class Parts:
    """The shared machinery of one server process."""

    settings: Settings
    clock: Clock
    database: Database
    events: Events
    bus: Bus
    counters: Counters
    jobs: Jobs
    keyring: Keyring
    pages: Pages
    mailer: Mailer
    hash_pool: HashPool

    async def close(self) -> None:
        """Lets go of threads and connections; nothing may use them any more."""
        await self.counters.close()
        await self.bus.close()
        self.hash_pool.close()
        self.database.close()

"""Has a running server follow the folder of its signing keys: new keys count, revoked ones do not."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

from server.auth.keys import NoKeyInUse, SigningKey, SigningKeys, read_keys, revoked_kids
from server.core.config import SettingsError

logger = logging.getLogger(__name__)

KEYS_SECONDS = 5.0
"""How often the folder is looked at, so that a revoked key is refused everywhere within seconds."""

SOONEST_SECONDS = 1.0
"""How often tokens of unknown keys may cause a look of their own."""

_Stamp = tuple[tuple[str, int, int, int], ...]


class KeyWatch:
    """Follows one folder. Used on the loop's thread; files are read in another."""

    def __init__(self, folder: Path | None, keys: SigningKeys) -> None:
        """Without a folder there is nothing to follow."""
        self._folder = folder
        self._keys = keys
        self._stamp: _Stamp | None = None
        self._problem = ""
        self._looking: asyncio.Task[None] | None = None
        self._looked = -SOONEST_SECONDS
        self._listeners: list[Callable[[frozenset[str]], None]] = []

    def on_withdrawn(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Calls ``listener(kids)`` when keys are no longer there."""
        self._listeners.append(listener)

    async def look_soon(self) -> None:
        """A look for the sake of an unknown key: joins one that is under way, and is skipped less
        than a second after the last, so that forged tokens cannot keep the disk busy."""
        if self._looking is not None:
            await asyncio.shield(self._looking)
        elif time.monotonic() - self._looked >= SOONEST_SECONDS:
            await self.look()

    async def look(self) -> None:
        """Reads the folder if it has changed. What cannot be read changes nothing but for the keys
        that are said to be revoked; it is logged once."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(self._done)
        await asyncio.shield(self._looking)

    def _done(self, _task: "asyncio.Task[None]") -> None:
        self._looking = None
        self._looked = time.monotonic()

    async def _look(self) -> None:
        if self._folder is None:
            return
        stamp, found, problem = await asyncio.to_thread(self._read, self._folder)
        if found is not None:
            self._apply(found)
        if problem and problem != self._problem:
            logger.error("the signing keys cannot be read, the known ones stay: %s", problem)
        self._stamp, self._problem = stamp, problem

    def _apply(self, found: list[SigningKey]) -> None:
        try:
            gone = self._keys.replace(found)
        except NoKeyInUse:
            logger.critical("every signing key is gone; the last ones are kept: run `keys rotate`")
            return
        if gone:
            logger.warning("signing keys were withdrawn: %s", ", ".join(sorted(gone)))
            for listener in self._listeners:
                listener(gone)

    def _read(self, folder: Path) -> tuple[_Stamp | None, list[SigningKey] | None, str]:
        """The folder's state, its keys if that is a new one, and what is wrong with it. A folder that
        cannot be read has no state, so that it is read again."""
        try:
            stamp = _stamp_of(folder)
            if stamp == self._stamp:
                return stamp, None, ""
            return stamp, read_keys(folder), ""
        except (OSError, SettingsError) as problem:
            return None, self._without_revoked(folder), str(problem)

    def _without_revoked(self, folder: Path) -> list[SigningKey]:
        try:
            revoked = revoked_kids(folder)
        except OSError:
            revoked = frozenset()
        return [key for key in self._keys.all if key.kid not in revoked]


def _stamp_of(folder: Path) -> _Stamp:
    """Changes whenever a key's file does: each is written anew and put in place in one step."""
    found = []
    for path in folder.iterdir():
        if path.suffix == ".json":
            state = path.stat()
            found.append((path.name, state.st_ino, state.st_mtime_ns, state.st_mode))
    return tuple(sorted(found))

"""The PostgreSQL of `make run WORKERS=2`, to be ended and started again by tests that call gRPC.

Unlike :mod:`tests.support.postgres` it is started without a fork of this process: where we are root, it
leaves root by itself, and gRPC's threads do not survive a fork.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from server.core.config import load_settings
from server.edge.child import tethered
from server.edge.ground import NotReady
from server.edge.stores import Store, own_postgres
from tests.support.postgres import PostgresMissing, accepts
from tests.support.processes import ended, started

_START_SECONDS = 60.0


@dataclass
class OwnPostgres:
    """A server on one data folder and port; ``url`` is a database that it has."""

    url: str
    _store: Store
    _log: Path
    _server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self._server = started(
            tethered(self._store.program),
            self._log,
            lambda: accepts(self.url),
            seconds=_START_SECONDS,
            missing=PostgresMissing,
            env=dict(self._store.program.environment),
        )

    def stop(self, *, at_once: bool = False) -> None:
        """Ends it; ``at_once`` as a crash would, else breaking off sessions."""
        server, self._server = self._server, None
        ended(server, signal.SIGQUIT if at_once else signal.SIGINT, _START_SECONDS)


@contextmanager
def restartable_postgres(folder: Path) -> Iterator[OwnPostgres]:
    """Serves from a folder until the end of the block. Raises :class:`PostgresMissing`."""
    folder.mkdir(exist_ok=True)
    try:
        store = own_postgres(load_settings({"STATE_DIR": str(folder)}), 2)
    except NotReady as reason:
        raise PostgresMissing(str(reason)) from None
    # Our own database is made by the supervisor; that of every new server does as well here.
    url = urlunsplit(urlsplit(store.url)._replace(path="/postgres"))
    server = OwnPostgres(url, store, folder / "postgres.log")
    server.start()
    try:
        yield server
    finally:
        server.stop(at_once=True)

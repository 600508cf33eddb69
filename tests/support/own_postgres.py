"""The PostgreSQL of `make run WORKERS=2`, to be ended and started again by tests that call gRPC.

Unlike :mod:`tests.support.postgres` it is started without a fork of this process: where we are root, it
leaves root by itself, and gRPC's threads do not survive a fork.
"""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from server.core.config import load_settings
from server.edge.child import tethered
from server.edge.ground import NotReady
from server.edge.stores import Store, own_postgres
from tests.support.postgres import PostgresMissing

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
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                tethered(self._store.program),
                env=dict(self._store.program.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > until:
                self.stop()
                raise PostgresMissing(f"PostgreSQL did not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> None:
        """Ends it; ``at_once`` as a crash would, else breaking off sessions."""
        server, self._server = self._server, None
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            server.wait(_START_SECONDS)

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self.url, connect_timeout=1).close()
        except psycopg2.OperationalError:
            return False
        return True


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

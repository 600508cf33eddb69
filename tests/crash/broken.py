"""The server with one deliberate fault, to prove that the harness would see it: ``python -m
tests.crash.broken <fault> serve``. Nothing of this is reachable from the product."""

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any


def early() -> None:
    """Replies leave before their commit: the last ones are lost with the process."""
    from server.chat.lane import Lane

    def answer(self: Any, group: Any) -> None:
        writer = self._write.__self__
        with self._writer_lock:
            cursor = self._connections.get().cursor()
            cursor.execute(writer._sql.begin or "SELECT 1")
            outcomes = writer._apply(cursor, [command for command, _future in group])
            self._loop.call_soon_threadsafe(self._settle, group, outcomes)
            time.sleep(0.05)
            cursor.execute("COMMIT")

    Lane._answer = answer  # type: ignore[method-assign]


def doubles() -> None:
    """Nobody looks whether a client id was used, and nothing in the database forbids it."""
    from server.chat import sending
    from server.core.config import settings_from_environment
    from server.core.schema import _connected

    with _connected(settings_from_environment().database_url) as database:
        _forget_uniqueness(database)
    take, write = sending._Batch.take, sending.BatchWriter.write

    def careless(self: Any, command: Any, is_member: bool, stored: Sequence[Any]) -> Any:
        return take(self, command, is_member, (None,) * len(stored))

    def slow(self: Any, connection: Any, commands: Sequence[Any]) -> Any:
        outcomes = write(self, connection, commands)
        time.sleep(0.05)  # So that a kill often hits between the commit and the reply.
        return outcomes

    sending._Batch.take = careless  # type: ignore[method-assign]
    sending.BatchWriter.write = slow  # type: ignore[method-assign]


def _forget_uniqueness(database: Any) -> None:
    if type(database).__name__.startswith("Sqlite"):
        table = database.execute_sql(
            "SELECT sql FROM sqlite_master WHERE name = 'chat_messages'"
        ).fetchone()[0]
        loose = table.replace("UNIQUE (sender_id, client_id)", "CHECK (1)")
        if loose == table:
            return  # It was done before the last kill.
        database.execute_sql("ALTER TABLE chat_messages RENAME TO strict_messages")
        database.execute_sql(loose)
        database.execute_sql("INSERT INTO chat_messages SELECT * FROM strict_messages")
        database.execute_sql("DROP TABLE strict_messages")
    else:
        database.execute_sql(
            "ALTER TABLE chat_messages DROP CONSTRAINT IF EXISTS "
            "chat_messages_sender_id_client_id_key"
        )


def forgetful() -> None:
    """A stream that comes back starts live, whatever position it asks for."""
    from server.chat import rules

    def start(_wish: Any, _resumed: Any, standing: Any) -> Any:
        return rules.Start(standing, standing.last_seq, standing.last_change)

    rules._start = start


def deaf() -> None:
    """What another process stores is not heard of over the bus, and nobody looks for it."""
    from server.chat.hub import Hub
    from server.chat.relay import Relay

    async def check(_self: Any) -> None:
        return

    def on_bus(_self: Any, _payload: bytes) -> None:
        return

    Relay._on_bus = on_bus  # type: ignore[method-assign]
    Hub.check_all = check  # type: ignore[method-assign]


def silent() -> None:
    """A server that goes says nothing to its streams."""
    from server.wire.streams import StreamRegistry

    async def drain(_self: Any, _seconds: float) -> bool:
        return True

    StreamRegistry.drain = drain  # type: ignore[method-assign]


def hasty() -> None:
    """A server that goes does not say so first, and takes no call from that moment on."""
    from grpc_health.v1.health import aio as health

    from server.wire.server import WireServer

    async def graceful(_self: Any) -> None:
        return

    async def drain(self: Any, _seconds: float) -> None:
        await self._server.stop(0)

    health.HealthServicer.enter_graceful_shutdown = graceful
    WireServer.drain = drain  # type: ignore[method-assign]


def patient() -> None:
    """Nobody looks for readers that stall."""
    from server.wire.streams import StreamRegistry

    def look(_self: Any) -> None:
        return

    StreamRegistry._look = look  # type: ignore[method-assign]


def unsynced() -> None:
    """SQLite does not wait for the disk: a power cut would lose what was acknowledged."""
    from server.core import engine

    def dedicated(self: Any) -> Any:
        @contextlib.contextmanager
        def opened() -> Any:
            with original(self) as connection:
                connection.execute("PRAGMA synchronous=NORMAL")
                yield connection

        return opened()

    original = engine.SqliteEngine.dedicated
    engine.SqliteEngine.dedicated = dedicated  # type: ignore[method-assign]


FAULTS = {
    "early": early,
    "doubles": doubles,
    "forgetful": forgetful,
    "deaf": deaf,
    "silent": silent,
    "hasty": hasty,
    "patient": patient,
    "unsynced": unsynced,
}


if __name__ == "__main__":
    FAULTS[sys.argv[1]]()
    from server.__main__ import main

    sys.exit(main(sys.argv[2:]))

"""The chat's rows on a real database, without a server around them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.auth.models import User
from server.chat.convert import messages, streams
from server.chat.history import HistoryReader
from server.chat.models import Channel, Member
from server.chat.rules import direct_key
from server.chat.sending import BatchWriter, Outcome, SendCommand, Sent
from server.chat.statements import statements_for
from server.core.clock import ManualClock
from server.core.config import load_settings
from server.core.db import Database
from server.core.fields import microseconds
from server.core.ids import new_id
from server.core.unit import Unit


class Store:
    """An open database, two people in some channels, and as many writers as a test wants."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = ManualClock()
        self.statements = statements_for(database.kind)
        self.writer = BatchWriter(
            self.statements,
            encode=messages.message_to_bytes,
            new_id=new_id,
            now=lambda: microseconds(self.clock.now()),
        )
        self.history = HistoryReader(
            database,
            self.statements,
            encode_message=messages.message_to_bytes,
            encode_page=messages.page_to_bytes,
            events=streams.EVENTS,
        )
        self.ann, self.bob = new_id(), new_id()

    async def people(self) -> None:
        """Ann and Bob have accounts."""

        def work(_unit: Unit) -> None:
            for user_id in (self.ann, self.bob):
                _add_user(user_id)

        await self.database.run(work, write=True)

    async def channel(self, other: str = "") -> str:
        """A channel of Ann and somebody, Bob or somebody new."""

        def work(unit: Unit) -> str:
            user_id = other or new_id()
            if not other:
                _add_user(user_id)
            channel = Channel.create(type="DIRECT", direct_key=direct_key(self.ann, user_id))
            for member in (self.ann, user_id):
                Member.insert(
                    channel_id=channel.id,
                    user_id=member,
                    create_time=unit.now,
                    update_time=unit.now,
                ).execute()
            return channel.id

        return await self.database.run(work, write=True)

    def write(self, *commands: SendCommand) -> list[Outcome]:
        """One group, on a connection of its own; in whichever thread this is called."""
        with self.database.dedicated() as connection, self.database.writer_lock:
            return self.writer.write(connection, commands)

    def send(self, channel_id: str, text: str = "hello", client_id: str = "") -> SendCommand:
        """Ann's command."""
        return SendCommand(channel_id, self.ann, client_id or new_id(), text)


def _add_user(user_id: str) -> None:
    User.create(id=user_id, email=f"{user_id}@example.com", status="ACTIVE")


@contextmanager
def store_on(url: str, state_dir: Path) -> Iterator[Store]:
    """Opens a migrated database until the block is left."""
    settings = load_settings({"DATABASE_URL": url, "STATE_DIR": str(state_dir)})
    database = Database.open(settings, ManualClock())
    try:
        yield Store(database)
    finally:
        database.close()


class Writers:
    """Threads that write at the same time, as several processes would."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: object) -> None:
        """Runs ``work`` in a thread of its own."""

        def run() -> None:
            try:
                work()  # type: ignore[operator]
            except BaseException as error:
                self.errors.append(error)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def join(self) -> None:
        """Waits for all; raises what one of them has met."""
        for thread in self._threads:
            thread.join(30)
        for error in self.errors:
            raise error


def sent(outcome: Outcome) -> Sent:
    """An outcome that is a stored message."""
    assert isinstance(outcome, Sent), outcome
    return outcome

from collections.abc import AsyncIterator

import pytest

from server.core.config import load_settings
from tests.support.wire import ProbeServer, serve_probe


@pytest.fixture
async def probe(database_url: str) -> AsyncIterator[ProbeServer]:
    """The probe service on a database of its own, on SQLite and on PostgreSQL."""
    async with serve_probe(load_settings({"DATABASE_URL": database_url})) as running:
        yield running

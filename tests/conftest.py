"""Fixtures of all tests: databases, and the real server on them."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from server.core.config import hand_on, load_settings
from tests.support.databases import database_kind, database_url, empty_database_url

# Before anything imports gRPC: it does in the tests what it does in a server.
hand_on(load_settings({}))

__all__ = ["database_kind", "database_url", "empty_database_url"]

_WAITING = ("crash", "e2e")
"""Folders whose tests wait for other processes most of the time."""

_LONG = 10
"""How much longer a test of the folder rpc takes than one of unit or contract."""


def pytest_collection_finish() -> None:
    """What has been imported and collected stays, so it need not be looked at for garbage again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spreads the files that wait among those that compute, so that the cores have work all the time."""
    here = Path(__file__).parent
    folders = {item.path: item.path.relative_to(here).parts[0] for item in items}
    tests = Counter(item.path for item in items)
    totals: Counter[bool] = Counter()
    begins = {}
    for file, folder in folders.items():
        waits = folder in _WAITING
        begins[file] = totals[waits]
        totals[waits] += 1 if waits else tests[file] * (_LONG if folder == "rpc" else 1)
    items.sort(key=lambda item: begins[item.path] / totals[folders[item.path] in _WAITING])


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that a server runs on, which is also the quicker one."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve(database_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts the server with settings of the test's choice: ``server = await serve(limited=True)``."""
    from tests.support.serve import Greenroom, serving

    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Greenroom:
            return await stack.enter_async_context(serving(database_url, tmp_path, **options))

        yield start


@pytest.fixture
async def server(serve: Callable[..., Any]) -> Any:
    """The server with the settings of most tests."""
    return await serve()

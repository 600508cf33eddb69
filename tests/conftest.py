"""Fixtures of all tests: databases, and the real server on them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import database_kind, database_url, empty_database_url

__all__ = ["database_kind", "database_url", "empty_database_url"]


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

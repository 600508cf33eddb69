"""One running group for all tests that leave it as they found it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.site import Site, running


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`python -m server up` on free ports; ended by Ctrl-C, and then nothing of it is left."""
    folder: Path = tmp_path_factory.mktemp("site")
    with running(folder, drain_seconds=5) as started:
        yield started
        assert started.stop() == 0, started.output


@pytest.fixture
def rest(site: Site) -> Iterator[httpx.Client]:
    """REST as anybody."""
    with httpx.Client(base_url=site.url, timeout=20) as client:
        yield client

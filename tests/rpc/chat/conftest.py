"""Two people who talk."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.rpc.chat.groups import Group, group_on
from tests.rpc.chat.scenes import Room, direct
from tests.support.serve import Greenroom


@pytest.fixture
async def make_room(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Starts a server with settings of the test's choice, and two people on it."""

    async def make(**settings: Any) -> Room:
        server: Greenroom = await serve(**settings)
        ann, bob = await server.person("Ann"), await server.person("Bob")
        return Room(server, ann, bob, await direct(server, ann, bob.id))

    return make


@pytest.fixture
async def room(make_room: Callable[..., Any]) -> Room:
    """Two people on a server with the settings of most tests."""
    made: Room = await make_room()
    return made


@pytest.fixture
async def patient_room(make_room: Callable[..., Any]) -> Room:
    """Two people on a server whose calls wait for their turn, however many come at once and however
    busy the machine is."""
    made: Room = await make_room(database_wait_seconds=60)
    return made


@pytest.fixture
async def group(server: Greenroom) -> Group:
    """Three people in a group, and one who is not."""
    return await group_on(server)

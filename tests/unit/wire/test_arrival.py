"""What comes with a call is read from that call, whatever another one has left behind."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from server.wire.arrival import ArrivalReader


def _context(token: str) -> Any:
    return SimpleNamespace(
        peer=lambda: "ipv4:127.0.0.1:5",
        invocation_metadata=lambda: (("authorization", f"Bearer {token}"),),
    )


@pytest.mark.parametrize("found_for", ["this task", "another task", "no task"])
async def test_a_call_gets_no_token_of_another(found_for: str) -> None:
    reader, this = ArrivalReader([]), asyncio.current_task()
    other = asyncio.create_task(asyncio.sleep(0))
    metadata = (("authorization", "Bearer found"),)
    reader.found = (
        {"this task": this, "another task": other, "no task": None}[found_for],
        metadata,
    )
    call: Any = SimpleNamespace(request_id="")
    for_itself = "found" if found_for == "this task" else "asked"
    assert reader.read(call, _context("asked"), this) == for_itself
    assert call.address == "127.0.0.1"
    # What was found is good for one call.
    assert reader.read(call, _context("later"), this) == "later"
    await other


async def test_a_call_outside_of_any_task_is_read_from_its_context() -> None:
    reader = ArrivalReader([])
    reader.found = (None, (("authorization", "Bearer found"),))
    call: Any = SimpleNamespace(request_id="")
    assert reader.read(call, _context("asked"), None) == "asked"

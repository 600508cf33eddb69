"""No reply leaves before its data is on disk: the order of the system calls says so (SQLite).

kill -9 cannot show this, because the system's page cache survives the process.
"""

import asyncio
import contextlib
import re
import shutil
import tempfile
from pathlib import Path

import pytest

import greenroom_client
from greenroom.auth.v1 import auth_service_pb2 as auth_pb
from greenroom.chat.v1 import channel_service_pb2 as channel_pb
from greenroom.chat.v1 import message_service_pb2 as message_pb
from tests.crash.playing import Run
from tests.crash.target import Server, Target, database

SENDS = 40
REPLY_BYTES = 180
"""A reply of SendMessage is larger than this; window updates and pings are smaller."""

_WRITE = re.compile(r"(?:pwrite64|write)\(\d+<[^>]*-wal>")
_SYNC = re.compile(r"(?:fdatasync|fsync)\(\d+<[^>]*-wal>")
_SENT = re.compile(r"sendmsg\(\d+<(?:TCP|socket)[^>]*>.*= (\d+)$")
_RESUMED = re.compile(r"<\.\.\. (fdatasync|fsync|pwrite64|sendmsg) resumed>.*= (-?\d+)$")


def early_replies(trace: str) -> tuple[int, int]:
    """Replies seen, and how many of them left while written data was not yet synced."""
    dirty, replies, early = False, 0, 0
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[thread] = call
            if _WRITE.match(call):
                dirty = True
            continue
        resumed = _RESUMED.match(call)
        if resumed:
            call = begun.pop(thread, "") + " = " + resumed[2]
        if _WRITE.match(call):
            dirty = True
        elif _SYNC.match(call):
            dirty = False
        elif (sent := _SENT.match(call)) and int(sent[1]) > REPLY_BYTES:
            replies += 1
            early += dirty
    return replies, early


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", ["", "unsynced"])
async def test_reply_after_sync(fault: str) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip(reason="strace is not installed")
    with database("sqlite") as url, tempfile.TemporaryDirectory() as scratch:
        server = Server(Path(scratch), url, fault)
        playing = Run(Target([server], server.address), seed=1)
        trace = Path(scratch, "trace")
        await server.start()
        try:
            async with contextlib.AsyncExitStack() as stack:
                ada = await playing.join(stack, "ada")
                ben = await playing.join(stack, "ben")
                await _traced(strace, server, trace, ada, ben)
        finally:
            server.kill()
        replies, early = early_replies(trace.read_text())
    assert replies >= SENDS
    assert (early > SENDS // 2) if fault else (early == 0)


async def _traced(
    strace: str,
    server: Server,
    trace: Path,
    ada: greenroom_client.Client,
    ben: greenroom_client.Client,
) -> None:
    me = await ben.auth.GetMe(auth_pb.GetMeRequest())
    opened = await ada.channels.GetDirectChannel(
        channel_pb.GetDirectChannelRequest(user_id=me.user.id)
    )
    calls = "trace=pwrite64,write,fdatasync,fsync,sendmsg"
    tracer = await asyncio.create_subprocess_exec(
        *(strace, "-f", "-y", "-e", calls, "-o", str(trace), "-p", str(server.pid)),
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    said = await asyncio.wait_for(tracer.stderr.readline(), 10)
    if b"attached" not in said:
        pytest.skip(reason=f"strace may not attach here: {said.decode().strip()}")
    for number in range(SENDS):
        await ada.messages.SendMessage(
            message_pb.SendMessageRequest(
                channel_id=opened.channel.id, client_id=f"s{number}", text="x" * 100
            )
        )
    tracer.terminate()
    await tracer.wait()

"""Where the databases of tests lie."""

import os
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 8 << 30
"""Bytes that must be free in memory: each process of the suite fills about one gigabyte at most."""


def database_folder(prefix: str, *, on_disk: bool = False) -> Path:
    """A new folder: in memory where TEST_IN_MEMORY=1 asks for it and there is room. Databases do there
    what they do on a disk, whose every commit the tests would wait for: less of a matter where the cores
    are busy anyway. That commits are synced is seen by what a server asks the kernel for (tests/crash)."""
    asked = os.environ.get("TEST_IN_MEMORY") == "1" and not on_disk
    where = _MEMORY if asked and _is_roomy() else None
    return Path(tempfile.mkdtemp(prefix=prefix, dir=where))


def _is_roomy() -> bool:
    try:
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = shutil.disk_usage(_MEMORY).free
    except (OSError, ValueError):
        return False
    return os.access(_MEMORY, os.W_OK) and min(available, free) > _ROOM

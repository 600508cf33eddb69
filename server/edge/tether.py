"""Runs a program that the kernel kills when the process that started it dies.

``python -I -S tether.py <pid of the starter> <program> <argument>...``: asks for the signal, then
becomes the program. Linux only; elsewhere it just becomes the program. It imports nothing of ours,
so that it costs a few milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(starter: int, command: list[str]) -> None:
    """Never returns; exits with 127 when the program cannot be run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != starter:
            os._exit(1)  # it died before the kernel was asked
    try:
        os.execv(command[0], command)  # noqa: S606  (becomes the program: no shell is wanted)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

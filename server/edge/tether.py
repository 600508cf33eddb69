"""Runs a program that the kernel kills when the process that started it dies.

``python -I -S tether.py <pid of the starter> [--not-root] <program> <argument>...``: asks for the
signal, then becomes the program. Linux only; elsewhere it just becomes the program. It imports
nothing of ours, so that it costs a few milliseconds.

With ``--not-root`` the program runs as somebody else where we are root: PostgreSQL refuses root. It
gets a user namespace of its own in which our id has another number. So it reads and owns the same
files, without changed owners or opened folders, and has none of root's rights over the rest.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOT_ROOT = "--not-root"
_ANY_BUT_ROOT = 1000


def main(starter: int, command: list[str]) -> None:
    """Never returns; exits with 127 when the program cannot be run."""
    if command[0] == NOT_ROOT:
        command = command[1:]
        if os.geteuid() == 0:
            _leave_root()
    if sys.platform == "linux":
        # Last: a change of user would take it back.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != starter:
            os._exit(1)  # it died before the kernel was asked
    try:
        os.execv(command[0], command)  # noqa: S606  (becomes the program: no shell is wanted)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def _leave_root() -> None:
    refused = f"{sys.platform} has no user namespaces"
    if sys.platform == "linux":
        group = os.getegid()  # while it still has a number
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWUSER) == 0:
            for name, line in (
                ("uid_map", f"{_ANY_BUT_ROOT} 0 1"),
                ("setgroups", "deny"),
                ("gid_map", f"{_ANY_BUT_ROOT} {group} 1"),
            ):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(line)
            return
        refused = f"unshare: {os.strerror(ctypes.get_errno())}"
    sys.exit(
        f"PostgreSQL does not run as root, and here root cannot be somebody else ({refused}): run as "
        "another user, or set DATABASE_URL."
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])

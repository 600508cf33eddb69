"""Which of gRPC's own machinery carries the bytes. Imports nothing of gRPC: it is chosen before."""

import os

VARIABLE = "GRPC_EXPERIMENTS"
CHOSEN = "-event_engine_listener"
"""Without it threads of gRPC's event engine read the sockets and hand every event on to the thread that
the loop is woken by; the pollers of before read them on that thread itself. A unary call costs a fifth
less CPU for it, streams the same. Where a release of gRPC does not know the name it says so on stderr and
goes on."""


def choose_transport() -> None:
    """Sets the choice for this process, unless its environment makes one."""
    os.environ.setdefault(VARIABLE, CHOSEN)

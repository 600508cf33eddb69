"""When a process that has fallen is started again."""

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0
STEADY_SECONDS = 10.0
"""Whoever has lived this long fell by chance: it starts again at once."""


class Restarts:
    """Pauses that double, for each process by itself, while it falls soon after its start."""

    def __init__(self) -> None:
        self._falls: dict[str, int] = {}

    def pause(self, name: str, lived: float) -> float:
        """Seconds to wait before a process is started that has ``lived`` for so many."""
        falls = self._falls[name] = 0 if lived >= STEADY_SECONDS else self._falls.get(name, -1) + 1
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(falls, 30))

"""What was tried, what was promised, what was found: Jepsen's sets for a chat, and what they must be."""

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

BACK_SECONDS = 3.0
"""99 of 100 readers are live again this soon after their server serves."""


class Journal:
    """Everything that happened, in its order: one JSON object a line, written as it happens."""

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._began = time.monotonic()

    def note(self, did: str, **what: object) -> None:
        """Adds a line; ``at`` is in seconds since the beginning."""
        if self._file is not None:
            at = round(time.monotonic() - self._began, 4)
            self._file.write(json.dumps({"at": at, "did": did, **what}) + "\n")


@contextmanager
def journal_in(path: Path | None) -> Iterator[Journal]:
    """A journal in a file that is packed by gzip, or one that forgets."""
    if path is None:
        yield Journal()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wt", compresslevel=1) as file:
            yield Journal(file)


@dataclass
class History:
    """What the clients of one run saw. Messages are named by their client ids."""

    attempted: dict[str, list[str]] = field(default_factory=dict)
    """By sender, in the order of their sending."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Number in the channel, as promised."""
    stored: list[tuple[int, str]] = field(default_factory=list)
    """Number and name of every message in the database, in its order."""
    listed: list[tuple[int, str]] = field(default_factory=list)
    """The same, as ListMessages tells it."""
    read: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """By reader, in the order of arrival."""
    gaps: Counter[str] = field(default_factory=Counter)
    """Gaps that readers were told of; history is never deleted here, so there is none."""
    refused: list[str] = field(default_factory=list)
    """Readers that the server would not have back, and those that did not come."""
    back_seconds: list[float] = field(default_factory=list)
    """How long each reader that was cut off took to be live again: from when its only server served
    again, or from the kill when there was another one."""
    incidents: Counter[str] = field(default_factory=Counter)
    """How often each nemesis struck."""

    @property
    def lost(self) -> list[str]:
        """Acknowledged and not there."""
        return sorted(set(self.acknowledged) - self._names)

    @property
    def unexpected(self) -> list[str]:
        """There and never attempted."""
        tried = {name for sent in self.attempted.values() for name in sent}
        return sorted(self._names - tried)

    @property
    def doubled(self) -> list[str]:
        """There more than once."""
        counts = Counter(name for _seq, name in self.stored)
        return sorted(name for name, count in counts.items() if count > 1)

    @property
    def recovered(self) -> list[str]:
        """There though nobody was told so: the reply was lost with the server."""
        return sorted(self._names - set(self.acknowledged))

    @property
    def back_p99_seconds(self) -> float:
        """The 99th of 100 returns, from the quickest to the slowest."""
        back = sorted(self.back_seconds)
        return back[int(len(back) * 0.99)] if back else 0.0

    def problems(self) -> list[str]:
        """Every promise that was broken; empty when all were kept."""
        found = [f"lost: {name}, acknowledged as {self.acknowledged[name]}" for name in self.lost]
        found += [f"unexpected: {name}" for name in self.unexpected]
        found += [f"doubled: {name}" for name in self.doubled]
        found += self._order_problems()
        found += self.refused
        found += [f"gap: {reader} was told of {count}" for reader, count in self.gaps.items()]
        found += self._reader_problems()
        if self.back_p99_seconds > BACK_SECONDS:
            found.append(f"late: readers were back within {self.back_p99_seconds:.1f} s (p99)")
        return found

    @property
    def _names(self) -> set[str]:
        return {name for _seq, name in self.stored}

    def _order_problems(self) -> list[str]:
        found = []
        place = {name: seq for seq, name in self.stored}
        for name, seq in self.acknowledged.items():
            if place.get(name, seq) != seq:
                found.append(f"moved: {name} was acknowledged as {seq} and is {place[name]}")
        numbers = [seq for seq, _name in self.stored]
        if numbers != list(range(1, len(numbers) + 1)):
            found.append("gap: the numbers of the channel are not 1, 2, 3, ...")
        if self.listed != self.stored:
            found.append("listed: ListMessages does not say what is stored")
        for sender, sent in self.attempted.items():
            order = [place[name] for name in sent if name in place]
            if order != sorted(order):
                found.append(f"order: the messages of {sender} are not in the order of sending")
        return found

    def _reader_problems(self) -> list[str]:
        found = []
        for reader, seen in self.read.items():
            if seen == self.stored:
                continue
            missing = len(set(self.stored) - set(seen))
            doubled = len(seen) - len(set(seen))
            found.append(
                f"reader {reader}: {missing} missing, {doubled} doubled, "
                f"in order: {seen == sorted(seen)}"
            )
        return found

    def summary(self) -> dict[str, float]:
        """The sizes of the sets, and the slowest returns."""
        return {
            "attempted": sum(len(sent) for sent in self.attempted.values()),
            "acknowledged": len(self.acknowledged),
            "stored": len(self.stored),
            "recovered": len(self.recovered),
            "lost": len(self.lost),
            "unexpected": len(self.unexpected),
            "doubled": len(self.doubled),
            "reads": sum(len(seen) for seen in self.read.values()),
            "returns": len(self.back_seconds),
            "back_p99_seconds": round(self.back_p99_seconds, 3),
            "back_max_seconds": round(max(self.back_seconds, default=0.0), 3),
        }

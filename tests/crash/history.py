"""What was tried, what was promised, what was found: Jepsen's sets for a chat, and what they must be."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class History:
    """Everything that the clients of one run saw. Messages are named by their client ids."""

    attempted: dict[str, list[str]] = field(default_factory=dict)
    """By sender, in the order of their sending."""
    acknowledged: dict[str, int] = field(default_factory=dict)
    """Number in the channel, as promised."""
    stored: list[tuple[int, str]] = field(default_factory=list)
    """Number and name of every message in the database, in its order."""
    read: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    """By reader, in the order of arrival."""
    refused: list[str] = field(default_factory=list)
    """Readers that the server would not have back."""
    back_seconds: list[float] = field(default_factory=list)
    """How long after the server served again each reader was live again."""

    def problems(self) -> list[str]:
        """Every promise that was broken; empty when all were kept."""
        return [*self._stored_problems(), *self.refused, *self._reader_problems()]

    def _stored_problems(self) -> list[str]:
        found = []
        names = [name for _seq, name in self.stored]
        attempted = {name for sent in self.attempted.values() for name in sent}
        place = {name: seq for seq, name in self.stored}
        for name, seq in self.acknowledged.items():
            if name not in place:
                found.append(f"lost: {name} was acknowledged as {seq}")
            elif place[name] != seq:
                found.append(f"moved: {name} was acknowledged as {seq} and is {place[name]}")
        found += [f"unexpected: {name}" for name in names if name not in attempted]
        found += [f"doubled: {name}" for name, count in Counter(names).items() if count > 1]
        numbers = [seq for seq, _name in self.stored]
        if numbers != list(range(1, len(numbers) + 1)):
            found.append("gap: the numbers of the channel are not 1, 2, 3, ...")
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
        """The sizes of the sets, and the slowest return."""
        attempted = sum(len(sent) for sent in self.attempted.values())
        stored = {name for _seq, name in self.stored}
        back = sorted(self.back_seconds)
        return {
            "attempted": attempted,
            "acknowledged": len(self.acknowledged),
            "stored": len(self.stored),
            "recovered": len(stored - set(self.acknowledged)),
            "reads": sum(len(seen) for seen in self.read.values()),
            "returns": len(back),
            "back_p99_seconds": round(back[int(len(back) * 0.99)], 3) if back else 0.0,
        }

    def write(self, path: Path) -> None:
        """Keeps the history, one JSON object a line."""
        with path.open("w") as file:
            for sender, names in self.attempted.items():
                for name in names:
                    line = {"attempted": name, "by": sender, "seq": self.acknowledged.get(name)}
                    file.write(json.dumps(line) + "\n")
            for seq, name in self.stored:
                file.write(json.dumps({"stored": name, "seq": seq}) + "\n")
            for reader, seen in self.read.items():
                for seq, name in seen:
                    file.write(json.dumps({"read": name, "by": reader, "seq": seq}) + "\n")

"""How often something may happen, as settings write it: ``30/10s:60``."""

import re
from dataclasses import dataclass, field
from typing import Self

_FORM = re.compile(r"(\d{1,9})/(\d{1,6}(?:\.\d{1,3})?)s(?::(\d{1,9}))?", re.ASCII)

ACCEPTED = "'<amount>/<seconds>s', with ':<burst>' after it if wanted (30/10s:60), or 'off'"
"""What a rate setting may look like, for the text of an error."""


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` events in every ``period`` seconds, ``burst`` of them at once."""

    amount: int
    period: float
    burst: int
    spacing: float = field(init=False, repr=False, compare=False)
    """Seconds between two events in the long run."""
    slack: float = field(init=False, repr=False, compare=False)
    """Seconds by which a burst runs ahead of that."""

    def __post_init__(self) -> None:
        spacing = self.period / self.amount
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "slack", self.burst * spacing)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Reads ``amount/period:burst``; the burst is the amount where it is left out.

        ``off`` is ``None``, no limit at all. Anything else raises ``ValueError``.
        """
        if text.strip().lower() == "off":
            return None
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"not a rate: {text!r}; accepted is {ACCEPTED}")
        amount, period = int(match[1]), float(match[2])
        burst = int(match[3]) if match[3] else amount
        if amount < 1 or period <= 0 or burst < 1:
            raise ValueError(f"not a rate: {text!r}; amount, seconds and burst must be above zero")
        return cls(amount, period, burst)

    @property
    def per_second(self) -> float:
        """Events that may happen in a second, in the long run."""
        return self.amount / self.period

    def __str__(self) -> str:
        return f"{self.amount}/{self.period:g}s:{self.burst}"

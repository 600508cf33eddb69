"""The figures of a run: a table for people, JSON lines for programs."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Runs = list[dict[str, Any]]


class Skipped(Exception):
    """A figure cannot be had here; the text says why."""


@dataclass(frozen=True)
class Goal:
    """What a figure has to reach."""

    column: str
    least: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        if self.least is not None:
            return f"{self.column} ≥ {self.least:g}"
        return f"{self.column} ≤ {self.most:g}"

    def met(self, value: float) -> bool:
        """Whether the value reaches it."""
        if self.least is not None:
            return value >= self.least
        assert self.most is not None
        return value <= self.most


def _load() -> float:
    return os.getloadavg()[0]


@dataclass
class Figure:
    """One measured thing; ``None`` where a column does not apply."""

    name: str
    db: str
    path: str
    per_second: float | None = None
    events_per_reply: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    seconds: float | None = None
    cpu_us_per_call: float | None = None
    client_cores: float | None = None
    """What the load generator took itself, where it says so."""
    bare_per_second: float | None = None
    ratio_to_bare: float | None = None
    peer: str | None = None
    peer_per_second: float | None = None
    peer_cpu_us_per_call: float | None = None
    peer_client_cores: float | None = None
    ratio_to_peer: float | None = None
    growth: float | None = None
    kib_per_stream: float | None = None
    goal: str | None = None
    met: bool | None = None
    note: str | None = None
    skipped: str | None = None
    failed: str | None = None
    runs: int = 1
    load: float = field(default_factory=_load)
    """Of the machine in the last minute, by the end of the measurement."""


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("name", "figure", "{}"),
    ("db", "db", "{}"),
    ("path", "path", "{}"),
    ("per_second", "per second", "{:,.0f}"),
    ("events_per_reply", "events/reply", "{:.1f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("seconds", "seconds", "{:.2f}"),
    ("cpu_us_per_call", "server µs CPU", "{:.1f}"),
    ("client_cores", "client cores", "{:.2f}"),
    ("bare_per_second", "bare", "{:,.0f}"),
    ("ratio_to_bare", "ratio", "{:.2f}"),
    ("peer", "peer", "{}"),
    ("peer_per_second", "peer's", "{:,.0f}"),
    ("peer_cpu_us_per_call", "its µs CPU", "{:.1f}"),
    ("peer_client_cores", "client cores", "{:.2f}"),
    ("ratio_to_peer", "ratio", "{:.2f}"),
    ("growth", "growth", "{:.2f}"),
    ("kib_per_stream", "KiB/stream", "{:.1f}"),
    ("goal", "goal", "{}"),
    ("met", "met", "{}"),
    ("load", "load", "{:.1f}"),
)
_LEFT = {"name", "db", "path", "peer", "goal", "met"}


def middle(runs: Runs) -> dict[str, float]:
    """The median of each number over several runs."""
    names = [name for name, value in runs[0].items() if isinstance(value, int | float)]
    return {name: median(float(run[name]) for run in runs) for name in names}


def figure(
    name: str, db: str, path: str, runs: Runs, goals: Mapping[str, Goal] | None = None, **more: str
) -> Figure:
    """The medians of some runs, held against the goal of this name if there is one."""
    values = middle(runs)
    known = {key: values[key] for key in Figure.__dataclass_fields__ if key in values}
    for own in ("runs", "load"):
        known.pop(own, None)
    made = Figure(name, db, path, runs=len(runs), **known, **more)  # type: ignore[arg-type]
    goal = (goals or {}).get(name)
    if goal is not None:
        made.goal, made.met = str(goal), goal.met(getattr(made, goal.column))
    return made


def _cell(form: str, value: Any) -> str:
    if value is None:
        return ""
    return ("yes" if value else "NO") if isinstance(value, bool) else form.format(value)


def line(made: Figure) -> str:
    """A figure in one line, as soon as it is there."""
    for word in ("skipped", "failed"):
        if (reason := getattr(made, word)) is not None:
            return f"{made.name} {made.db} {made.path}: {word}: {reason}"
    values = asdict(made)
    told = [
        f"{title} {_cell(form, values[name])}"
        for name, title, form in COLUMNS[3:]
        if values[name] is not None
    ]
    if made.note:
        told.append(made.note)
    return f"{made.name} {made.db} {made.path}: " + ", ".join(told)


def table(figures: list[Figure]) -> str:
    """The figures as an aligned table of the columns that at least one of them has."""
    measured = [asdict(made) for made in figures if made.skipped is None and made.failed is None]
    columns = [c for c in COLUMNS if any(values[c[0]] is not None for values in measured)]
    rows = [[title for _name, title, _form in columns]]
    rows += [[_cell(form, values[name]) for name, _, form in columns] for values in measured]
    widths = [max(len(row[column]) for row in rows) for column in range(len(columns))]
    pads: list[Callable[[str, int], str]] = [
        str.ljust if name in _LEFT else str.rjust for name, _, _ in columns
    ]
    return "\n".join(
        "  ".join(
            pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)
        ).rstrip()
        for row in rows
    )


def write_json(figures: list[Figure], path: Path) -> None:
    """One object a line, without the columns that do not apply."""
    with path.open("w") as file:
        for figure in figures:
            known = {name: value for name, value in asdict(figure).items() if value is not None}
            file.write(json.dumps(known) + "\n")

"""The figures of a run: a table for people, JSON lines for programs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any


@dataclass
class Figure:
    """One measured thing; ``None`` where a column does not apply."""

    name: str
    db: str
    path: str
    per_second: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us_per_call: float | None = None
    bare_per_second: float | None = None
    ratio_to_bare: float | None = None
    kib_per_stream: float | None = None
    runs: int = 1


COLUMNS = (
    ("name", "figure", "{}"),
    ("db", "db", "{}"),
    ("path", "path", "{}"),
    ("per_second", "per second", "{:,.0f}"),
    ("p50_ms", "p50 ms", "{:.2f}"),
    ("p99_ms", "p99 ms", "{:.2f}"),
    ("cpu_us_per_call", "server µs CPU", "{:.1f}"),
    ("bare_per_second", "bare", "{:,.0f}"),
    ("ratio_to_bare", "ratio", "{:.2f}"),
    ("kib_per_stream", "KiB/stream", "{:.1f}"),
)


def middle(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each number over several runs."""
    names = [name for name, value in runs[0].items() if isinstance(value, int | float)]
    return {name: median(float(run[name]) for run in runs) for name in names}


def table(figures: list[Figure]) -> str:
    """The figures as an aligned table."""
    rows = [[title for _name, title, _form in COLUMNS]]
    for figure in figures:
        values = asdict(figure)
        rows.append(
            [
                "" if values[name] is None else form.format(values[name])
                for name, _title, form in COLUMNS
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def write_json(figures: list[Figure], path: Path) -> None:
    """One object a line, without the columns that do not apply."""
    with path.open("w") as file:
        for figure in figures:
            known = {name: value for name, value in asdict(figure).items() if value is not None}
            file.write(json.dumps(known) + "\n")

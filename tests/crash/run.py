"""Kills servers again and again under chat load and holds them to their promises.

``python -m tests.crash.run --kills 100 --database sqlite``
``python -m tests.crash.run --servers 2 --nemesis kill,bus,postgres [--break early|doubles|...]``

kill -9 proves atomicity and recovery; it does not prove that anything reached the disk, because the
system's page cache survives the process. For that see ``test_sync_order.py``.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.crash.history import History, journal_in
from tests.crash.playing import Load, Run
from tests.crash.target import target

NEMESES = ("kill", "bus", "postgres")
FAULTS = ("early", "doubles", "forgetful", "deaf")


async def run(
    kind: str,
    kills: int,
    seed: int,
    fault: str = "",
    load: Load | None = None,
    keep: Path | None = None,
    *,
    servers: int = 1,
    nemeses: Sequence[str] = ("kill",),
) -> History:
    """One run on a database of its own; its history. ``keep`` takes the journal, and the servers'
    logs when a promise was broken or the run itself failed."""
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-crash-") as folder,
        target(Path(folder), kind, servers, fault, restarts_database="postgres" in nemeses) as made,
        journal_in(keep) as journal,
    ):
        journal.note("run", database=kind, kills=kills, seed=seed, fault=fault, servers=servers)
        playing = Run(made, seed, load, journal)
        kept = False
        try:
            await playing.play(kills, nemeses)
            for seq, name in playing.history.stored:
                journal.note("stored", name=name, seq=seq)
            kept = not playing.history.problems()
        finally:
            made.kill()
            if keep is not None and not kept:
                with keep.with_suffix(".log").open("wb") as log:
                    for server in made.servers:
                        with server.log.open("rb") as said:
                            shutil.copyfileobj(said, log)
        return playing.history


def _nemeses(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if "kill" not in names or not set(names) <= set(NEMESES):
        raise argparse.ArgumentTypeError(f"kill and any of {', '.join(NEMESES[1:])}")
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--servers", type=int, default=1, help="more than one: PostgreSQL, a bus")
    parser.add_argument("--nemesis", type=_nemeses, default=("kill",), help=",".join(NEMESES))
    parser.add_argument("--break", dest="fault", choices=FAULTS, default="")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--senders", type=int, default=50)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--per-second", type=float, default=200.0, help="messages of all senders")
    parser.add_argument("--history", type=Path, help="a .jsonl.gz; in build/crash/ by default")
    options = parser.parse_args()
    if options.servers > 1 or "postgres" in options.nemesis:
        options.database = "postgresql"
    if "bus" in options.nemesis and options.servers == 1:
        parser.error("--nemesis bus: one server has no bus; add --servers 2")
    return options


def main() -> int:
    """Runs, prints the figures, keeps the history; exit 1 when a promise was broken."""
    options = _options()
    name = "-".join(filter(None, [options.database, str(options.seed), options.fault]))
    keep = options.history or Path("build/crash", f"{name}.jsonl.gz")
    load = Load(options.senders, options.readers, options.per_second)
    print(f"seed {options.seed}, history in {keep}", flush=True)
    history = asyncio.run(
        run(
            options.database,
            options.kills,
            options.seed,
            options.fault,
            load,
            keep,
            servers=options.servers,
            nemeses=options.nemesis,
        )
    )
    problems = history.problems()
    figures: dict[str, Any] = {
        "database": options.database,
        "servers": options.servers,
        **history.incidents,
        "seed": options.seed,
        "senders": load.senders,
        "readers": load.readers,
        **history.summary(),
        "broken_promises": len(problems),
    }
    print(json.dumps(figures))
    for problem in problems[:20]:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

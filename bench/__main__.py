"""``make bench``: the figures of one server process beside a bare server and beside the peers,
measured in the same run.

Names of figures, ``--db`` and ``--path`` narrow it down, ``--runs`` and ``--seconds`` shorten it, and
BENCH_JSON=file writes JSON lines. Ratios and CPU per call hold from machine to machine; the rest does not.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench import bare_figures, growth_figures, live_figures, peer_figures
from bench.envoy import in_front_of
from bench.figures import Figure, Skipped, line, table, write_json
from bench.measuring import Options
from bench.processes import wait_until
from bench.system import GUESTS, System, database, served

SHARED = {**bare_figures.FIGURES, **live_figures.SHARED, **peer_figures.FIGURES}
"""Figures of a server that several of them share."""
DIRECT_ONLY = set(peer_figures.FIGURES)
OWN = {**live_figures.OWN, **growth_figures.OWN}
"""Figures of a server of their own."""
NAMES = [*SHARED, *OWN]


def main() -> None:
    """Measures what was asked for and prints it."""
    options = _options()
    figures: list[Figure] = []
    for db in options.db or ["sqlite", "postgresql"]:
        for made in _measured(db, options):
            figures.append(made)
            print(line(made), flush=True)
    print("\n" + table(figures))
    if out := os.environ.get("BENCH_JSON"):
        write_json(figures, Path(out))
    if any(made.failed for made in figures):
        sys.exit("Not every figure could be had.")


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="figure", help=", ".join(NAMES))
    parser.add_argument("--figure", action="append", default=[], choices=NAMES)
    parser.add_argument("--db", action="append", choices=["sqlite", "postgresql"])
    parser.add_argument("--path", action="append", choices=["direct", "envoy"])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    options.figure += options.figures
    if unknown := set(options.figure) - set(NAMES):
        parser.error(
            f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}"
        )
    options.figure = options.figure or NAMES
    options.path = options.path or ["direct", "envoy"]
    return options


def _measured(db: str, options: Options) -> Iterator[Figure]:
    shared = [name for name in options.figure if name in SHARED]
    if shared:
        yield from _shared(db, shared, options)
    for name in options.figure:
        if name in OWN and "direct" in options.path:
            yield from _told(name, db, "direct", partial(OWN[name], db, options))


def _shared(db: str, names: list[str], options: Options) -> Iterator[Figure]:
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(database(db))
        system = stack.enter_context(served(db, url, guests=GUESTS))
        if "envoy" in options.path:
            stack.enter_context(in_front_of(system))
        for path in options.path:
            target = system.target if path == "direct" else system.envoy
            for name in names:
                if path == "direct" or name not in DIRECT_ONLY:
                    measure = partial(SHARED[name], system, target, options)
                    yield from _told(name, db, path, measure)
                    wait_until(lambda: _quiet(system), 10, "the server to come to rest")


def _told(name: str, db: str, path: str, measure: Callable[[], list[Figure]]) -> list[Figure]:
    """The figures; what went wrong with one must not cost the others."""
    try:
        return measure()
    except Skipped as reason:
        return [Figure(name, db, path, skipped=str(reason))]
    except (RuntimeError, TimeoutError) as error:
        return [Figure(name, db, path, failed=str(error))]


def _quiet(system: System) -> bool:
    before = system.child.cpu_seconds()
    time.sleep(0.2)
    return system.child.cpu_seconds() - before < 0.05


if __name__ == "__main__":
    main()

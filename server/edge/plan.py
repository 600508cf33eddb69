"""What a group is made of: its servers, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from server.core.config import Settings, environment_for_child
from server.core.forms import whole
from server.edge.ground import NotReady, Ports

if TYPE_CHECKING:
    from server.edge.stores import Store

MOST_WORKERS = 64
_UNSAID = "unsaid"


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of the group, a pair of ports for each server, and the stores it runs itself."""

    settings: Settings
    servers: Sequence[Ports]
    stores: Sequence[Store] = ()

    @property
    def is_several(self) -> bool:
        """More than one server, so that one of them may fall."""
        return len(self.servers) > 1


def count_workers(text: str) -> int:
    """How many servers are wanted; ``NotReady`` when that is no number."""
    form = whole(1, MOST_WORKERS)
    try:
        count: int = form.read(text)
    except ValueError:
        raise NotReady(f"WORKERS: {text!r} cannot be used; accepted is {form.accepted}") from None
    return count


def make_plan(settings: Settings, servers: Sequence[Ports]) -> Plan:
    """Several servers share a database and a bus: those of the settings, else ones of the group's own.
    ``NotReady`` when a setting names what cannot be shared."""
    workers = len(servers)
    if workers == 1:
        return Plan(settings, servers)
    from server.edge.stores import own_postgres, own_valkey

    own_database, own_bus = settings.is_sqlite, settings.bus_url.startswith("memory:")
    if own_database and not _is_unsaid("DATABASE_URL"):
        raise NotReady(_unshared("DATABASE_URL", "SQLite", workers, "PostgreSQL"))
    if own_bus and not _is_unsaid("BUS_URL"):
        raise NotReady(_unshared("BUS_URL", "memory://", workers, "Valkey"))
    stores: list[Store] = []
    processes = workers + (settings.worker == "separate")
    settings = replace(settings, processes=max(settings.processes, processes))
    if own_database:
        stores.append(own_postgres(settings, workers))
        settings = replace(settings, database_url=stores[-1].url)
    if own_bus:
        stores.append(own_valkey(settings))
        settings = replace(settings, bus_url=stores[-1].url)
    return Plan(settings, servers, stores)


def _is_unsaid(name: str) -> bool:
    """True when neither the environment nor ``.env`` sets it: then a default comes through."""
    return environment_for_child(given={}, defaults={name: _UNSAID}).get(name) == _UNSAID


def _unshared(name: str, what: str, workers: int, instead: str) -> str:
    return (
        f"{name}: {what} serves one process. With WORKERS={workers} name what processes can share, or "
        f"leave it out: then {instead} is started beside the servers."
    )

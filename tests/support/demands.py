"""What each method demands of its callers, as it was decided (tests/rpc/demands.tsv) and not as the
protos say: a policy that is changed by mistake differs from it."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.principals import Principal

TABLE = Path(__file__).parents[1] / "rpc/demands.tsv"

SIGNED_IN = {"USER", "OWNER", "MEMBER", "GUILD_ADMIN"}
ROLES = {
    "CREATOR": {"creator"},
    "EDITOR": {"editor"},
    "BRAND": {"brand"},
    "STUDENT": {"student"},
    "TEACHER": {"teacher"},
    "AGENT": {"agent"},
    "ADMIN": {"admin", "super_admin"},
    "SUPER_ADMIN": {"super_admin"},
}

ADMITTED = "ADMITTED"
MISSING = "WIRE_ERROR_REASON_CREDENTIALS_MISSING"
VOID = "WIRE_ERROR_REASON_CREDENTIALS_INVALID"
DENIED = "WIRE_ERROR_REASON_ACCESS_DENIED"
STEP_UP = "WIRE_ERROR_REASON_STEP_UP_REQUIRED"


@dataclass(frozen=True)
class Demand:
    """A row of the table."""

    method: str
    access: frozenset[str]
    permission: str
    step_up: bool
    deleted_too: bool

    def answer_to(self, who: Principal) -> str:
        """How the door answers somebody: a reason, or that they are let in."""
        if "PUBLIC" in self.access:
            return ADMITTED
        if who.kind == "nobody":
            return MISSING
        if who.kind == "void" or (who.deleted and not self.deleted_too):
            return VOID
        if not self._kind_fits(who) or (self.permission and not self._permits(who)):
            return DENIED
        return STEP_UP if self.step_up and not who.fresh else ADMITTED

    def _kind_fits(self, who: Principal) -> bool:
        if who.kind == "service":
            return "SERVICE" in self.access
        roles = set().union(*(ROLES.get(name, set()) for name in self.access))
        return bool(self.access & SIGNED_IN) or bool(roles & who.roles)

    def _permits(self, who: Principal) -> bool:
        return self.permission in who.permissions


class _Demands(dict[str, Demand]):
    def __missing__(self, method: str) -> Demand:
        raise LookupError(f"add {method} to tests/rpc/{TABLE.name}: who may call it?")


@cache
def demands() -> dict[str, Demand]:
    """By full name of the method."""
    with TABLE.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = _Demands()
    for row in rows:
        name = f"greenroom.{row['method']}"
        found[name] = Demand(
            name,
            frozenset(row["access"].split(",")),
            "" if row["permission"] == "-" else row["permission"],
            row["factor"] == "step-up",
            row["deleted"] == "deleted-too",
        )
    return found

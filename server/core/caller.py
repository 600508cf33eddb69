"""Who makes a call, as far as the layers below the wire need to know."""

from dataclasses import dataclass, field
from datetime import datetime

ADMIN_ROLES = frozenset({"admin", "super_admin"})
EVERYTHING = "*"
"""The permission that stands for all."""


class Rights:
    """What roles and permissions come to, for whoever carries both."""

    __slots__ = ()
    roles: frozenset[str]
    permissions: frozenset[str]

    @property
    def is_admin(self) -> bool:
        """True for admins and super_admins."""
        return bool(self.roles & ADMIN_ROLES)

    def may(self, permission: str) -> bool:
        """True when some role permits it."""
        return permission in self.permissions or EVERYTHING in self.permissions

    def is_admin_and_may(self, permission: str) -> bool:
        """True for administrators who are permitted to: a permission alone lets nobody reach what is
        somebody else's, since roles of other kinds can hold it too."""
        return self.is_admin and self.may(permission)


@dataclass(frozen=True, slots=True)
class Caller(Rights):
    """A user with a session, a service with a key, or nobody (``kind`` is ``"anonymous"``)."""

    kind: str = "anonymous"
    user_id: str = ""
    session_id: str = ""
    """Id of the session; of a service, that of its key, with which everything of it ends."""
    roles: frozenset[str] = field(default_factory=frozenset)
    permissions: frozenset[str] = field(default_factory=frozenset)
    privileged_until: datetime | None = None
    """Until when the session counts as raised by a fresh factor; ``None`` when it is not."""
    expires: datetime | None = None
    """When the credentials end; a cached caller is not used past it."""
    deleted: bool = False
    """True for somebody who has deleted their account and can still have it back; they may call
    only what says so."""
    signed_by: str = ""
    """Id of the key that signed the caller's token; empty for callers of another kind."""
    expiry: float = field(init=False, repr=False, compare=False)
    """The same as ``expires`` in seconds since 1970, and 0 where there is none."""
    principal: str = field(init=False, repr=False, compare=False)
    """A stable key for limits, idempotency and logs, such as ``user:0190...``; made once, since each call
    of a caller that is remembered asks for it more than once."""

    def __post_init__(self) -> None:
        principal = f"{self.kind}:{self.user_id}" if self.user_id else self.kind
        object.__setattr__(self, "principal", principal)
        expiry = 0.0 if self.expires is None else self.expires.timestamp()
        object.__setattr__(self, "expiry", expiry)

    @property
    def is_anonymous(self) -> bool:
        """True when nobody is signed in."""
        return self.kind == "anonymous"

    def is_raised(self, now: datetime) -> bool:
        """True while the session counts as raised by a fresh factor."""
        return self.privileged_until is not None and self.privileged_until > now


ANONYMOUS = Caller()


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a unit of work knows of the call it serves."""

    caller: Caller = ANONYMOUS
    request_id: str = ""
    address: str = ""
    user_agent: str = ""
    method: str = ""

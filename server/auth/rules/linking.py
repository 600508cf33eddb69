"""What an identity that a provider vouches for opens: the table of server/auth/README.md as data.

An identity is the pair of issuer and subject. That addresses are the same never opens an account, and
an address counts only where the provider says that it has verified it.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

AUTHORIZATION_LIFE = timedelta(minutes=10)
"""How long a provider's answer is waited for."""


class Purpose(StrEnum):
    """What an authorisation is for."""

    SIGN_IN = "SIGN_IN"
    LINK = "LINK"


class Asking(StrEnum):
    """Who brings the identity. ``STALE`` is somebody signed in whose last factor is too long ago."""

    NOBODY = "NOBODY"
    STALE = "STALE"
    FRESH = "FRESH"


class Owner(StrEnum):
    """Whose the identity is so far; ``SELF`` is whoever asks."""

    NONE = "NONE"
    SELF = "SELF"
    OTHER = "OTHER"


class Told(StrEnum):
    """What the provider says of an address. ``UNPROVEN`` is also one that it does not tell."""

    PROVEN = "PROVEN"
    UNPROVEN = "UNPROVEN"


class Local(StrEnum):
    """The address here: of the account of whoever asks; for nobody, of the account that has the
    provider's address. ``NONE`` without an account or without an address."""

    NONE = "NONE"
    UNPROVEN = "UNPROVEN"
    PROVEN = "PROVEN"


class Verdict(StrEnum):
    """What follows. ``SIGN_UP_BARE`` makes an account without an address, ``RENEW`` keeps the link
    and takes the new tokens."""

    SIGN_IN = "SIGN_IN"
    SIGN_UP = "SIGN_UP"
    SIGN_UP_BARE = "SIGN_UP_BARE"
    LINK = "LINK"
    RENEW = "RENEW"
    LINK_REQUIRED = "LINK_REQUIRED"
    STEP_UP_REQUIRED = "STEP_UP_REQUIRED"
    IDENTITY_TAKEN = "IDENTITY_TAKEN"
    EMAIL_UNVERIFIED = "EMAIL_UNVERIFIED"


@dataclass(frozen=True, slots=True)
class Case:
    """One situation."""

    asking: Asking
    owner: Owner
    told: Told
    local: Local


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; ``None`` stands for any."""

    asking: Asking
    owner: Owner | None
    told: Told | None
    local: Local | None
    verdict: Verdict

    def fits(self, case: Case) -> bool:
        """Whether the line is about the case."""
        return (
            self.asking is case.asking
            and self.owner in (None, case.owner)
            and self.told in (None, case.told)
            and self.local in (None, case.local)
        )


TABLE = (
    Line(Asking.NOBODY, Owner.OTHER, None, None, Verdict.SIGN_IN),
    Line(Asking.NOBODY, Owner.NONE, Told.UNPROVEN, None, Verdict.SIGN_UP_BARE),
    Line(Asking.NOBODY, Owner.NONE, Told.PROVEN, Local.NONE, Verdict.SIGN_UP),
    Line(Asking.NOBODY, Owner.NONE, Told.PROVEN, Local.UNPROVEN, Verdict.LINK_REQUIRED),
    Line(Asking.NOBODY, Owner.NONE, Told.PROVEN, Local.PROVEN, Verdict.LINK_REQUIRED),
    Line(Asking.STALE, None, None, None, Verdict.STEP_UP_REQUIRED),
    Line(Asking.FRESH, Owner.SELF, None, None, Verdict.RENEW),
    Line(Asking.FRESH, Owner.OTHER, None, None, Verdict.IDENTITY_TAKEN),
    Line(Asking.FRESH, Owner.NONE, None, Local.NONE, Verdict.LINK),
    Line(Asking.FRESH, Owner.NONE, None, Local.PROVEN, Verdict.LINK),
    Line(Asking.FRESH, Owner.NONE, None, Local.UNPROVEN, Verdict.EMAIL_UNVERIFIED),
)
"""No case fits two lines, and only the impossible one fits none: nobody owns nothing
(``NOBODY``, ``SELF``)."""


def verdict_on(case: Case) -> Verdict:
    """What the table says."""
    return next(line.verdict for line in TABLE if line.fits(case))

"""How somebody can still get into their account, so that nothing takes the last way from them."""

from dataclasses import dataclass

from server.auth.errors import LastWayIn
from server.auth.models import Credential, Identity, Passkey, User


@dataclass(frozen=True, slots=True)
class WaysIn:
    """What opens an account: each of these alone, though a second factor may be asked for after
    it. A proven address or number counts, because a code or a reset can be sent to it."""

    password: bool
    passkeys: int
    identities: int
    contacts: int

    @property
    def count(self) -> int:
        """How many there are."""
        return self.password + self.passkeys + self.identities + self.contacts


def ways_in(user: User) -> WaysIn:
    """The ways into an account. Who takes one away locks the user first: of two ways that are
    taken at once, one would otherwise be taken as the last but one and the other too."""
    return WaysIn(
        password=Credential.select().where(Credential.user == user.id).exists(),
        passkeys=Passkey.for_user(user.id).count(),
        identities=Identity.for_user(user.id).count(),
        contacts=sum(
            proven is not None for proven in (user.email_verified_at, user.phone_verified_at)
        ),
    )


def check_other_way_in(user: User) -> None:
    """Raises ``LastWayIn`` unless one way in can be taken away and another is left. To be called
    with the user locked, before the way is taken."""
    if ways_in(user).count < 2:
        raise LastWayIn

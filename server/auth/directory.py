"""Who there is, for the modules that deal with users of which they know no more than an id."""

from collections.abc import Iterable

from server.auth.models import User
from server.auth.rules import UserStatus
from server.core.unit import Unit


class UserDirectory:
    """Answers about users, inside the unit of whoever asks."""

    def active_users(self, unit: Unit, user_ids: Iterable[str]) -> set[str]:
        """Those of the given users who exist and whose accounts are in use."""
        found = User.select(User.id).where(
            User.id.in_(list(user_ids)) & (User.status == UserStatus.ACTIVE)
        )
        return {user.id for user in found}

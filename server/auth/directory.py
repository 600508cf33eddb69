"""Who there is, for the modules that deal with users of which they know no more than an id."""

from collections.abc import Iterable
from datetime import datetime

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

    def last_online(self, unit: Unit, user_ids: Iterable[str]) -> dict[str, datetime]:
        """When those of the users were last there whose accounts are in use and who ever were."""
        found = User.select(User.id, User.last_online_at).where(
            User.id.in_(list(user_ids))
            & (User.status == UserStatus.ACTIVE)
            & User.last_online_at.is_null(False)
        )
        return {user.id: user.last_online_at for user in found if user.last_online_at}

    def note_last_online(self, unit: Unit, user_ids: Iterable[str], at: datetime) -> None:
        """The users were there at a time. No ``update_time``: that is no change that others would have to
        hear of."""
        User.update(last_online_at=at).where(
            User.id.in_(sorted(user_ids))
            & (User.last_online_at.is_null() | (User.last_online_at < at))
        ).execute()

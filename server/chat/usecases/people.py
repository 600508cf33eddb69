"""Whom somebody can talk to."""

from collections.abc import Collection
from dataclasses import dataclass

from server.chat.errors import UserNotFound
from server.chat.ports import Blocks, Directory
from server.core.unit import Unit


@dataclass(frozen=True, slots=True)
class People:
    """Who there is, and who has blocked whom."""

    directory: Directory
    blocks: Blocks

    def check(self, unit: Unit, user_id: str, other_ids: Collection[str], field: str) -> None:
        """Raises ``UserNotFound`` unless the user can have all the others in a channel.

        Nobody learns whether somebody has blocked them: it looks as if they were not there.
        """
        others = set(other_ids)
        if not others:
            return
        if others - self.directory.active_users(unit, others):
            raise UserNotFound(field=field)
        if self.blocks.between(unit, user_id, others):
            raise UserNotFound(field=field)

"""Emoji under messages."""

from server.chat.errors import TooManyReactions
from server.chat.models import Reaction
from server.chat.usecases.messages import MessageView, change_message, check_open, reach, view_of
from server.core.db import sql
from server.core.unit import Unit

EMOJIS = 20
"""Different emojis of one message."""
USERS_SHOWN = 100
"""Users that are named of each."""

# The emojis in the order in which they came first, and who chose each in the order in which they did.
_SUMMARY = """
    SELECT emoji, user_id, total FROM (
        SELECT emoji, user_id,
            ROW_NUMBER() OVER (PARTITION BY emoji ORDER BY create_time, user_id) AS place,
            COUNT(*) OVER (PARTITION BY emoji) AS total,
            MIN(create_time) OVER (PARTITION BY emoji) AS since
        FROM chat_reactions WHERE message_id = ?
    ) AS chosen WHERE place <= ? ORDER BY since, emoji, place
"""


def add_reaction(unit: Unit, user_id: str, message_id: str, emoji: str) -> MessageView:
    """Puts an emoji of the user's under a message; one that is there stays."""
    reached = reach(user_id, message_id)
    check_open(reached)
    message = reached.message
    if _is_own(user_id, message_id, emoji):
        return view_of(message)
    present = {entry[0] for entry in message.reactions or ()}
    if emoji not in present and len(present) >= EMOJIS:
        raise TooManyReactions(limit=EMOJIS)
    Reaction.insert(
        message_id=message_id,
        user_id=user_id,
        emoji=emoji,
        create_time=unit.now,
        update_time=unit.now,
    ).execute()
    return change_message(unit, message, reactions=_summary(message_id))


def remove_reaction(unit: Unit, user_id: str, message_id: str, emoji: str) -> MessageView:
    """Takes an emoji of the user's away, if it is there."""
    reached = reach(user_id, message_id)
    check_open(reached)
    gone = Reaction.delete().where(
        (Reaction.message_id == message_id)
        & (Reaction.user_id == user_id)
        & (Reaction.emoji == emoji)
    )
    if not gone.execute():
        return view_of(reached.message)
    return change_message(unit, reached.message, reactions=_summary(message_id))


def _is_own(user_id: str, message_id: str, emoji: str) -> bool:
    own = Reaction.select(Reaction.emoji).where(
        (Reaction.message_id == message_id)
        & (Reaction.user_id == user_id)
        & (Reaction.emoji == emoji)
    )
    return bool(own.exists())


def _summary(message_id: str) -> list[list[object]] | None:
    """What ``Message.reactions`` holds, made of the rows."""
    found: dict[str, tuple[int, list[str]]] = {}
    for emoji, user_id, total in sql(_SUMMARY, message_id, USERS_SHOWN).fetchall():
        found.setdefault(emoji, (total, []))[1].append(user_id)
    return [[emoji, total, users] for emoji, (total, users) in found.items()] or None

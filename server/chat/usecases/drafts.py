"""Sends of more than a text: what they refer to is looked up before they go to the lane."""

from typing import NamedTuple

from server.chat.errors import (
    ChannelNotFound,
    MediaNotFound,
    MentionNotMember,
    ReplyToNotFound,
    TypeMismatch,
)
from server.chat.message import FILE, TEXT, Extra
from server.chat.models import Member, Message
from server.chat.ports import MediaShelf
from server.chat.sending import SendCommand
from server.core.unit import Unit


class Draft(NamedTuple):
    """A send as its caller meant it."""

    command: SendCommand
    type: str | None
    """``None`` leaves the choice to the server."""
    media_ids: tuple[str, ...]
    reply_to_id: str | None
    mentions: tuple[str, ...]


def complete(unit: Unit, shelf: MediaShelf, draft: Draft) -> SendCommand:
    """The send with all that it refers to. Whether the sender may send at all is the lane's to say, but
    nobody else learns here what is in a channel."""
    command = draft.command
    channel_id, sender_id = command.channel_id, command.sender_id
    earlier = Message.get_or_none(
        (Message.sender_id == sender_id) & (Message.client_id == command.client_id)
    )
    if earlier is not None:
        return _repeated(draft, earlier.type)
    is_member = (Member.channel_id == channel_id) & (Member.user_id == sender_id)
    if not Member.select(Member.user_id).where(is_member).exists():
        raise ChannelNotFound
    attachments = _attachments(unit, shelf, sender_id, draft.media_ids)
    kind = _type_of(draft.type, [attachment[1] for attachment in attachments])
    if draft.mentions:
        _check_members(channel_id, draft.mentions)
    thread_id = None
    if draft.reply_to_id is not None:
        thread_id = _thread_of(channel_id, draft.reply_to_id)
    if kind == TEXT and not draft.mentions and thread_id is None:
        return command
    command.extra = Extra(kind, attachments, draft.mentions, draft.reply_to_id, thread_id)
    return command


def _repeated(draft: Draft, stored_type: str) -> SendCommand:
    """A send whose client id has its message, as the lane compares them. What it refers to was looked up the
    first time, and may have gone since: a retry gets its message all the same."""
    command = draft.command
    media = tuple((media_id, "", "", "", 0) for media_id in draft.media_ids)
    kind = draft.type or (stored_type if media else TEXT)
    if media or draft.mentions or draft.reply_to_id is not None or kind != TEXT:
        command.extra = Extra(kind, media, draft.mentions, draft.reply_to_id)
    return command


def _attachments(
    unit: Unit, shelf: MediaShelf, sender_id: str, media_ids: tuple[str, ...]
) -> tuple[tuple[str, str, str, str, int], ...]:
    if not media_ids:
        return ()
    found = shelf.ready(unit, sender_id, media_ids)
    if any(media_id not in found for media_id in media_ids):
        raise MediaNotFound
    # Plain tuples: as they are stored, and compared with what is.
    return tuple(
        (media.media_id, media.type, media.name, media.content_type, media.size)
        for media in (found[media_id] for media_id in media_ids)
    )


def _type_of(asked: str | None, kinds: list[str]) -> str:
    """The message's type. A FILE may be anything; pictures, sound and videos are what they are."""
    if not kinds:
        if asked not in (None, TEXT):
            raise TypeMismatch
        return TEXT
    fitting = kinds[0] if len(set(kinds)) == 1 else FILE
    if asked not in (None, fitting, FILE):
        raise TypeMismatch
    return asked or fitting


def _check_members(channel_id: str, user_ids: tuple[str, ...]) -> None:
    found = Member.select(Member.user_id).where(
        (Member.channel_id == channel_id) & Member.user_id.in_(list(user_ids))
    )
    if len({row.user_id for row in found}) < len(set(user_ids)):
        raise MentionNotMember


def _thread_of(channel_id: str, message_id: str) -> str:
    row = Message.get_or_none(Message.id == message_id)
    if row is None or row.channel_id != channel_id or row.delete_time is not None:
        raise ReplyToNotFound
    return str(row.thread_id or row.id)

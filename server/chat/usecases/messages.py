"""Single messages: reading, editing and deleting them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.chat.changes import touch
from server.chat.errors import (
    Blocked,
    ChannelArchived,
    EditWindowOver,
    MentionNotMember,
    MessageDeleted,
    MessageEmpty,
    MessageNotFound,
    RoleForbids,
)
from server.chat.message import SYSTEM, StoredMessage, fingerprint
from server.chat.models import ADMIN, GROUP, Channel, Edit, Member, Message, Reaction
from server.chat.rules import check_storable
from server.core.db import locked_one
from server.core.etags import check_same
from server.core.pagination import Order, Pages, paginate
from server.core.text_search import folded
from server.core.unit import Unit

EDITS_SHOWN = 100
"""Earlier texts of one reply: 100 of the longest ones fit into a message of gRPC."""
DELETE_PERMISSION = "chat.messages.delete"
"""Lets staff take away what has no place here, wherever it was said."""


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message of a channel."""

    channel_id: str
    stored: StoredMessage
    edits: tuple[tuple[str, datetime], ...] = ()
    """Texts that it had before, and when each was replaced; the newest first."""


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages of a list, each with its channel, and how to get the next ones."""

    messages: tuple[MessageView, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Reached:
    """A message with its channel and the caller's membership, the channel locked."""

    message: Message
    channel: Channel
    role: str
    """Empty for staff who are no members."""


def view_of(row: Message, edits: tuple[tuple[str, datetime], ...] = ()) -> MessageView:
    """A row as it is told of."""
    return MessageView(row.channel_id, row.stored(), edits)


def member_role(channel_id: str, user_id: str) -> str | None:
    """The role of a member; ``None`` for somebody who is none."""
    found = Member.get_or_none((Member.channel_id == channel_id) & (Member.user_id == user_id))
    return None if found is None else str(found.role)


def message_of(user_id: str, message_id: str) -> tuple[Message, str]:
    """A message of one of the user's channels, and their role there; raises ``MessageNotFound``."""
    message = Message.get_or_none(Message.id == message_id)
    role = None if message is None else member_role(message.channel_id, user_id)
    if message is None or role is None:
        raise MessageNotFound
    return message, role


def reach(user_id: str, message_id: str, *, as_staff: bool = False) -> Reached:
    """A message that is going to be changed. The channel is locked first and all else read after that, so
    that nothing of it changes until the unit ends."""
    found = Message.get_or_none(Message.id == message_id)
    if found is None:
        raise MessageNotFound
    channel = locked_one(Channel, Channel.id == found.channel_id)
    role = None if channel is None else member_role(channel.id, user_id)
    if channel is None or (role is None and not as_staff):
        raise MessageNotFound
    return Reached(Message.get_by_id(message_id), channel, role or "")


def check_open(reached: Reached) -> None:
    """Raises unless a message of this channel can be changed now."""
    if reached.channel.archived_at is not None:
        raise ChannelArchived
    if reached.channel.blocked:
        raise Blocked
    if reached.message.delete_time is not None:
        raise MessageDeleted


def change_message(unit: Unit, message: Message, **values: Any) -> MessageView:
    """Stores what is new about a message as one change of its channel."""
    change = touch(unit, message.channel_id)
    for name, value in {**values, "change": change, "special": True}.items():
        setattr(message, name, value)
    message.save()
    return view_of(message)


def get_message(
    unit: Unit, user_id: str, message_id: str, *, include_edits: bool = False
) -> MessageView:
    """A message; its sender and the admins of its channel get its earlier texts if they ask for them."""
    message, role = message_of(user_id, message_id)
    edits: list[Edit] = []
    if include_edits and (message.sender_id == user_id or role == ADMIN):
        query = Edit.select().where(Edit.message_id == message_id).order_by(Edit.id.desc())
        edits = list(query.limit(EDITS_SHOWN))
    return view_of(message, tuple((edit.text, edit.create_time) for edit in edits))


def update_message(
    unit: Unit,
    user_id: str,
    message_id: str,
    changes: Mapping[str, Any],
    *,
    etag: str,
    window: timedelta,
) -> MessageView:
    """Gives a message of the user's own another text or other mentions; what stays the same is no change."""
    if "text" in changes:
        check_storable("message.text", changes["text"])
    reached = reach(user_id, message_id)
    message = reached.message
    if message.sender_id != user_id or message.type == SYSTEM:
        raise RoleForbids
    check_open(reached)
    if unit.now >= message.create_time + window:
        raise EditWindowOver
    check_same(etag, str(message.change))
    values = {**_new_text(message, changes), **_new_mentions(message, changes)}
    if not values:
        return view_of(message)
    if "text" in values:
        Edit.create(message_id=message_id, text=message.text)
        values["edit_time"] = unit.now
        if message.fingerprint is None:
            # A late retry of the send is held against what was sent, not against what it has become.
            values["fingerprint"] = fingerprint(message.channel_id, message.text, None)
    return change_message(unit, message, **values)


def _new_text(message: Message, changes: Mapping[str, Any]) -> dict[str, Any]:
    text = changes.get("text", message.text)
    if text == message.text:
        return {}
    if not text and not message.attachments:
        raise MessageEmpty("message.text")
    return {"text": text, "folded": folded(text)}


def _new_mentions(message: Message, changes: Mapping[str, Any]) -> dict[str, Any]:
    before = list(message.mentions or ())
    wanted = list(changes.get("mentioned_user_ids", before))
    if wanted == before:
        return {}
    # Who was mentioned and has left meanwhile may stay mentioned.
    added = set(wanted) - set(before)
    if added:
        members = Member.select(Member.user_id).where(
            (Member.channel_id == message.channel_id) & Member.user_id.in_(sorted(added))
        )
        if {row.user_id for row in members} != added:
            raise MentionNotMember("message.mentioned_user_ids")
    return {"mentions": wanted or None}


def delete_message(unit: Unit, user_id: str, message_id: str) -> MessageView:
    """Leaves a tombstone. The fingerprint stays, so that a late retry of the send finds it."""
    as_staff = unit.caller.is_admin_and_may(DELETE_PERMISSION)
    reached = reach(user_id, message_id, as_staff=as_staff)
    message = reached.message
    own = bool(reached.role) and message.sender_id == user_id
    if not own and not (reached.role == ADMIN and reached.channel.type == GROUP):
        if not as_staff:
            raise RoleForbids
        unit.audit("message.delete", resource=f"messages/{message_id}")
    if message.delete_time is not None:
        return view_of(message)
    Edit.delete().where(Edit.message_id == message_id).execute()
    Reaction.delete().where(Reaction.message_id == message_id).execute()
    mark = message.fingerprint or fingerprint(message.channel_id, message.text, None)
    return change_message(
        unit,
        message,
        text="",
        folded=None,
        fingerprint=mark,
        attachments=None,
        mentions=None,
        reactions=None,
        edit_time=None,
        delete_time=unit.now,
        deleted_by=user_id,
    )


def list_replies(
    unit: Unit, pages: Pages, user_id: str, message_id: str, *, page_size: int, page_token: str
) -> MessagePage:
    """The answers of the thread that a message began, oldest first."""
    message_of(user_id, message_id)
    page = paginate(
        pages,
        Message.select().where(Message.thread_id == message_id),
        order=[Order(Message.seq)],
        page_size=page_size,
        page_token=page_token,
        scope={"list": "chat.replies", "user": user_id, "message": message_id},
    )
    return MessagePage(tuple(view_of(row) for row in page.items), page.next_page_token)

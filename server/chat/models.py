"""Rows of the chat. The hot paths read and write them by the SQL in ``statements.py``."""

from peewee import BigIntegerField, BooleanField, CharField, CompositeKey, ModelSelect, TextField

from server.chat.message import Rest, StoredMessage
from server.core.db import JsonField, Model, Row, TimestampField
from server.core.fields import microseconds

DIRECT = "DIRECT"
"""``Channel.type`` of the one conversation of two people."""
ORDER = "ORDER"
GROUP = "GROUP"
TICKET = "TICKET"

MEMBER = "MEMBER"
"""``Member.role`` of those who read and write."""
ADMIN = "ADMIN"
"""``Member.role`` of those who look after a group."""


class Channel(Row):
    """A conversation. ``last_seq`` is the number of its newest message, 0 before the first."""

    type = CharField(16)
    direct_key = CharField(80, null=True, unique=True)
    """The two members' ids in order; set for direct channels only."""
    epoch = BigIntegerField(default=1)
    """Changes when the numbering starts anew (after a restore); part of every position."""
    last_seq = BigIntegerField(default=0)
    history_start_seq = BigIntegerField(default=0)
    """Messages up to this number are gone; 0 when all are there."""
    title = TextField(default="")
    description = TextField(default="")
    avatar_media_id = CharField(36, null=True)
    created_by = CharField(36, null=True)
    order_id = CharField(36, null=True, unique=True)
    ticket_id = CharField(36, null=True, unique=True)
    last_change = BigIntegerField(default=0)
    """Number of the newest change of the channel, its messages or its members; see ``changes.py``."""
    info_change = BigIntegerField(default=0)
    """Number of the newest change of the channel itself."""
    archived_at = TimestampField(null=True)
    blocked = BooleanField(default=False)
    """True in a direct channel when one of the two has blocked the other."""

    class Meta:
        table_name = "chat_channels"


class Member(Model):
    """Who takes part in a channel."""

    channel_id = CharField(36)
    user_id = CharField(36)
    role = CharField(16, default="MEMBER")
    mute_until = TimestampField(null=True)
    joined_seq = BigIntegerField(default=0)
    """The channel's newest message when the member joined."""
    change = BigIntegerField(default=0)
    """Number of the change that made the membership what it is; 0 in channels that began with it."""
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_members"
        primary_key = CompositeKey("channel_id", "user_id")

    @classmethod
    def in_channel(cls, channel_id: str) -> "ModelSelect[Member]":
        """The members of a channel, in the order of their ids."""
        return cls.select().where(cls.channel_id == channel_id).order_by(cls.user_id)


class Departure(Model):
    """Somebody is no member any more; goes away when they join again."""

    channel_id = CharField(36)
    user_id = CharField(36)
    change = BigIntegerField()
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_departures"
        primary_key = CompositeKey("channel_id", "user_id")


class Message(Row):
    """One message; ``seq`` counts 1, 2, 3, ... in its channel without a gap.

    Rows are inserted by ``sending.py``. What a plain message has not stands in the columns after
    ``special``, which reads of the history look at only where that is set.
    """

    channel_id = CharField(36)
    seq = BigIntegerField()
    sender_id = CharField(36)
    client_id = CharField(64)
    type = CharField(16, default="TEXT")
    text = TextField()
    special = BooleanField(default=False)
    """True when any of the following says something. Set it along with them."""
    folded = TextField(null=True)
    """What is searched for (``text_search.folded``); NULL where the text itself will do."""
    fingerprint = CharField(64, null=True)
    """What the sender had sent, for the comparison of repeats; NULL while the text tells it all."""
    attachments = JsonField(null=True)
    """A list of ``[media_id, type, name, content_type, size]``."""
    mentions = JsonField(null=True)
    """Ids of users."""
    reply_to_id = CharField(36, null=True)
    thread_id = CharField(36, null=True)
    """The message that began the thread."""
    reply_count = BigIntegerField(default=0)
    reactions = JsonField(null=True)
    """A list of ``[emoji, count, [user_id, ...]]``, oldest first; made of the rows of ``Reaction``."""
    change = BigIntegerField(default=0)
    """Number of its newest change in the channel; 0 when it was never changed."""
    edit_time = TimestampField(null=True)
    delete_time = TimestampField(null=True)
    deleted_by = CharField(36, null=True)

    class Meta:
        table_name = "chat_messages"
        indexes = ((("channel_id", "seq"), True), (("sender_id", "client_id"), True))

    def stored(self) -> StoredMessage:
        """The row as it goes on its way."""
        rest = None
        if self.special:
            rest = Rest(
                self.type,
                self.attachments,
                self.mentions,
                self.reply_to_id,
                self.thread_id,
                self.reply_count,
                self.reactions,
                self.change,
                None if self.edit_time is None else microseconds(self.edit_time),
                None if self.delete_time is None else microseconds(self.delete_time),
            )
        made = microseconds(self.create_time)
        return StoredMessage(
            self.id, self.seq, self.sender_id, self.client_id, self.text, made, rest
        )


class ReadMark(Model):
    """How far a member has read, and how far events were delivered to them."""

    channel_id = CharField(36)
    user_id = CharField(36)
    last_read_seq = BigIntegerField(default=0)
    last_delivered_seq = BigIntegerField(default=0)
    unread_from_seq = BigIntegerField(null=True)
    """From here on the member has marked messages as unread."""
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_reads"
        primary_key = CompositeKey("channel_id", "user_id")


class Edit(Row):
    """A text that a message had; made when it was replaced."""

    message_id = CharField(36)
    text = TextField()

    class Meta:
        table_name = "chat_edits"


class Reaction(Model):
    """A member's emoji under a message."""

    message_id = CharField(36)
    user_id = CharField(36)
    emoji = CharField(32)
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_reactions"
        primary_key = CompositeKey("message_id", "user_id", "emoji")


class Presence(Model):
    """A process that serves a stream of a user, and when it last said so."""

    user_id = CharField(36)
    process_id = CharField(36)
    seen_at = TimestampField()
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_presence"
        primary_key = CompositeKey("user_id", "process_id")

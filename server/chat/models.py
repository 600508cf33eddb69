"""Rows of the chat. The hot paths read and write them by the SQL in ``statements.py``."""

from peewee import BigIntegerField, CharField, CompositeKey, ModelSelect, TextField

from server.core.db import Model, Row, TimestampField

DIRECT = "DIRECT"
"""``Channel.type`` of the one conversation of two people."""


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
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_members"
        primary_key = CompositeKey("channel_id", "user_id")

    @classmethod
    def in_channel(cls, channel_id: str) -> "ModelSelect[Member]":
        """The members of a channel, in the order of their ids."""
        return cls.select().where(cls.channel_id == channel_id).order_by(cls.user_id)


class Message(Row):
    """One message; ``seq`` counts 1, 2, 3, ... in its channel without a gap."""

    channel_id = CharField(36)
    seq = BigIntegerField()
    sender_id = CharField(36)
    client_id = CharField(64)
    type = CharField(16, default="TEXT")
    text = TextField()

    class Meta:
        table_name = "chat_messages"
        indexes = ((("channel_id", "seq"), True), (("sender_id", "client_id"), True))


class ReadMark(Model):
    """How far a member has read, and how far events were delivered to them."""

    channel_id = CharField(36)
    user_id = CharField(36)
    last_read_seq = BigIntegerField(default=0)
    last_delivered_seq = BigIntegerField(default=0)
    create_time = TimestampField()
    update_time = TimestampField()

    class Meta:
        table_name = "chat_reads"
        primary_key = CompositeKey("channel_id", "user_id")

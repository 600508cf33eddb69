"""The audit log and its chain."""

from peewee import (
    BigIntegerField,
    IntegerField,
    ModelSelect,
    TextField,
)

from server.auth.rules import READ_AUDIT
from server.core.caller import Caller
from server.core.db import Model, TimestampField


class AuditEvent(Model):
    """What happened. ``seq``, ``prev_hash`` and ``hash`` come when the row is sealed.

    ``metadata`` is JSON, kept as the very text that is hashed.
    """

    id = TextField(primary_key=True)
    create_time = TimestampField()
    actor_kind = TextField()
    actor_id = TextField(null=True)
    session_id = TextField(null=True)
    action = TextField()
    resource = TextField(default="")
    result = TextField()
    ip = TextField(default="")
    user_agent = TextField(default="")
    request_id = TextField(default="")
    method = TextField(default="")
    metadata = TextField(default="{}")
    seq = BigIntegerField(null=True)
    prev_hash = TextField(null=True)
    hash = TextField(null=True)

    class Meta:
        table_name = "audit_events"

    @classmethod
    def within_reach_of(cls, caller: Caller) -> "ModelSelect[AuditEvent]":
        """The events that a caller may read: all for administrators who are permitted to, otherwise
        those that they caused themselves."""
        if caller.is_admin_and_may(READ_AUDIT):
            return cls.select()
        return cls.select().where(cls.actor_id == caller.user_id)


class AuditChain(Model):
    """The last link of the chain: one row."""

    id = IntegerField(primary_key=True)
    seq = BigIntegerField()
    hash = TextField()

    class Meta:
        table_name = "audit_chain"

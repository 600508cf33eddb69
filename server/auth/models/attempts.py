"""Counts of tries and of mails."""

from peewee import (
    IntegerField,
    TextField,
)

from server.core.db import JsonField, Model, TimestampField


class LoginAttempt(Model):
    """Failures of one subject: the HMAC of an identifier or of a network address."""

    subject = TextField(primary_key=True)
    kind = TextField()
    failures = IntegerField(default=0)
    last_at = TimestampField(null=True)
    blocked_until = TimestampField(null=True)
    update_time = TimestampField()

    class Meta:
        table_name = "login_attempts"


class ContactSend(Model):
    """When mails lately left for one contact, known by its HMAC only."""

    contact = TextField(primary_key=True)
    recent = JsonField(default=list)
    update_time = TimestampField()

    class Meta:
        table_name = "contact_sends"

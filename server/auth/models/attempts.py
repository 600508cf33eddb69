"""Counts of tries and of mails."""

from datetime import datetime

from peewee import (
    IntegerField,
    TextField,
)

from server.auth.rules import Tally
from server.core.db import JsonField, Model, TimestampField


class Tries(Model):
    """What all rows have in which failures are counted."""

    failures = IntegerField(default=0)
    last_at = TimestampField(null=True)
    blocked_until = TimestampField(null=True)
    update_time = TimestampField()

    @property
    def tally(self) -> Tally:
        """The count as the rules know it."""
        return Tally(self.failures, self.last_at, self.blocked_until)

    def keep(self, tally: Tally, now: datetime) -> None:
        """Writes a new count."""
        self.failures, self.last_at = tally.failures, tally.last_at
        self.blocked_until = tally.blocked_until
        self.update_time = now
        self.save()


class LoginAttempt(Tries):
    """Failures of one subject: the HMAC of an identifier or of a network address."""

    subject = TextField(primary_key=True)
    kind = TextField()

    class Meta:
        table_name = "login_attempts"


class ContactSend(Model):
    """When mails lately left for one contact, known by its HMAC only."""

    contact = TextField(primary_key=True)
    recent = JsonField(default=list)
    update_time = TimestampField()

    class Meta:
        table_name = "contact_sends"

"""Sends the mails of auth: as jobs enqueued in the unit of their cause, sealed, since a mail holds
a token and the database holds no token that could be used."""

import orjson

from server.auth.mails import MailText
from server.core.ids import new_id
from server.core.jobs import JobRun
from server.core.mail import Mail, Mailer
from server.core.sealing import Keyring
from server.core.unit import Unit

JOB = "auth.mail"


class Outbox:
    """Enqueues mails, and sends them when their job runs."""

    def __init__(self, keyring: Keyring, mailer: Mailer) -> None:
        self._keyring = keyring
        self._mailer = mailer

    def enqueue(self, unit: Unit, mail: MailText) -> None:
        """Has the mail sent once the unit is committed."""
        mail_id = new_id()
        content = orjson.dumps([mail.to, mail.subject, mail.text, mail.html])
        unit.enqueue(
            JOB, {"id": mail_id, "sealed": self._keyring.seal(content, _place_of(mail_id))}
        )

    def send(self, run: JobRun) -> None:
        """The job. A mail that is sent twice, because the job died in between, has one message
        id."""
        mail_id: str = run.arguments["id"]
        content = self._keyring.open(run.arguments["sealed"], _place_of(mail_id))
        to, subject, text, html = orjson.loads(content)
        self._mailer.send(Mail(to=to, subject=subject, text=text, html=html, message_id=mail_id))


def _place_of(mail_id: str) -> str:
    return f"jobs|{JOB}|{mail_id}"

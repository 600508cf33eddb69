"""The mails of auth, a function a kind.

Each takes the address and the language of its reader first; the sentences are in ``languages/``. In
the text a token stands alone on a line that begins with ``Token:`` and a code on one that begins
with ``Code:``, in every language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from server.auth.mails.catalogues import catalogue_for
from server.auth.mails.letters import Letter, MailText, one_line

__all__ = [
    "MailText",
    "WaitingSignUp",
    "account_banned_mail",
    "account_deleted_mail",
    "account_reinstated_mail",
    "account_restored_mail",
    "account_suspended_mail",
    "approved_mail",
    "code_mail",
    "code_text",
    "confirm_email_mail",
    "email_change_asked_mail",
    "email_changed_mail",
    "factor_changed_mail",
    "identity_mail",
    "invite_mail",
    "magic_link_mail",
    "new_device_mail",
    "password_changed_mail",
    "phone_changed_mail",
    "rejected_mail",
    "reset_mail",
    "reuse_mail",
    "taken_mail",
    "verification_mail",
]


@dataclass(frozen=True, slots=True)
class WaitingSignUp:
    """A sign-up that waits for its address, with the token that proves it."""

    token: str
    name: str
    address: str
    asked: datetime


def verification_mail(
    to: str, language: str, public_url: str, waiting: Sequence[WaitingSignUp]
) -> MailText:
    """Asks the owner of an address to prove it. Where several sign-ups wait, each is told with its
    name, time and network address, so that the owner picks the one that is theirs."""
    letter = Letter(to, language).say("verification.opening")
    if len(waiting) > 1:
        letter.say("verification.several", count=len(waiting))
    for sign_up in waiting:
        letter.say(
            "verification.sign_up",
            name=one_line(sign_up.name),
            when=letter.moment(sign_up.asked),
            address=letter.place(sign_up.address),
        )
        letter.link(public_url, "verify-email", sign_up.token)
    return letter.say("verification.closing").sealed("verification.subject")


def taken_mail(to: str, language: str, public_url: str) -> MailText:
    """Tells the owner of an account that somebody wanted its address for another one."""
    letter = Letter(to, language).say("taken.opening").say("taken.log_in")
    return letter.home(public_url).say("taken.closing").sealed("taken.subject")


def reset_mail(
    to: str, language: str, public_url: str, token: str, address: str, when: datetime
) -> MailText:
    """Lets the owner of an account choose a new password."""
    letter = Letter(to, language)
    letter.say("reset.opening", when=letter.moment(when), address=letter.place(address))
    letter.link(public_url, "reset-password", token)
    return letter.say("reset.closing").sealed("reset.subject")


def password_changed_mail(to: str, language: str, address: str, when: datetime) -> MailText:
    """Tells a user that their password is another one now."""
    letter = Letter(to, language)
    letter.say("password_changed.opening", when=letter.moment(when), address=letter.place(address))
    return letter.say("password_changed.closing").sealed("password_changed.subject")


def confirm_email_mail(to: str, language: str, public_url: str, token: str) -> MailText:
    """Asks the owner of an address whether it is to be that of an account."""
    letter = Letter(to, language).say("confirm_email.opening")
    letter.link(public_url, "verify-email", token)
    return letter.say("confirm_email.closing").sealed("confirm_email.subject")


def email_change_asked_mail(
    to: str, language: str, new_email: str, address: str, when: datetime
) -> MailText:
    """Tells the present address of an account which one is to replace it."""
    letter = Letter(to, language)
    letter.say(
        "email_change_asked.opening",
        when=letter.moment(when),
        address=letter.place(address),
        new_email=new_email,
    )
    return letter.say("email_change_asked.closing").sealed("email_change_asked.subject")


def email_changed_mail(to: str, language: str, new_email: str, when: datetime) -> MailText:
    """Tells the former address of an account which one has replaced it."""
    letter = Letter(to, language)
    letter.say("email_changed.opening", when=letter.moment(when), new_email=new_email)
    return letter.say("email_changed.closing").sealed("email_changed.subject")


def new_device_mail(to: str, language: str, device: str, address: str, when: datetime) -> MailText:
    """Tells a user of a sign-in from a device or a network that was not used lately."""
    letter = Letter(to, language)
    letter.say(
        "new_device.opening",
        when=letter.moment(when),
        address=letter.place(address),
        device=letter.device(device),
    )
    return letter.say("frame.not_you").sealed("new_device.subject")


def reuse_mail(to: str, language: str, device: str, when: datetime) -> MailText:
    """Tells a user that a stolen or repeated token has ended one of their sessions."""
    letter = Letter(to, language)
    letter.say("session_reuse.opening", device=letter.device(device), when=letter.moment(when))
    return letter.say("session_reuse.closing").sealed("session_reuse.subject")


def factor_changed_mail(
    to: str,
    language: str,
    what: str,
    address: str,
    when: datetime,
    *,
    codes_left: int | None = None,
) -> MailText:
    """Tells a user what has happened to their second factor or their passkeys.

    ``what`` is ``added``, ``removed``, ``codes_renewed``, ``code_used``, ``blocked``,
    ``passkey_added`` or ``passkey_removed``.
    """
    letter = Letter(to, language)
    letter.say(
        "factor.happened",
        what=letter.word(f"factor.{what}.what"),
        when=letter.moment(when),
        address=letter.place(address),
        follows=letter.word(f"factor.{what}.follows"),
    )
    if codes_left is not None:
        letter.say("factor.codes_left", codes_left=codes_left)
    return letter.say("frame.not_you").sealed(f"factor.{what}.subject")


def identity_mail(
    to: str, language: str, what: str, provider: str, address: str, when: datetime
) -> MailText:
    """Tells a user that an identity was ``linked`` to their account or ``unlinked`` from it."""
    letter, title = Letter(to, language), provider.capitalize()
    letter.say(
        f"identity.{what}.happened",
        provider=title,
        when=letter.moment(when),
        address=letter.place(address),
    )
    return letter.say("frame.not_you").sealed(f"identity.{what}.subject", provider=title)


def code_mail(to: str, language: str, code: str, minutes: int) -> MailText:
    """Brings a one-time code that is good for some minutes."""
    letter = Letter(to, language).say("code.opening").code(code)
    return letter.say("code.closing", minutes=minutes).sealed("code.subject")


def code_text(language: str, code: str, minutes: int) -> str:
    """The same as a text message."""
    return catalogue_for(language).say("code.text", code=code, minutes=minutes)


def magic_link_mail(
    to: str, language: str, public_url: str, token: str, address: str, when: datetime, minutes: int
) -> MailText:
    """Brings a link that signs in."""
    letter = Letter(to, language)
    letter.say("magic_link.opening", when=letter.moment(when), address=letter.place(address))
    letter.link(public_url, "sign-in", token)
    return letter.say("magic_link.closing", minutes=minutes).sealed("magic_link.subject")


def phone_changed_mail(
    to: str, language: str, phone: str, address: str, when: datetime
) -> MailText:
    """Tells a user that their account has another number, of which the last digits are shown."""
    letter = Letter(to, language)
    letter.say(
        "phone_changed.opening",
        when=letter.moment(when),
        address=letter.place(address),
        ending=phone[-3:],
    )
    return letter.say("frame.not_you").sealed("phone_changed.subject")


def invite_mail(to: str, language: str, public_url: str, token: str, inviter: str = "") -> MailText:
    """Invites somebody to the account that staff made for their address; ``inviter`` is the name of
    who did, where it is to be told."""
    letter = Letter(to, language)
    if inviter:
        letter.say("invite.by_somebody", inviter=one_line(inviter))
    else:
        letter.say("invite.by_staff")
    letter.link(public_url, "accept-invite", token)
    return letter.say("invite.closing").sealed("invite.subject")


def approved_mail(to: str, language: str, public_url: str) -> MailText:
    """Tells somebody who signed up that staff have approved it."""
    letter = Letter(to, language).say("approved.opening").home(public_url)
    return letter.say("approved.closing").sealed("approved.subject")


def rejected_mail(to: str, language: str, reason: str) -> MailText:
    """Tells somebody who signed up that staff have rejected it, and why."""
    letter = Letter(to, language).say("rejected.opening").quote(one_line(reason, 500))
    return letter.sealed("rejected.subject")


def account_suspended_mail(
    to: str, language: str, until: datetime | None, reason: str = ""
) -> MailText:
    """Tells a user that their account is suspended, until when if that is known, and why."""
    letter = Letter(to, language)
    if until is None:
        letter.say("account.suspended.open")
    else:
        letter.say("account.suspended.until", when=letter.moment(until))
    return _reasoned(letter, reason).sealed("account.suspended.subject")


def account_reinstated_mail(to: str, language: str, public_url: str) -> MailText:
    """Tells a user that their account can be used again."""
    letter = Letter(to, language).say("account.reinstated.opening").home(public_url)
    return letter.sealed("account.reinstated.subject")


def account_banned_mail(to: str, language: str, reason: str = "") -> MailText:
    """Tells a user that their account is barred for good, and why."""
    letter = Letter(to, language).say("account.banned.opening")
    return _reasoned(letter, reason).sealed("account.banned.subject")


def account_deleted_mail(to: str, language: str, purge: datetime, *, by_owner: bool) -> MailText:
    """Tells a user that their account was deleted, when it will be gone for good, and, if they did
    it themselves, how to have it back."""
    letter = Letter(to, language)
    letter.say("account.deleted.opening", when=letter.moment(purge))
    if by_owner:
        letter.say("account.deleted.by_owner")
    return letter.sealed("account.deleted.subject")


def account_restored_mail(to: str, language: str, public_url: str) -> MailText:
    """Tells a user that the deletion of their account was undone."""
    letter = Letter(to, language).say("account.restored.opening").home(public_url)
    return letter.sealed("account.restored.subject")


def _reasoned(letter: Letter, reason: str) -> Letter:
    return letter.say("account.reason", reason=one_line(reason, 500)) if reason else letter

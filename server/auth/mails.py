"""The mails of auth, as text and as simple HTML. A token stands in its link and alone on a line
that begins with ``Token:``; links carry it in the fragment, which browsers send to no server."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from textwrap import fill


@dataclass(frozen=True, slots=True)
class MailText:
    """What a mail says, and to whom."""

    to: str
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class WaitingSignUp:
    """A sign-up that waits for its address, with the token that proves it."""

    token: str
    name: str
    address: str
    asked: datetime


def verification_mail(to: str, public_url: str, waiting: Sequence[WaitingSignUp]) -> MailText:
    """Asks the owner of an address to prove it. Where several sign-ups wait, each is told with its
    name, time and network address, so that the owner picks the one that is theirs."""
    paragraphs = ["Somebody, most likely you, signed up to Greenroom with this address."]
    if len(waiting) > 1:
        paragraphs.append(
            f"{len(waiting)} sign-ups wait for it, newest first. Confirm only the one that is"
            " yours: its password becomes the password of the account."
        )
    for sign_up in waiting:
        paragraphs.append(
            f"Signed up as {_one_line(sign_up.name)} at {_shown(sign_up.asked)}"
            f" from {sign_up.address or 'an unknown address'}. To confirm it, open"
        )
        paragraphs.append(_link(public_url, "verify-email", sign_up.token))
        paragraphs.append(f"Token: {sign_up.token}")
    paragraphs.append(
        "This can be done for 24 hours. If you did not sign up, do nothing: without your"
        " confirmation there is no account."
    )
    return _mail(to, "Confirm your address", paragraphs)


def taken_mail(to: str, public_url: str) -> MailText:
    """Tells the owner of an account that somebody tried to sign up with its address."""
    return _mail(
        to,
        "You already have an account",
        [
            "Somebody tried to sign up to Greenroom with this address, which has an account.",
            "If it was you, log in instead:",
            f"{public_url.rstrip('/')}/",
            "If it was not you, there is nothing to do: nothing has changed.",
        ],
    )


def reuse_mail(to: str, device: str, when: datetime) -> MailText:
    """Tells a user that a stolen or repeated token has ended one of their sessions."""
    named = f" on {_one_line(device)}" if device else ""
    return _mail(
        to,
        "A session was ended for your safety",
        [
            f"A token of your Greenroom session{named} was used a second time at {_shown(when)}."
            " That happens when somebody has copied it, so the session and all its tokens have"
            " been ended.",
            "Log in again to go on. If you did not expect this, change your password.",
        ],
    )


def _mail(to: str, subject: str, paragraphs: Sequence[str]) -> MailText:
    text = "\n\n".join(["Hello,", *(_wrapped(part) for part in paragraphs), "Greenroom"]) + "\n"
    body = "\n".join(f"<p>{_marked_up(part)}</p>" for part in ["Hello,", *paragraphs, "Greenroom"])
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(subject)}</title></head>\n<body>\n{body}\n</body></html>\n"
    )
    return MailText(to=to, subject=subject, text=text, html=html)


def _wrapped(paragraph: str) -> str:
    """A paragraph of text in short lines; links and tokens stay whole."""
    return fill(paragraph, 72, break_long_words=False, break_on_hyphens=False)


def _marked_up(paragraph: str) -> str:
    safe = escape(paragraph)
    if paragraph.startswith(("http://", "https://")):
        return f'<a href="{safe}">{safe}</a>'
    if paragraph.startswith("Token: "):
        return f"Token: <code>{safe.removeprefix('Token: ')}</code>"
    return safe


def _link(public_url: str, page: str, token: str) -> str:
    return f"{public_url.rstrip('/')}/{page}#token={token}"


def _shown(moment: datetime) -> str:
    return moment.strftime("%d %B %Y %H:%M UTC")


def _one_line(text: str) -> str:
    """A name that somebody else chose, unable to forge a line or a link of the mail."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return '"' + " ".join(shown.replace(":", " ").replace('"', "'").split())[:100] + '"'

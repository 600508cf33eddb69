"""Makes the text and the HTML of a mail out of its parts, by the templates in ``templates/``."""

import re
from dataclasses import dataclass
from datetime import datetime
from textwrap import fill
from typing import Self

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from server.auth.mails.catalogues import catalogue_for


@dataclass(frozen=True, slots=True)
class MailText:
    """What a mail says, and to whom."""

    to: str
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Part:
    """A paragraph, a link, a token or a code, as ``kind`` says."""

    kind: str
    text: str


class Letter:
    """A mail while it is put together, in the language of its reader. Each call adds a part."""

    def __init__(self, to: str, language: str) -> None:
        self._to = to
        self._catalogue = catalogue_for(language)
        self._parts: list[Part] = []

    def say(self, key: str, **values: object) -> Self:
        """A paragraph out of the catalogue."""
        return self.quote(self.word(key, **values))

    def quote(self, text: str) -> Self:
        """A paragraph that stands as it is."""
        return self._add("paragraph", text)

    def link(self, public_url: str, page: str, token: str) -> Self:
        """The link that opens a page with a token, and the token. The link carries it in the
        fragment, which browsers send to no server; the token stands alone on a line as well."""
        self._add("link", f"{public_url.rstrip('/')}/{page}#token={token}")
        return self._add("token", token)

    def home(self, public_url: str) -> Self:
        """A link to the page where people log in."""
        return self._add("link", f"{public_url.rstrip('/')}/log-in")

    def code(self, code: str) -> Self:
        """A code to be typed, alone on a line."""
        return self._add("code", code)

    def word(self, key: str, **values: object) -> str:
        """A sentence of the catalogue, to be part of another."""
        return self._catalogue.say(key, **values)

    def place(self, address: str) -> str:
        """A network address, or that there is none."""
        return address or self.word("frame.unknown_address")

    def device(self, name: str) -> str:
        """The name of a device, or that there is none."""
        return one_line(name) if name else self.word("frame.unknown_device")

    def moment(self, moment: datetime) -> str:
        """A time, as the reader's language writes it."""
        return self._catalogue.moment(moment)

    def sealed(self, subject: str, **values: object) -> MailText:
        """The mail, under the subject of this key."""
        titled = self.word(subject, **values)
        content = {
            "language": self._catalogue.language,
            "subject": titled,
            "greeting": self.word("frame.greeting"),
            "parts": self._parts,
            "signature": self.word("frame.signature"),
        }
        return MailText(
            to=self._to,
            subject=titled,
            text=_TEXT.render(content),
            html=_HTML.render(content),
        )

    def _add(self, kind: str, text: str) -> Self:
        self._parts.append(Part(kind, text))
        return self


_DOT_OF_A_NAME = re.compile(r"([.．。｡])(?=[^\W\d_])")
"""A dot right before a letter, in the forms that domains may be written with."""


def one_line(text: str, most: int = 100) -> str:
    """What somebody else chose to be called, unable to forge a line or a link of the mail: a bare
    domain would be made a link of by the program that shows the mail."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    shown = _DOT_OF_A_NAME.sub(r"\1 ", shown)
    return '"' + " ".join(shown.replace(":", " ").replace('"', "'").split())[:most] + '"'


def _wrapped(paragraph: str) -> str:
    return fill(paragraph, 72, break_long_words=False, break_on_hyphens=False)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("server.auth.mails"),
        autoescape=select_autoescape(["html.j2"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["wrapped"] = _wrapped
    return environment


_ENVIRONMENT = _environment()
_TEXT = _ENVIRONMENT.get_template("mail.txt.j2")
_HTML = _ENVIRONMENT.get_template("mail.html.j2")

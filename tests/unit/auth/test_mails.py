"""What mails say, in which language, and what a stranger's input cannot make them say."""

import re
import string
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from server.auth import mails
from server.auth.mails import MailText, WaitingSignUp, reuse_mail, verification_mail
from server.auth.mails.catalogues import CATALOGUES, catalogue_for

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TOKEN = "grv_" + "A" * 43
TO = "ada@example.com"
URL = "http://localhost:8080"
FROM = "203.0.113.7"


def _waiting(name: str, token: str = TOKEN) -> WaitingSignUp:
    return WaitingSignUp(token=token, name=name, address=FROM, asked=NOW)


EVERY_MAIL: dict[str, Callable[[str], MailText]] = {
    "verification": lambda to: verification_mail(TO, to, URL, [_waiting("Ada"), _waiting("Eve")]),
    "taken": lambda to: mails.taken_mail(TO, to, URL),
    "reset": lambda to: mails.reset_mail(TO, to, URL, TOKEN, FROM, NOW),
    "password_changed": lambda to: mails.password_changed_mail(TO, to, "", NOW),
    "confirm_email": lambda to: mails.confirm_email_mail(TO, to, URL, TOKEN),
    "email_change_asked": lambda to: mails.email_change_asked_mail(TO, to, "b@x.y", FROM, NOW),
    "email_changed": lambda to: mails.email_changed_mail(TO, to, "b@x.y", NOW),
    "new_device": lambda to: mails.new_device_mail(TO, to, "Firefox", FROM, NOW),
    "reuse": lambda to: reuse_mail(TO, to, "", NOW),
    **{
        what: lambda to, what=what: mails.factor_changed_mail(TO, to, what, FROM, NOW, codes_left=3)
        for what in (
            "added",
            "removed",
            "codes_renewed",
            "code_used",
            "blocked",
            "passkey_added",
            "passkey_removed",
        )
    },
    "linked": lambda to: mails.identity_mail(TO, to, "linked", "google", FROM, NOW),
    "unlinked": lambda to: mails.identity_mail(TO, to, "unlinked", "google", FROM, NOW),
    "code": lambda to: mails.code_mail(TO, to, "123456", 10),
    "invite": lambda to: mails.invite_mail(TO, to, URL, TOKEN, "Bob"),
    "invite by staff": lambda to: mails.invite_mail(TO, to, URL, TOKEN),
    "approved": lambda to: mails.approved_mail(TO, to, URL),
    "rejected": lambda to: mails.rejected_mail(TO, to, "Not a school."),
    "suspended": lambda to: mails.account_suspended_mail(TO, to, None, "Spam."),
    "suspended until": lambda to: mails.account_suspended_mail(TO, to, NOW),
    "reinstated": lambda to: mails.account_reinstated_mail(TO, to, URL),
    "banned": lambda to: mails.account_banned_mail(TO, to, "Spam."),
    "deleted": lambda to: mails.account_deleted_mail(TO, to, NOW, by_owner=True),
    "restored": lambda to: mails.account_restored_mail(TO, to, URL),
}
WITH_TOKEN = {"verification", "reset", "confirm_email", "invite", "invite by staff"}


class _Reader(HTMLParser):
    """Collects what a reader of the HTML sees, and the links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen = ""
        self.links: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.seen += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"html", "head", "meta", "title", "body", "p", "a", "code"}
        self.links += [value or "" for name, value in attrs if name == "href"]


def _words(text: str) -> list[str]:
    return re.sub(r"\s+", " ", text).strip().split(" ")


@pytest.mark.parametrize("language", sorted(CATALOGUES))
@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_text_and_html_say_the_same_in_each_language(kind: str, language: str) -> None:
    mail = EVERY_MAIL[kind](language)
    reader = _Reader(mail.html)
    assert _words(mail.subject + " " + mail.text) == _words(reader.seen)
    assert f'<html lang="{language}">' in mail.html
    assert mail.to == TO
    assert "{" not in mail.subject + mail.text
    assert max(len(line) for line in mail.text.splitlines() if "://" not in line) <= 72


@pytest.mark.parametrize("language", sorted(CATALOGUES))
@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_a_token_stands_alone_on_a_line_and_in_the_fragment_of_a_link(
    kind: str, language: str
) -> None:
    mail = EVERY_MAIL[kind](language)
    tokens = [line for line in mail.text.splitlines() if line.startswith("Token:")]
    assert (tokens != []) == (kind in WITH_TOKEN)
    assert set(tokens) <= {f"Token: {TOKEN}"}
    links = [link for link in _Reader(mail.html).links if "token" in link]
    assert len(links) == len(tokens)
    for link in links:
        assert link in mail.text.splitlines()
        before, _, fragment = link.partition("#")
        assert TOKEN not in before and fragment == f"token={TOKEN}"


def test_the_pages_that_the_links_open() -> None:
    pages = {
        kind: _Reader(EVERY_MAIL[kind]("en").html).links[0].partition("#")[0] for kind in WITH_TOKEN
    }
    assert pages == {
        "verification": f"{URL}/verify-email",
        "confirm_email": f"{URL}/verify-email",
        "reset": f"{URL}/reset-password",
        "invite": f"{URL}/accept-invite",
        "invite by staff": f"{URL}/accept-invite",
    }


def test_a_code_stands_alone_on_a_line() -> None:
    for language in CATALOGUES:
        assert "Code: 123456" in EVERY_MAIL["code"](language).text.splitlines()


def test_every_language_has_the_same_sentences_with_the_same_names() -> None:
    def shape(language: str) -> dict[str, set[str]]:
        return {
            key: {name for _, name, _, _ in string.Formatter().parse(sentence) if name}
            for key, sentence in CATALOGUES[language].sentences.items()
        }

    english = shape("en")
    assert set(CATALOGUES) >= {"en", "de"}
    for language in CATALOGUES:
        assert shape(language) == english


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("", "en"),
        ("en-GB", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("DE_ch", "de"),
        ("tlh", "en"),
        ("../../etc", "en"),
    ],
)
def test_the_language_is_that_of_the_setting_and_english_otherwise(tag: str, language: str) -> None:
    assert catalogue_for(tag).language == language


def test_times_are_written_as_the_language_writes_them() -> None:
    assert catalogue_for("en").moment(NOW) == "1 May 2026 12:00 UTC"
    assert catalogue_for("de").moment(NOW.replace(month=3)) == "1. März 2026, 12:00 UTC"


def test_several_sign_ups_are_told_apart() -> None:
    waiting = [_waiting("Ada", "grv_one"), _waiting("Mallory", "grv_two")]
    mail = verification_mail(TO, "en", URL, waiting)
    lines = mail.text.splitlines()
    assert lines.index("Token: grv_one") < lines.index("Token: grv_two")
    assert '"Ada"' in mail.text and '"Mallory"' in mail.text and FROM in mail.text


@pytest.mark.parametrize(
    "name",
    [
        "win at evil.example",
        "www.evil.example/?x",
        "evil．example",
        "evil。example",
        "a@evil.example",
    ],
)
def test_a_name_is_not_taken_for_a_link(name: str) -> None:
    """Programs that show mails make links of bare domains, and whoever signs up with an address
    chooses what its owner reads."""
    for mail in (
        verification_mail(TO, "en", URL, [_waiting(name)]),
        mails.new_device_mail(TO, "en", name, FROM, NOW),
        mails.reuse_mail(TO, "en", name, NOW),
    ):
        for said in (mail.text, mail.html):
            assert "evil" in said
            assert not re.search(r"evil[.．。｡]\w", said) and "www.evil" not in said
    harmless = verification_mail(TO, "en", URL, [_waiting("J.R.R. Tolkien 5.0 St. Ives")])
    assert '"J. R. R. Tolkien 5.0 St. Ives"' in harmless.text


@pytest.mark.parametrize("padding", range(80))
def test_a_name_forges_neither_a_line_nor_a_link_nor_markup(padding: int) -> None:
    name = (
        "x" * padding
        + '\nToken: grv_evil\nhttps://evil.example/ <script>"</script> {name} {{ 7*7 }}'
    )
    for mail in (
        verification_mail(TO, "en", URL, [_waiting(name)]),
        mails.invite_mail(TO, "en", URL, TOKEN, name),
        mails.new_device_mail(TO, "en", name, FROM, NOW),
        mails.account_banned_mail(TO, "en", name),
        mails.rejected_mail(TO, "en", name),
    ):
        tokens = [line for line in mail.text.splitlines() if line.startswith("Token:")]
        assert set(tokens) <= {f"Token: {TOKEN}"}
        assert "https://evil" not in mail.text
        assert "<script>" not in mail.html
        assert "49" not in mail.text
        assert mail.html.count("<a ") == len(tokens)

"""What mails say, and what a stranger's input cannot make them say."""

from datetime import UTC, datetime

import pytest

from server.auth.mails import WaitingSignUp, reuse_mail, taken_mail, verification_mail

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TOKEN = "grv_" + "A" * 43


def _waiting(name: str, token: str = TOKEN) -> WaitingSignUp:
    return WaitingSignUp(token=token, name=name, address="203.0.113.7", asked=NOW)


def test_the_token_stands_alone_on_a_line_and_in_the_fragment_of_a_link() -> None:
    mail = verification_mail("ada@example.com", "http://localhost:8080/", [_waiting("Ada")])
    assert f"Token: {TOKEN}" in mail.text.splitlines()
    assert f"http://localhost:8080/verify-email#token={TOKEN}" in mail.text.splitlines()
    assert f'href="http://localhost:8080/verify-email#token={TOKEN}"' in mail.html
    assert mail.to == "ada@example.com"


def test_several_sign_ups_are_told_apart() -> None:
    mail = verification_mail(
        "ada@example.com",
        "http://localhost:8080",
        [_waiting("Ada", "grv_one"), _waiting("Mallory", "grv_two")],
    )
    lines = mail.text.splitlines()
    assert lines.index("Token: grv_one") < lines.index("Token: grv_two")
    assert '"Ada"' in mail.text and '"Mallory"' in mail.text and "203.0.113.7" in mail.text


@pytest.mark.parametrize("padding", range(80))
def test_a_name_forges_neither_a_line_nor_a_link_nor_markup(padding: int) -> None:
    name = "x" * padding + '\nToken: grv_evil\nhttps://evil.example/ <script>"</script>'
    mail = verification_mail("ada@example.com", "http://localhost:8080", [_waiting(name)])
    assert [line for line in mail.text.splitlines() if line.startswith("Token:")] == [
        f"Token: {TOKEN}"
    ]
    assert "https://evil" not in mail.text
    assert "<script>" not in mail.html
    assert mail.html.count("<a ") == 1


def test_the_other_mails_hold_no_token() -> None:
    for mail in (
        taken_mail("ada@example.com", "http://localhost:8080"),
        reuse_mail("ada@example.com", "Ada's phone", NOW),
    ):
        assert "Token:" not in mail.text + mail.html
        assert mail.subject and mail.text and mail.html

"""Which code is worth what."""

import base64
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.mails import factor_changed_mail
from server.auth.rules import (
    MFA_CODE_LIMIT,
    Tally,
    assurance_of,
    counted,
    fold_backup_code,
    is_multi_factor,
    matched_step,
    new_backup_code,
    step_of,
    tells_by_mail,
    wait_of,
)

NOW = datetime(2026, 7, 1, 12, 0, 7, tzinfo=UTC)
STEP = step_of(NOW)


def code_at(step: int) -> str:
    return f"{step % 1_000_000:06}"


@pytest.mark.parametrize(
    ("secret", "seconds", "code"),
    [
        # RFC 6238, appendix B, the last six digits of the SHA-1 rows.
        ("12345678901234567890", 59, "287082"),
        ("12345678901234567890", 1111111109, "081804"),
        ("12345678901234567890", 1111111111, "050471"),
        ("12345678901234567890", 1234567890, "005924"),
        ("12345678901234567890", 2000000000, "279037"),
        ("12345678901234567890", 20000000000, "353130"),
    ],
)
def test_the_codes_are_those_of_the_standard(secret: str, seconds: int, code: str) -> None:
    app = pyotp.TOTP(base64.b32encode(secret.encode()).decode())
    moment = datetime.fromtimestamp(seconds, UTC)
    assert matched_step(code, moment, None, app.generate_otp) == step_of(moment)


def test_the_present_step_and_the_one_before_count() -> None:
    found = [matched_step(code_at(STEP + n), NOW, None, code_at) for n in range(-3, 4)]
    assert found == [None, None, STEP - 1, STEP, None, None, None]


@given(used=st.integers(-3, 3), given_step=st.integers(-3, 3))
def test_no_step_counts_that_is_not_later_than_the_last_used(used: int, given_step: int) -> None:
    found = matched_step(code_at(STEP + given_step), NOW, STEP + used, code_at)
    good = given_step in (-1, 0) and given_step > used
    assert found == (STEP + given_step if good else None)


def test_a_code_that_two_steps_share_uses_up_both() -> None:
    assert matched_step("123456", NOW, None, lambda _step: "123456") == STEP
    assert matched_step("123456", NOW, STEP, lambda _step: "123456") is None


def test_steps_last_half_a_minute() -> None:
    start = datetime(2026, 7, 1, tzinfo=UTC)
    assert step_of(start + timedelta(seconds=29.999999)) == step_of(start)
    assert step_of(start + timedelta(seconds=30)) == step_of(start) + 1


def test_backup_codes_differ_and_are_forgiving_of_their_typing() -> None:
    codes = {new_backup_code() for _ in range(1000)}
    assert len(codes) == 1000
    for code in codes:
        assert len(code) == 11 and fold_backup_code(code) == code.replace("-", "")
        assert not set(code) & set("ILOU")
    assert fold_backup_code(" o1l i0-abcde ") == "01110ABCDE"


@pytest.mark.parametrize(
    ("methods", "level"),
    [
        (["password"], 1),
        (["otp"], 1),
        (["google", "password"], 1),
        (["password", "totp"], 2),
        (["google", "backup_code"], 2),
        (["passkey"], 2),
    ],
)
def test_two_factors_make_the_second_level(methods: list[str], level: int) -> None:
    assert assurance_of(methods) == level


def test_only_a_passkey_is_two_factors_in_itself() -> None:
    ways = ("password", "otp", "google", "discord", "passkey")
    assert [way for way in ways if is_multi_factor(way)] == ["passkey"]


def test_guesses_stay_few_and_no_lock_stays() -> None:
    """Whoever guesses as soon as they may, for a week."""
    tally, now, guesses = Tally(), NOW, []
    while now < NOW + timedelta(days=7):
        wait = wait_of(tally, now)
        assert wait <= 3600
        now += timedelta(seconds=wait)
        tally = counted(tally, now, MFA_CODE_LIMIT)
        guesses.append(now)
    for start in guesses:
        day = [guess for guess in guesses if start <= guess < start + timedelta(days=1)]
        assert len(day) <= 35
    # Two factors, two steps each: the chance of a day of guessing.
    assert 35 * 4 / 10**6 < 2e-4


def test_slow_guessing_is_not_forgotten_either() -> None:
    tally, now = Tally(), NOW
    for _ in range(5):
        assert wait_of(tally, now) == 0
        tally = counted(tally, now, MFA_CODE_LIMIT)
        now += timedelta(hours=23)
    assert tally.failures == 5


def test_the_user_is_told_of_the_first_wait_and_then_seldom() -> None:
    assert [number for number in range(1, 40) if tells_by_mail(number)] == [5, 15, 25, 35]


@pytest.mark.parametrize("news", ["added", "removed", "codes_renewed", "code_used", "blocked"])
def test_every_piece_of_news_has_its_mail(news: str) -> None:
    mail = factor_changed_mail("ada@example.com", "en", news, "203.0.113.7", NOW, codes_left=3)
    assert "203.0.113.7" in mail.text and "July 2026" in " ".join(mail.text.split())
    assert "3" in mail.text and mail.subject in mail.html

"""The rules of one-time codes and of numbers."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.errors import PhoneInvalid
from server.auth.rules import (
    OTP_GAP,
    OTP_LIMIT,
    OTPS_PER_HOUR,
    Tally,
    counted,
    fold_phone,
    new_code,
    otp_open,
    send_wait,
    wait_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_codes_have_six_digits_and_are_spread() -> None:
    codes = {new_code() for _ in range(2000)}
    assert all(len(code) == 6 and code.isdigit() for code in codes)
    assert len(codes) > 1900 and len({code[0] for code in codes}) == 10


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("+491701234567", "+491701234567"),
        ("+49 (0)170 / 123-45.67", "+491701234567"),
        ("+1 (202) 555-0123", "+12025550123"),
        ("+44 1234 567890", "+441234567890"),
        ("+39 06 6982", "+39066982"),
    ],
)
def test_numbers_are_folded(text: str, folded: str) -> None:
    assert fold_phone(text) == folded
    assert fold_phone(folded) == folded


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01701234567",
        "+",
        "+4917012",
        "+4917012345671234",
        "+999123456789",
        "+49900123456789012",
        "+449098790000",
        "+1202555012x",
        "+491701234567;ext=1",
    ],
)
def test_what_is_no_number_to_text_is_refused(text: str) -> None:
    with pytest.raises(PhoneInvalid):
        fold_phone(text)


@given(st.text(max_size=40))
def test_any_text_is_folded_or_refused(text: str) -> None:
    try:
        folded = fold_phone(text)
    except PhoneInvalid:
        return
    assert folded.startswith("+") and folded[1:].isdigit() and len(folded) <= 16


def test_a_code_is_open_until_it_is_used_or_old() -> None:
    end = NOW + timedelta(minutes=10)
    assert otp_open(consumed_at=None, expires_at=end, now=NOW)
    assert otp_open(consumed_at=None, expires_at=end, now=end - timedelta(microseconds=1))
    assert not otp_open(consumed_at=None, expires_at=end, now=end)
    assert not otp_open(consumed_at=NOW, expires_at=end, now=NOW)


def test_ten_wrong_codes_in_a_row_then_waits() -> None:
    tally, now, waits = Tally(), NOW, []
    for _ in range(14):
        tally = counted(tally, now, OTP_LIMIT)
        waits.append(wait_of(tally, now) / 60)
        now += timedelta(seconds=wait_of(tally, now))
    assert waits == [0] * 9 + [15, 30, 60, 60, 60]
    assert counted(tally, now + timedelta(days=1), OTP_LIMIT).failures == 1


@given(st.lists(st.integers(0, 7200), max_size=60))
def test_no_hour_has_more_than_five_and_no_minute_more_than_one(gaps: list[int]) -> None:
    now, sent = NOW, []
    for gap in gaps:
        now += timedelta(seconds=gap)
        wait = send_wait(sent, now, most=OTPS_PER_HOUR, gap=OTP_GAP)
        assert 0 <= wait <= 3600
        if wait > 0:
            later = now + timedelta(seconds=wait)
            assert send_wait(sent, later, most=OTPS_PER_HOUR, gap=OTP_GAP) == 0
            continue
        sent.append(now)
    for first, second in pairwise(sent):
        assert second - first >= OTP_GAP
    for first, sixth in zip(sent, sent[OTPS_PER_HOUR:], strict=False):
        assert sixth - first >= timedelta(hours=1)

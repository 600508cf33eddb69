"""The pure decisions: attempts, sends, sessions, refresh tokens, names."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.auth.rules import (
    ACCOUNT_LIMIT,
    Lifetimes,
    RefreshVerdict,
    Tally,
    after_send,
    counted,
    fold_email,
    fold_username,
    forgiven,
    may_act,
    name_for,
    network_of,
    plain_text,
    refresh_verdict,
    session_open,
    username_from,
    username_variant,
    wait_of,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GRACE = timedelta(seconds=10)
LIFETIMES = Lifetimes(
    access=timedelta(minutes=15),
    sliding=timedelta(days=30),
    absolute=timedelta(days=90),
    grace=GRACE,
)


def _tries(gaps: list[float]) -> tuple[int, Tally, datetime]:
    """How many of a row of tries are let through, each after a gap in seconds."""
    tally, now, through = Tally(), NOW, 0
    for gap in gaps:
        now += timedelta(seconds=gap)
        if wait_of(tally, now) == 0:
            tally = counted(tally, now, ACCOUNT_LIMIT)
            through += 1
    return through, tally, now


@given(st.text(max_size=80), st.uuids())
def test_a_made_up_user_name_is_one(name: str, account: UUID) -> None:
    made = username_from(name)
    for username in (made, username_variant(made, str(account))):
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,48}[a-z0-9]", username)
        assert fold_username(username) == username


@pytest.mark.parametrize(
    ("name", "username"),
    [
        ("Ada King", "ada.king"),
        ("  Žižek\t& Sons. ", "zizek.sons"),
        ("李雷", "user"),
        ("ab", "user"),
        ("", "user"),
        ("x" * 60, "x" * 50),
    ],
)
def test_a_user_name_is_made_of_a_name(name: str, username: str) -> None:
    assert username_from(name) == username


def test_five_tries_are_free_and_the_sixth_waits() -> None:
    through, tally, now = _tries([0.1] * 50)
    assert through == 5
    assert 50 < wait_of(tally, now) <= 60


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    tally, now, waits = Tally(), NOW, []
    for _ in range(12):
        tally = counted(tally, now, ACCOUNT_LIMIT)
        wait = wait_of(tally, now)
        waits.append(wait)
        now += timedelta(seconds=wait)
    assert waits == [0, 0, 0, 0, 60, 120, 240, 480, 900, 900, 900, 900]


def test_failures_below_the_limit_are_forgotten_after_a_quiet_quarter_of_an_hour() -> None:
    _, tally, now = _tries([0, 1, 1, 1])
    assert counted(tally, now + timedelta(minutes=15), ACCOUNT_LIMIT).failures == 1
    assert counted(tally, now + timedelta(minutes=14), ACCOUNT_LIMIT).failures == 5


def test_no_lock_stays() -> None:
    _, tally, now = _tries([0.1] * 1000)
    later = now + timedelta(hours=12)
    assert wait_of(tally, now + timedelta(minutes=15)) == 0
    assert counted(tally, later, ACCOUNT_LIMIT).failures == 1


@given(st.lists(st.floats(0, 4000), max_size=300))
def test_a_day_of_guessing_gets_about_a_hundred_tries(gaps: list[float]) -> None:
    through, _, now = _tries(gaps)
    hours = (now - NOW).total_seconds() / 3600
    # 5 at once and 4 an hour over the limit; below it 4 in every quiet quarter of an hour.
    assert through <= 9 + 20 * hours


def test_a_success_takes_one_try_back_from_a_shared_subject() -> None:
    assert forgiven(Tally(3, NOW, NOW)) == Tally(2, NOW, None)
    assert forgiven(Tally()).failures == 0


def test_mails_leave_once_a_minute_and_five_times_an_hour() -> None:
    recent: tuple[datetime, ...] = ()
    left = []
    for second in range(0, 7200, 20):
        now = NOW + timedelta(seconds=second)
        kept = after_send(recent, now, spaced=True)
        if kept is not None:
            left.append(second)
            recent = kept
    assert left == [0, 60, 120, 180, 240, 3600, 3660, 3720, 3780, 3840]


def test_a_sign_up_may_follow_another_within_the_minute() -> None:
    recent: tuple[datetime, ...] = ()
    for _ in range(5):
        kept = after_send(recent, NOW, spaced=False)
        assert kept is not None
        recent = kept
    assert after_send(recent, NOW, spaced=False) is None


@pytest.mark.parametrize(
    ("used", "expires", "verdict"),
    [
        (None, 1, RefreshVerdict.LIVE),
        (None, 0, RefreshVerdict.EXPIRED),
        (0, 100, RefreshVerdict.RETRY),
        (-9.999, 100, RefreshVerdict.RETRY),
        (-10, 100, RefreshVerdict.REUSED),
        (-100, -50, RefreshVerdict.REUSED),
    ],
)
def test_worth_of_a_refresh_token(
    used: float | None, expires: float, verdict: RefreshVerdict
) -> None:
    got = refresh_verdict(
        used_at=None if used is None else NOW + timedelta(seconds=used),
        expires_at=NOW + timedelta(seconds=expires),
        now=NOW,
        grace=GRACE,
    )
    assert got is verdict


def test_no_token_outlives_its_session() -> None:
    absolute_end = NOW + timedelta(days=90)
    assert LIFETIMES.session_end(NOW, absolute_end) == NOW + timedelta(days=30)
    near = absolute_end - timedelta(days=1)
    assert LIFETIMES.session_end(near, absolute_end) == absolute_end
    last = absolute_end - timedelta(minutes=1)
    assert LIFETIMES.access_end(last, absolute_end) == absolute_end
    assert LIFETIMES.access_end(NOW, absolute_end) == NOW + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("revoked", "sliding", "absolute", "is_open"),
    [(False, 1, 1, True), (True, 1, 1, False), (False, 0, 1, False), (False, 1, 0, False)],
)
def test_a_session_ends_three_ways(
    revoked: bool, sliding: int, absolute: int, is_open: bool
) -> None:
    assert (
        session_open(
            is_revoked=revoked,
            expires_at=NOW + timedelta(seconds=sliding),
            absolute_expires_at=NOW + timedelta(seconds=absolute),
            now=NOW,
        )
        is is_open
    )


def test_only_an_active_account_acts_and_a_suspension_ends_by_itself() -> None:
    assert may_act("ACTIVE", None, NOW)
    for status in ("PENDING", "BANNED", "DELETED"):
        assert not may_act(status, None, NOW)
    assert not may_act("SUSPENDED", None, NOW)
    assert not may_act("SUSPENDED", NOW + timedelta(seconds=1), NOW)
    assert may_act("SUSPENDED", NOW, NOW)


def test_identifiers_fold_to_one_form() -> None:
    assert fold_email("  Ada@Example.COM ") == "ada@example.com"
    assert fold_email("e\u0301@x.org") == fold_email("\u00c9@x.org")
    assert fold_username("ADA") == "ada"
    assert "\x00" not in fold_username("a\x00b")


def test_names_hold_no_control_characters() -> None:
    assert plain_text(" Ada\r\nBcc: x\x00 ") == "Ada  Bcc: x"
    assert name_for("", "ada@example.com") == "ada"
    assert name_for(" Ada ", "x@example.com") == "Ada"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("unix:", "unix:"),
    ],
)
def test_one_place_on_the_network(address: str, network: str) -> None:
    assert network_of(address) == network

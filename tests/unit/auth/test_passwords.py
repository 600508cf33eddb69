"""Passwords: folding, strength, and the same work for known and unknown accounts."""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from unicodedata import normalize

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.auth.errors import PasswordTooWeak
from server.auth.passwords import ALGORITHM, Passwords, Verdict, check_strength, folded
from server.core.hashing import HashPool

PASSWORD = "a green room behind the stage"


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    pool = HashPool(2, 8)
    yield Passwords(pool, 4)
    pool.close()


async def check(
    passwords: Passwords, password: str, stored: str | None, algorithm: str = ALGORITHM
) -> Verdict:
    with passwords.place() as place:
        return await passwords.check(place, password, stored, algorithm)


async def test_a_password_opens_its_hash_and_no_other(passwords: Passwords) -> None:
    stored = await passwords.accept(PASSWORD, ())
    assert (await check(passwords, PASSWORD, stored)).matches
    assert not (await check(passwords, PASSWORD + "s", stored)).matches
    assert not (await check(passwords, PASSWORD, stored, "plain")).matches


async def test_unknown_accounts_cost_one_hash_and_never_match(passwords: Passwords) -> None:
    before = passwords.hashes
    verdict = await check(passwords, "nobody's password", None)
    assert not verdict.matches
    assert passwords.hashes == before + 1


async def test_a_hash_of_another_cost_is_made_anew(passwords: Passwords) -> None:
    stored = bcrypt.hashpw(folded(PASSWORD), bcrypt.gensalt(5)).decode()
    verdict = await check(passwords, PASSWORD, stored)
    assert verdict.matches
    assert verdict.fresh is not None and verdict.fresh.startswith("$2b$04$")
    assert (await check(passwords, PASSWORD, verdict.fresh)).fresh is None
    assert (await check(passwords, "wrong", stored)).fresh is None


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_no_two_texts_fold_alike(one: str, other: str) -> None:
    alike = normalize("NFC", one) == normalize("NFC", other)
    assert (folded(one) == folded(other)) is alike


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_what_comes_after_72_bytes_or_a_nul_counts(one: str, other: str) -> None:
    for prefix in ("x" * 72, "x\x00"):
        stored = bcrypt.hashpw(folded(prefix + one), bcrypt.gensalt(4))
        alike = normalize("NFC", prefix + one) == normalize("NFC", prefix + other)
        assert bcrypt.checkpw(folded(prefix + other), stored) is alike


def test_both_compositions_of_a_text_are_one_password() -> None:
    assert folded("pa\u0301ssword") == folded("p\u00e1ssword")


def test_the_folded_form_fits_into_bcrypt() -> None:
    for password in ("x", "x" * 1024, "\U0001f600" * 256, "\x00" * 8):
        form = folded(password)
        assert len(form) == 44 and b"\x00" not in form


@pytest.mark.parametrize(
    "password",
    ["password", "12345678", "qwertyuiop", "iloveyou1", "letmein1!", "aaaaaaaaaaaa", "P@ssw0rd"],
)
def test_common_passwords_are_refused(password: str) -> None:
    with pytest.raises(PasswordTooWeak) as raised:
        check_strength(password, ())
    assert raised.value.violations[0].field == "password"


def test_what_is_known_of_its_owner_makes_a_password_weak() -> None:
    check_strength("brontosaurus7!", ())
    with pytest.raises(PasswordTooWeak):
        check_strength("ada.byron@example.com", ("ada.byron@example.com", "Ada"))


def test_the_error_does_not_tell_the_password() -> None:
    with pytest.raises(PasswordTooWeak) as raised:
        check_strength("sunshine", ())
    assert "sunshine" not in str(raised.value) + str(raised.value.metadata)


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "correct horse battery staple",
        "x9$kQ2!mZp",
        "пароль из слов",
        "Seven long sentences about nothing in particular. " * 20,
    ],
)
def test_good_passwords_are_taken(password: str) -> None:
    check_strength(password, ("ada@example.com", "Ada"))


def test_a_short_password_is_refused_by_its_folded_length() -> None:
    with pytest.raises(PasswordTooWeak):
        check_strength("e\u0301" * 7, ())


@pytest.mark.parametrize(
    "password", ["4@8({[<3€69!1|l0$5+7%2" * 40, "1a" * 500, "\u0301" * 900, "qwertyuiop" * 100]
)
def test_no_password_takes_long_to_rate(password: str) -> None:
    started = time.process_time()
    with suppress(PasswordTooWeak):
        check_strength(password, ())
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize("known", ["ada-106-18655@example.com", "a1@8(b[<3-69!|0$57+%2@x.example"])
def test_what_is_known_is_found_though_its_lookalikes_are_many(known: str) -> None:
    with pytest.raises(PasswordTooWeak):
        check_strength(known, [known])

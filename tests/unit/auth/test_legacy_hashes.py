"""Hashes of older systems: which are accepted, once, and what they cannot be talked into."""

import hashlib
import os

import bcrypt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from server.auth import passwords as passwords_module
from server.auth.legacy_hashes import matches_salted, salted
from server.auth.passwords import ALGORITHM, Passwords, folded
from server.core.hashing import HashPool

COST = 4
PAIRS = int(os.environ.get("PASSWORD_PAIRS", "100"))
"""Pairs of passwords that each property is tried with; `make soak-passwords` tries many more."""
PASSWORD = "correct horse battery staple"
SALT = "f00$bar"


def _digest(name: str, text: str) -> str:
    return hashlib.new(name, text.encode()).hexdigest()


STORED = {
    "bcrypt": bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode(),
    "sha256-salt-password": salted(SALT, _digest("sha256", SALT + PASSWORD)),
    "sha256-password-salt": salted(SALT, _digest("sha256", PASSWORD + SALT)),
    "sha512-salt-password": salted(SALT, _digest("sha512", SALT + PASSWORD).upper()),
    "sha512-password-salt": salted(SALT, _digest("sha512", PASSWORD + SALT)),
    "pbkdf2-sha256": salted(
        SALT, hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), SALT.encode(), 1000).hex(), 1000
    ),
    "pbkdf2-sha512": salted(
        SALT, hashlib.pbkdf2_hmac("sha512", PASSWORD.encode(), SALT.encode(), 1000, 32).hex(), 1000
    ),
}


@pytest.fixture(scope="module")
def passwords() -> Passwords:
    return Passwords(HashPool(1, 10), COST)


@pytest.mark.parametrize("algorithm", STORED)
def test_a_legacy_hash_is_verified_and_replaced(passwords: Passwords, algorithm: str) -> None:
    verdict = passwords._check(PASSWORD, STORED[algorithm], algorithm)
    assert verdict.matches and verdict.fresh is not None
    again = passwords._check(PASSWORD, verdict.fresh, ALGORITHM)
    assert again.matches and again.fresh is None


@pytest.mark.parametrize("algorithm", STORED)
@pytest.mark.parametrize("wrong", ["", "wrong", PASSWORD + " ", PASSWORD[:-1], SALT + PASSWORD])
def test_a_wrong_password_matches_none(passwords: Passwords, algorithm: str, wrong: str) -> None:
    verdict = passwords._check(wrong, STORED[algorithm], algorithm)
    assert (verdict.matches, verdict.fresh) == (False, None)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_the_marks_of_bcrypt_that_older_systems_wrote(passwords: Passwords, prefix: str) -> None:
    assert passwords._check(PASSWORD, prefix + STORED["bcrypt"][4:], "bcrypt").matches


@pytest.mark.parametrize("algorithm", STORED)
def test_the_column_says_which_scheme_it_is(passwords: Passwords, algorithm: str) -> None:
    """A text is never tried by another scheme than its own."""
    for other in (*STORED, ALGORITHM, "md5", ""):
        if other != algorithm and (other, algorithm) != (ALGORITHM, "bcrypt"):
            stored = STORED[algorithm]
            if other == ALGORITHM:
                stored = "$2b$04$" + "." * 53
            assert not passwords._check(PASSWORD, stored, other).matches


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "$",
        "$$",
        "$!!$00",
        "$Zm9v$zz",
        "-1$Zm9v$" + "0" * 64,
        "9999999$Zm9v$" + "0" * 64,
        "10$Zm9v$",
        "0$Zm9v$" + "0" * 64,
        "plain text",
        "$2b$99$" + "." * 53,
        "$2x$04$" + "." * 53,
        "\x00$Zm9v$00",
    ],
)
def test_a_damaged_text_matches_nothing_and_raises_nothing(
    passwords: Passwords, stored: str
) -> None:
    for algorithm in (*STORED, "unknown"):
        before = passwords.hashes
        assert not passwords._check(PASSWORD, stored, algorithm).matches
        assert passwords.hashes == before + 1


def test_an_empty_digest_is_not_a_match() -> None:
    assert not matches_salted("pbkdf2-sha256", "", salted("", "", 1))
    assert not matches_salted("sha256-salt-password", "", salted("", ""))


def _work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds of every bcrypt from now on."""
    rounds: list[int] = []
    real_check, real_hash = bcrypt.checkpw, bcrypt.hashpw

    def check(password: bytes, hashed: bytes) -> bool:
        rounds.append(2 ** int(hashed.split(b"$")[2]))
        return real_check(password, hashed)

    def hashed(password: bytes, salt: bytes) -> bytes:
        rounds.append(2 ** int(salt.split(b"$")[2]))
        return real_hash(password, salt)

    monkeypatch.setattr(passwords_module.bcrypt, "checkpw", check)
    monkeypatch.setattr(passwords_module.bcrypt, "hashpw", hashed)
    return rounds


def test_a_wrong_password_costs_the_same_rounds_whatever_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passwords = Passwords(HashPool(1, 10), 7)
    rounds = _work(monkeypatch)
    ours = bcrypt.hashpw(folded(PASSWORD), bcrypt.gensalt(5)).decode()
    cases = [(None, ALGORITHM), (ours, ALGORITHM), ("", "unknown")]
    cases += [(stored, algorithm) for algorithm, stored in STORED.items()]
    for stored, algorithm in cases:
        for wrong in ("wrong", "x" * 100, "a\0b"):
            rounds.clear()
            before = passwords.hashes
            assert not passwords._check(wrong, stored, algorithm).matches
            assert (sum(rounds), passwords.hashes - before) == (2**7, 1), algorithm


_tails = st.text(alphabet=st.characters(codec="utf-8"), max_size=40)


@settings(max_examples=PAIRS, deadline=None)
@given(
    prefix=st.text(alphabet=st.characters(codec="ascii"), min_size=72, max_size=72),
    first=_tails,
    second=_tails,
)
def test_passwords_that_share_72_bytes_never_open_each_other(
    prefix: str, first: str, second: str
) -> None:
    assume(folded(prefix + first) != folded(prefix + second))
    _never_cross(prefix + first, prefix + second)


@settings(max_examples=PAIRS, deadline=None)
@given(head=st.text(alphabet="abc", max_size=5), first=_tails, second=_tails)
def test_passwords_that_share_what_comes_before_a_nul_never_open_each_other(
    head: str, first: str, second: str
) -> None:
    assume(folded(f"{head}\0{first}") != folded(f"{head}\0{second}"))
    _never_cross(f"{head}\0{first}", f"{head}\0{second}")
    _never_cross(f"{head}\0{first}", head)
    _never_cross(f"{head}\0{head}", head)


def _never_cross(first: str, second: str) -> None:
    passwords = _SHARED
    stored = passwords._hash(first)
    assert passwords._check(first, stored, ALGORITHM).matches
    assert not passwords._check(second, stored, ALGORITHM).matches
    # What an older bcrypt, which cut at 72 bytes and at a NUL, would have stored of the first.
    cut = first.encode()[:72].split(b"\0")[0]
    legacy = bcrypt.hashpw(cut, bcrypt.gensalt(COST)).decode()
    both = [passwords._check(text, legacy, "bcrypt").matches for text in (first, second)]
    assert sum(both) <= 1


_SHARED = Passwords(HashPool(1, 10), COST)


@pytest.mark.parametrize("length", [64, 65, 72, 73, 128, 1024])
def test_long_passwords_are_whole(passwords: Passwords, length: int) -> None:
    password = ("pass phrase " * 90)[:length]
    stored = passwords._hash(password)
    assert passwords._check(password, stored, ALGORITHM).matches
    assert not passwords._check(password[:-1], stored, ALGORITHM).matches
    assert not passwords._check(password + "x", stored, ALGORITHM).matches

"""Resume tokens hold positions and belong to one user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.chat.errors import ResumeTokenInvalid
from server.chat.resume import ResumeTokens
from server.chat.rules import STREAM_CHANNELS, Cursor, Resumed
from server.core.ids import new_id
from server.core.sealing import Keyring

TOKENS = ResumeTokens(Keyring({"k": b"k" * 32}), lambda: 1_800_000_000)
POSITIONS = st.dictionaries(
    st.uuids().map(str),
    st.tuples(*(st.integers(least, 2**63 - 1) for least in (1, 0, 0))),
    max_size=20,
)


@given(POSITIONS, st.booleans())
def test_what_is_put_in_comes_out(
    positions: dict[str, tuple[int, int, int]], follows: bool
) -> None:
    token = TOKENS.make("u", [(key, *value) for key, value in positions.items()], follows=follows)
    expected = {key: Cursor(*value) for key, value in positions.items()}
    assert TOKENS.read("u", token) == Resumed(expected, follows, 1_800_000_000)


def test_the_largest_token_fits_its_field() -> None:
    positions = [(new_id(), 3, 10_000_000 + number, 1_000_000) for number in range(STREAM_CHANNELS)]
    assert len(TOKENS.make("u" * 36, positions, follows=True)) <= 20480


@pytest.mark.parametrize("token", ["x", "k.", "k.AAAA", "other.AAAA", "k." + "A" * 80])
def test_what_was_not_made_here_is_refused(token: str) -> None:
    with pytest.raises(ResumeTokenInvalid) as caught:
        TOKENS.read("u", token)
    assert caught.value.violations[0].field == "resume_token"


def test_somebody_elses_token_is_refused() -> None:
    token = TOKENS.make("one", [], follows=True)
    with pytest.raises(ResumeTokenInvalid):
        TOKENS.read("two", token)

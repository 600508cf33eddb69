"""Tokens of providers, secrets of second factors and successors of refresh tokens as they lie in their rows:
none opens in another row, for another user or with a bit changed (A-12)."""

from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from server.auth.issuing import TokenIssuer
from server.auth.keys import SigningKey, SigningKeys
from server.auth.models import Identity, MfaFactor, RefreshToken
from server.auth.rules import Lifetimes
from server.auth.tokens import AccessTokens
from server.auth.usecases.provider_tokens import SEALED, open_token, seal_token
from server.auth.usecases.second_factors import seal_secret, uses_step
from server.core.clock import ManualClock
from server.core.ids import new_id, new_secret
from server.core.sealing import Keyring, SealBroken
from tests.support.forged_tokens import OURS

TOKENS = 1000
"""Tokens whose every bit is flipped."""

ROWS = 101
"""Each token is tried in every other row: 10,100 swaps."""

RING = Keyring({"k1": b"1" * 32})


def _identities() -> list[Identity]:
    rows = [Identity(id=new_id(), user=new_id()) for _ in range(ROWS)]
    for row in rows:
        seal_token(row, "access_token", f"canary-{row.id}", keyring=RING)
    return rows


def test_no_token_opens_in_another_row() -> None:
    rows = _identities()
    sealed = [row.access_token_enc for row in rows]
    opened = tries = 0
    for number, row in enumerate(rows):
        assert open_token(row, "access_token", keyring=RING) == f"canary-{row.id}"
        for other, text in enumerate(sealed):
            if other != number:
                row.access_token_enc = text
                opened += _opens(row, "access_token")
                tries += 1
    assert (tries, opened) == (ROWS * (ROWS - 1), 0)


def _opens(row: Identity, name: str) -> bool:
    try:
        open_token(row, name, keyring=RING)
    except SealBroken:
        return False
    return True


def test_no_token_opens_for_another_user_or_in_another_column() -> None:
    row = _identities()[0]
    for name in SEALED:
        if name != "access_token":
            setattr(row, f"{name}_enc", row.access_token_enc)
            assert not _opens(row, name)
    row.user_id = new_id()
    assert not _opens(row, "access_token")


def test_no_token_opens_with_a_bit_changed() -> None:
    opened = tries = 0
    for number in range(TOKENS):
        row = Identity(id=new_id(), user=new_id())
        seal_token(row, "refresh_token", f"canary-{number}", keyring=RING)
        text = row.refresh_token_enc or ""
        for index, sign in enumerate(text):
            for bit in range(8):
                row.refresh_token_enc = text[:index] + chr(ord(sign) ^ 1 << bit) + text[index + 1 :]
                opened += _opens(row, "refresh_token")
                tries += 1
    assert tries >= TOKENS * 400
    assert opened == 0


def test_a_secret_of_a_second_factor_is_its_rows() -> None:
    ada, eve = (MfaFactor(id=new_id(), user=new_id(), last_used_step=None) for _ in range(2))
    secret = pyotp.random_base32()
    eve.secret_enc = seal_secret(ada.id, ada.user_id, secret, RING)
    assert secret not in eve.secret_enc
    with pytest.raises(SealBroken):
        uses_step(_Unit(), eve, "000000", RING)  # type: ignore[arg-type]


class _Unit:
    now = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_successor_is_its_predecessors() -> None:
    clock = ManualClock(_Unit.now)
    keys = SigningKeys([SigningKey("ours", OURS, _Unit.now)])
    access = AccessTokens(keys, issuer="greenroom", audience="greenroom", clock=clock)
    issuer = TokenIssuer(access, RING, _lifetimes())
    session = new_id()
    spent, other = (RefreshToken(id=new_id(), session=session) for _ in range(2))
    secret = new_secret()
    spent.successor_sealed = other.successor_sealed = issuer.seal_successor(spent, secret)
    assert issuer.open_successor(spent) == secret
    with pytest.raises(SealBroken):
        issuer.open_successor(other)
    spent.session_id = new_id()
    with pytest.raises(SealBroken):
        issuer.open_successor(spent)


def _lifetimes() -> Lifetimes:
    day = timedelta(days=1)
    return Lifetimes(access=day, sliding=day, absolute=day, grace=day)

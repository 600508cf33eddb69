"""Access tokens: what we signed is taken, and nothing else is."""

import ast
import base64
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import server
from server.auth.keys import SigningKey, SigningKeys
from server.auth.tokens import AccessClaims, AccessTokens
from server.core.clock import ManualClock
from server.core.errors import CredentialsInvalid
from tests.support.forged_tokens import (
    CLAIMS,
    FORGED,
    HEADER,
    KEYS,
    NOW,
    OURS,
    SESSION,
    THEIRS,
    TOKEN,
    USER,
    signed,
)


def _tokens(now: datetime = NOW) -> AccessTokens:
    return AccessTokens(KEYS, issuer="greenroom", audience="greenroom", clock=ManualClock(now))


def test_the_table_is_long() -> None:
    assert len({token for _, token in FORGED}) >= 200


@pytest.mark.parametrize("token", [text for _, text in FORGED], ids=[name for name, _ in FORGED])
def test_a_forged_token_is_refused(token: str) -> None:
    with pytest.raises(CredentialsInvalid):
        _tokens().verify(token)


def test_tokens_are_decoded_in_two_modules_and_never_unchecked() -> None:
    """Ours in ``tokens.py``, those of providers in ``id_tokens.py``; each with a list of algorithms of one
    entry that the token has no say in, with claims that must be there, and with its signature checked."""
    folder = Path(server.__file__).parent
    using: dict[str, list[ast.Call]] = {}
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any("jwt" in _imported(node) for node in ast.walk(tree)):
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            name = path.relative_to(folder).as_posix()
            using[name] = [call for call in calls if ast.unparse(call.func) == "jwt.decode"]
    assert {name: len(calls) for name, calls in using.items()} == {
        "auth/tokens.py": 1,
        "auth/id_tokens.py": 1,
    }
    for (call,) in using.values():
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        algorithms, options = given["algorithms"], ast.unparse(given["options"])
        assert isinstance(algorithms, ast.List) and len(algorithms.elts) == 1
        assert "'require':" in options and "verify_signature" not in options


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return set()


def test_the_pattern_of_the_table_is_a_good_token() -> None:
    claims = _tokens().verify(signed(HEADER, CLAIMS))
    assert (claims.user_id, claims.session_id, claims.token_id) == (USER, SESSION, TOKEN)


def test_what_is_signed_is_verified() -> None:
    claims = AccessClaims(USER, SESSION, TOKEN, 3, NOW, NOW + timedelta(seconds=900))
    assert _tokens().verify(_tokens().sign(claims)) == claims


def test_roles_are_told_and_not_believed() -> None:
    """A token that tells no roles, as one from before they were told, is as good; and whoever verifies one
    gets nothing that they could decide by."""
    claims = AccessClaims(USER, SESSION, TOKEN, 3, NOW, NOW + timedelta(seconds=900))
    token = _tokens().sign(claims, {"viewer", "admin"})
    payload = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert payload["roles"] == ["admin", "viewer"]
    assert _tokens().verify(token) == claims and not hasattr(_tokens().verify(token), "roles")


@pytest.mark.parametrize(
    ("later", "accepted"), [(-5, True), (-6, False), (899, True), (900, False)]
)
def test_a_token_has_its_time(later: int, accepted: bool) -> None:
    tokens = _tokens(NOW + timedelta(seconds=later))
    token = signed(HEADER, CLAIMS)
    if accepted:
        tokens.verify(token)
    else:
        with pytest.raises(CredentialsInvalid):
            tokens.verify(token)


def test_every_bit_counts() -> None:
    good = signed(HEADER, CLAIMS)
    tokens = _tokens()
    for index, character in enumerate(good):
        changed = good[:index] + ("B" if character == "A" else "A") + good[index + 1 :]
        with pytest.raises(CredentialsInvalid):
            tokens.verify(changed)


def test_a_key_signs_from_its_time_on_and_verifies_until_it_is_withdrawn() -> None:
    old = SigningKey("old", OURS, NOW - timedelta(days=30), NOW + timedelta(days=2))
    new = SigningKey("new", THEIRS, NOW + timedelta(days=1))
    keys = SigningKeys([old, new])
    assert keys.signing(NOW).kid == "old"
    assert [key["kid"] for key in keys.published(NOW)] == ["new", "old"]
    clock = ManualClock(NOW)
    tokens = AccessTokens(keys, issuer="greenroom", audience="greenroom", clock=clock)
    clock.advance(86_399)
    claims = AccessClaims(
        USER, SESSION, TOKEN, 1, clock.now(), clock.now() + timedelta(hours=23, minutes=59)
    )
    signed_by_old = tokens.sign(claims)
    clock.advance(2)
    assert keys.signing(clock.now()).kid == "new"
    tokens.verify(signed_by_old)
    clock.advance(86_399)
    assert [key["kid"] for key in keys.published(clock.now())] == ["new"]
    assert keys.verifying("old", clock.now()) is None

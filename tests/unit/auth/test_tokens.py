"""Access tokens: what we signed is taken, and nothing else is."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.auth.keys import SigningKey, SigningKeys
from server.auth.tokens import AccessClaims, AccessTokens
from server.core.clock import ManualClock
from server.core.errors import CredentialsInvalid
from server.core.ids import new_id

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OURS = Ed25519PrivateKey.generate()
THEIRS = Ed25519PrivateKey.generate()
KEYS = SigningKeys([SigningKey("ours", OURS, NOW - timedelta(days=1))])
USER, SESSION, TOKEN = new_id(), new_id(), new_id()
HEADER: dict[str, Any] = {"alg": "EdDSA", "typ": "at+jwt", "kid": "ours"}
CLAIMS: dict[str, Any] = {
    "iss": "greenroom",
    "aud": "greenroom",
    "sub": USER,
    "sid": SESSION,
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 900,
    "jti": TOKEN,
    "ver": 1,
}
RAW_PUBLIC = OURS.public_key().public_bytes_raw()
PEM_PUBLIC = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _part(content: Any) -> str:
    return _encoded(content if isinstance(content, bytes) else json.dumps(content).encode())


def _signed(header: Any, claims: Any, key: Ed25519PrivateKey = OURS) -> str:
    text = f"{_part(header)}.{_part(claims)}"
    return f"{text}.{_encoded(key.sign(text.encode()))}"


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _tokens(now: datetime = NOW) -> AccessTokens:
    return AccessTokens(KEYS, issuer="greenroom", audience="greenroom", clock=ManualClock(now))


def _hmac_with(secret: bytes) -> str:
    text = f"{_part({**HEADER, 'alg': 'HS256'})}.{_part(CLAIMS)}"
    return f"{text}.{_encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def _rsa() -> str:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    key = rsa.generate_private_key(65537, 2048)
    text = f"{_part({**HEADER, 'alg': 'RS256'})}.{_part(CLAIMS)}"
    return f"{text}.{_encoded(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _ecdsa() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    text = f"{_part({**HEADER, 'alg': 'ES256'})}.{_part(CLAIMS)}"
    return f"{text}.{_encoded(key.sign(text.encode(), ec.ECDSA(SHA256()))[:64])}"


def _headers() -> Iterator[tuple[str, str]]:
    """Tokens whose header is not exactly ours, each with a good signature of our key."""
    for alg in ("none", "None", "nOnE", "", "HS256", "ES256", "RS256", "eddsa", "Ed448", None, 1):
        yield f"alg {alg!r}", _signed({**HEADER, "alg": alg}, CLAIMS)
    for typ in ("JWT", "at+JWT", "application/at+jwt", "", None, "refresh+jwt", "dpop+jwt"):
        yield f"typ {typ!r}", _signed({**HEADER, "typ": typ}, CLAIMS)
    for kid in (
        "theirs",
        "",
        None,
        1,
        ["ours"],
        "../../etc/passwd",
        "ours' OR '1'='1",
        "ours\x00",
        "x" * 3000,
        "OURS",
    ):
        yield f"kid {str(kid)[:20]!r}", _signed({**HEADER, "kid": kid}, CLAIMS)
    for name in ("alg", "typ", "kid"):
        yield f"no {name}", _signed(_without(HEADER, name), CLAIMS)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": _encoded(THEIRS.public_key().public_bytes_raw())}
    for name, value in (
        ("crit", ["exp"]),
        ("crit", []),
        ("b64", False),
        ("jku", "https://attacker.example/jwks.json"),
        ("x5u", "https://attacker.example/cert.pem"),
        ("x5c", ["AAAA"]),
        ("jwk", jwk),
        ("cty", "JWT"),
        ("zip", "DEF"),
        ("exp", 1),
    ):
        yield f"{name} in the header", _signed({**HEADER, name: value}, CLAIMS)
    yield "their jwk and signature", _signed({**HEADER, "jwk": jwk}, CLAIMS, THEIRS)
    twice = b'{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"ours"}'
    yield "alg twice", _signed(twice, CLAIMS)
    for header in ([HEADER], "EdDSA", None, 1, b"\xff\xfe", b"{", b""):
        yield f"header {str(header)[:12]!r}", _signed(header, CLAIMS)
    yield "a deep header", _signed(b'{"a":' * 500 + b"1" + b"}" * 500, CLAIMS)


def _claims() -> Iterator[tuple[str, str]]:
    """Tokens whose claims are not acceptable, each with a good signature of our key."""
    now = int(NOW.timestamp())
    for name in CLAIMS:
        yield f"no {name}", _signed(HEADER, _without(CLAIMS, name))
        yield f"{name} null", _signed(HEADER, {**CLAIMS, name: None})
    wrong: dict[str, list[Any]] = {
        "iss": ["attacker", "", ["greenroom"], "greenroom ", 1],
        "aud": ["other", "", ["greenroom"], ["greenroom", "other"], 1],
        "exp": [
            now,
            now - 1,
            now - 10**6,
            (now + 900) * 1000,
            str(now + 900),
            now + 900.5,
            True,
            -1,
            1 << 70,
            now + 90_000,
        ],
        "iat": [now + 60, now + 10**6, str(now), now + 0.5, False, -5, now - 90_000],
        "sub": ["", "admin", USER.upper(), 1, [USER], USER + " "],
        "sid": ["", "*", SESSION + "0", 0, {}],
        "jti": ["", 1, "x"],
        "ver": ["1", 1.0, True, -1],
        "nbf": [now + 60, now - 60, "soon"],
    }
    for name, values in wrong.items():
        for value in values:
            yield f"{name} {str(value)[:30]!r}", _signed(HEADER, {**CLAIMS, name: value})
    endless = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), "Infinity").encode()
    yield "exp Infinity", _signed(HEADER, endless)
    yield "exp NaN", _signed(HEADER, endless.replace(b"Infinity", b"NaN"))
    for claims in ([], "x", 1, None, b"\xff", b"", b"{"):
        yield f"claims {str(claims)[:12]!r}", _signed(HEADER, claims)


def _signatures() -> Iterator[tuple[str, str]]:
    """Good headers and claims that our key did not sign."""
    good = _signed(HEADER, CLAIMS)
    head, body, signature = good.split(".")
    yield "another key", _signed(HEADER, CLAIMS, THEIRS)
    yield "empty signature", f"{head}.{body}."
    yield "no signature", f"{head}.{body}"
    yield "short signature", f"{head}.{body}.{signature[:-1]}"
    yield "long signature", f"{head}.{body}.{signature}A"
    yield "padded signature", f"{head}.{body}.{signature}=="
    yield "zero signature", f"{head}.{body}.{'A' * 86}"
    yield "signature of other claims", f"{head}.{_part({**CLAIMS, 'ver': 2})}.{signature}"
    yield "none, unsigned", f"{_part({'alg': 'none'})}.{body}."
    other = {"A": "B", "Q": "R", "g": "h", "w": "x"}[signature[-1]]
    yield "another spelling", f"{head}.{body}.{signature[:-1]}{other}"
    yield "HS256 with the public key", _hmac_with(RAW_PUBLIC)
    yield "HS256 with the public PEM", _hmac_with(PEM_PUBLIC)
    yield "HS256 with nothing", _hmac_with(b"")
    yield "RS256", _rsa()
    yield "ES256", _ecdsa()


def _shapes() -> Iterator[tuple[str, str]]:
    """What is no token."""
    good = _signed(HEADER, CLAIMS)
    head, body, signature = good.split(".")
    for text in (
        "",
        ".",
        "..",
        "...",
        good + ".",
        "." + good,
        f"{good}.{good}",
        f"{head}..{signature}",
        f"..{signature}",
        good + " ",
        " " + good,
        good + "\n",
        good.replace(".", ":"),
        f"{head}=.{body}.{signature}",
        good + "\x00",
        "Bearer " + good,
        "grr_" + "A" * 43,
        "\u0430" * 100,
        "A" * 100_000,
        _signed(HEADER, {**CLAIMS, "pad": "x" * 4096}),
        f"{head}.{body}.{signature}.{head}.{body}",
    ):
        yield f"text {text[:12]!r}", text


FORGED = [*_headers(), *_claims(), *_signatures(), *_shapes()]


def test_the_table_is_long() -> None:
    assert len(FORGED) >= 120


@pytest.mark.parametrize("token", [text for _, text in FORGED], ids=[name for name, _ in FORGED])
def test_a_forged_token_is_refused(token: str) -> None:
    with pytest.raises(CredentialsInvalid):
        _tokens().verify(token)


def test_the_pattern_of_the_table_is_a_good_token() -> None:
    claims = _tokens().verify(_signed(HEADER, CLAIMS))
    assert (claims.user_id, claims.session_id, claims.token_id) == (USER, SESSION, TOKEN)


def test_what_is_signed_is_verified() -> None:
    claims = AccessClaims(USER, SESSION, TOKEN, 3, NOW, NOW + timedelta(seconds=900))
    assert _tokens().verify(_tokens().sign(claims)) == claims


@pytest.mark.parametrize(
    ("later", "accepted"), [(-5, True), (-6, False), (899, True), (900, False)]
)
def test_a_token_has_its_time(later: int, accepted: bool) -> None:
    tokens = _tokens(NOW + timedelta(seconds=later))
    token = _signed(HEADER, CLAIMS)
    if accepted:
        tokens.verify(token)
    else:
        with pytest.raises(CredentialsInvalid):
            tokens.verify(token)


def test_every_bit_counts() -> None:
    good = _signed(HEADER, CLAIMS)
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


def test_only_one_module_decodes_a_jwt() -> None:
    from pathlib import Path

    root = Path(__file__).resolve().parents[3] / "server"
    users = [path for path in root.rglob("*.py") if "jwt" in path.read_text().split()]
    decoders = [path.name for path in users if "jwt.decode" in path.read_text()]
    assert decoders == ["tokens.py"]

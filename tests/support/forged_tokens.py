"""A table of forged access tokens, and the good one that they are made after."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.auth.keys import SigningKey, SigningKeys

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OURS = Ed25519PrivateKey.generate()
THEIRS = Ed25519PrivateKey.generate()
KEYS = SigningKeys([SigningKey("ours", OURS, NOW - timedelta(days=1))])
USER = "019a9f00-0000-7000-8000-00000000aaaa"
SESSION = "019a9f00-0000-7000-8000-00000000bbbb"
TOKEN = "019a9f00-0000-7000-8000-00000000cccc"
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


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _part(content: Any) -> str:
    return encoded(content if isinstance(content, bytes) else json.dumps(content).encode())


def signed(header: Any, claims: Any, key: Ed25519PrivateKey = OURS) -> str:
    """A token of any header and claims with a good signature."""
    text = f"{_part(header)}.{_part(claims)}"
    return f"{text}.{encoded(key.sign(text.encode()))}"


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != name}


def _hmac_with(secret: bytes) -> str:
    text = f"{_part({**HEADER, 'alg': 'HS256'})}.{_part(CLAIMS)}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def _rsa() -> str:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    key = rsa.generate_private_key(65537, 2048)
    text = f"{_part({**HEADER, 'alg': 'RS256'})}.{_part(CLAIMS)}"
    return f"{text}.{encoded(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _ecdsa() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    text = f"{_part({**HEADER, 'alg': 'ES256'})}.{_part(CLAIMS)}"
    return f"{text}.{encoded(key.sign(text.encode(), ec.ECDSA(SHA256()))[:64])}"


def _headers() -> Iterator[tuple[str, str]]:
    """Tokens whose header is not exactly ours, each with a good signature of our key."""
    for alg in ("none", "None", "nOnE", "", "HS256", "ES256", "RS256", "eddsa", "Ed448", None, 1):
        yield f"alg {alg!r}", signed({**HEADER, "alg": alg}, CLAIMS)
    for typ in ("JWT", "at+JWT", "application/at+jwt", "", None, "refresh+jwt", "dpop+jwt"):
        yield f"typ {typ!r}", signed({**HEADER, "typ": typ}, CLAIMS)
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
        yield f"kid {str(kid)[:20]!r}", signed({**HEADER, "kid": kid}, CLAIMS)
    for name in ("alg", "typ", "kid"):
        yield f"no {name}", signed(_without(HEADER, name), CLAIMS)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": encoded(THEIRS.public_key().public_bytes_raw())}
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
        yield f"{name} in the header", signed({**HEADER, name: value}, CLAIMS)
    yield "their jwk and signature", signed({**HEADER, "jwk": jwk}, CLAIMS, THEIRS)
    twice = b'{"alg":"none","alg":"EdDSA","typ":"at+jwt","kid":"ours"}'
    yield "alg twice", signed(twice, CLAIMS)
    for header in ([HEADER], "EdDSA", None, 1, b"\xff\xfe", b"{", b""):
        yield f"header {str(header)[:12]!r}", signed(header, CLAIMS)
    yield "a deep header", signed(b'{"a":' * 500 + b"1" + b"}" * 500, CLAIMS)


def _claims() -> Iterator[tuple[str, str]]:
    """Tokens whose claims are not acceptable, each with a good signature of our key."""
    now = int(NOW.timestamp())
    for name in CLAIMS:
        yield f"no {name}", signed(HEADER, _without(CLAIMS, name))
        yield f"{name} null", signed(HEADER, {**CLAIMS, name: None})
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
            yield f"{name} {str(value)[:30]!r}", signed(HEADER, {**CLAIMS, name: value})
    endless = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), "Infinity").encode()
    yield "exp Infinity", signed(HEADER, endless)
    yield "exp NaN", signed(HEADER, endless.replace(b"Infinity", b"NaN"))
    for claims in ([], "x", 1, None, b"\xff", b"", b"{"):
        yield f"claims {str(claims)[:12]!r}", signed(HEADER, claims)


def _signatures() -> Iterator[tuple[str, str]]:
    """Good headers and claims that our key did not sign."""
    good = signed(HEADER, CLAIMS)
    head, body, signature = good.split(".")
    yield "another key", signed(HEADER, CLAIMS, THEIRS)
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
    good = signed(HEADER, CLAIMS)
    head, body, signature = good.split(".")
    texts = (
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
        signed(HEADER, {**CLAIMS, "pad": "x" * 4096}),
        f"{head}.{body}.{signature}.{head}.{body}",
    )
    for number, text in enumerate(texts, start=1):
        yield f"text {number}", text


ORDER = 2**252 + 27742317777372353535851937790883648493
"""Order of the Ed25519 base point (RFC 8032)."""

SMALL_POINTS = (
    b"\x01" + bytes(31),
    bytes(32),
    bytes(31) + b"\x80",
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
)
"""Points of small order, canonical and not: signatures that verify for many messages are made of
them where a verifier is careless."""


def _encodings() -> Iterator[tuple[str, str]]:
    """What project Wycheproof tries with JWS: other serializations, alphabets and JSON dialects."""
    good = signed(HEADER, CLAIMS)
    head, body, signature = good.split(".")
    flat = {"protected": head, "payload": body, "signature": signature}
    yield "flattened JSON", json.dumps(flat)
    yield "general JSON", json.dumps({"payload": body, "signatures": [flat]})
    yield "detached payload", f"{head}..{signature}"
    yield "five parts", f"{head}.{body}.{signature}.{body}.{signature}"
    yield "standard alphabet", f"{head}.{body}.{signature[:-2]}+/"
    for name, text in (
        ("space", " "),
        ("line feed", "\n"),
        ("tab", "\t"),
        ("NUL", "\x00"),
        ("percent", "%"),
        ("equals", "="),
        ("zero width", "\u200b"),
    ):
        yield f"{name} in the header", f"{head[:5]}{text}{head[5:]}.{body}.{signature}"
        yield f"{name} in the claims", f"{head}.{body[:5]}{text}{body[5:]}.{signature}"
        yield f"{name} in the signature", f"{head}.{body}.{signature[:5]}{text}{signature[5:]}"
    plain = json.dumps(HEADER)
    for name, raw in (
        ("BOM", b"\xef\xbb\xbf" + plain.encode()),
        ("UTF-16", plain.encode("utf-16")),
        ("single quotes", plain.replace('"', "'").encode()),
        ("comment", plain.replace("{", "{/**/").encode()),
        ("trailing comma", plain.replace("}", ",}").encode()),
        ("two objects", (plain + plain).encode()),
        ("NUL after", plain.encode() + b"\x00"),
        ("kid twice", plain.replace("}", ',"kid":"theirs"}').encode()),
        ("typ twice", plain.replace("{", '{"typ":"JWT",').encode()),
    ):
        yield f"header with {name}", signed(raw, CLAIMS)
    for alg in ("EdDSA ", " EdDSA", "EdDSA\x00", "EDDSA", "Ed25519", "ΕdDSA", ["EdDSA"], True, {}):
        yield f"alg {alg!r} ", signed({**HEADER, "alg": alg}, CLAIMS)


def _curve() -> Iterator[tuple[str, str]]:
    """Signatures that are nearly ours, or good under a careless reading of RFC 8032."""
    good = signed(HEADER, CLAIMS)
    text, _, signature = good.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    point, scalar = raw[:32], int.from_bytes(raw[32:], "little")
    for times in (1, 2, 7):
        shifted = scalar + times * ORDER
        if shifted < 1 << 256:
            yield f"S + {times} L", f"{text}.{encoded(point + shifted.to_bytes(32, 'little'))}"
    yield "S of 0", f"{text}.{encoded(point + bytes(32))}"
    yield "L - S", f"{text}.{encoded(point + (ORDER - scalar).to_bytes(32, 'little'))}"
    yield "S and R swapped", f"{text}.{encoded(raw[32:] + point)}"
    yield "reversed", f"{text}.{encoded(raw[::-1])}"
    for number, small in enumerate(SMALL_POINTS, start=1):
        yield f"small R {number}, S 0", f"{text}.{encoded(small + bytes(32))}"
        yield f"small R {number}", f"{text}.{encoded(small + raw[32:])}"
    for bit in range(0, 512, 37):
        flipped = (int.from_bytes(raw, "little") ^ (1 << bit)).to_bytes(64, "little")
        yield f"bit {bit} flipped", f"{text}.{encoded(flipped)}"
    head, _, body = text.partition(".")
    for name, message in (
        ("the claims alone", body),
        ("the header alone", head),
        ("both without their point", head + body),
        ("the decoded claims", json.dumps(CLAIMS)),
        ("the hash of both", hashlib.sha512(text.encode()).hexdigest()),
        ("nothing", ""),
    ):
        yield f"a signature over {name}", f"{text}.{encoded(OURS.sign(message.encode()))}"
    higher = _part({**CLAIMS, "ver": 2})
    yield "claims of another token", f"{head}.{higher}.{signature}"


FORGED = [*_headers(), *_claims(), *_signatures(), *_shapes(), *_encodings(), *_curve()]
"""Names and tokens; a server that accepts one of them is broken."""

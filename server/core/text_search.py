"""Full text for both databases: one way to make words of texts, and the condition that finds them.

What differs between the databases is hidden by making the words here, before anything is stored: all that
SQLite's FTS5 and PostgreSQL's tsvector do is to keep words that stand between blanks. In the index each word
begins with its scope, such as where it was said (:func:`scope_of`): a word that is looked for by its
beginning is then found at the cost of what its own scopes hold, however often others have used it.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

WORDS = 16
"""Words of a query that are looked at."""
WORD_LENGTH = 64
"""Characters of a word that count: PostgreSQL refuses words of 2 KiB, and nobody types them."""
SCOPE_LENGTH = 8
"""Characters of a scope's id that its words begin with. Two scopes may share them: whoever searches looks at
the scope of what was found, too."""

_PLAIN = re.compile("[^a-z0-9]+")
# Scripts that put no blanks between words: Thai and Lao, Burmese, Khmer, the kana, Chinese.
_SIGNS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff"
)
_SIGN = re.compile(f"[{_SIGNS}\U00020000-\U0003ffff]")
_RUN = re.compile(f"[{_SIGNS}\U00020000-\U0003ffff]+")
_DROPPED = re.compile("[\ufe00-\ufe0f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]")
_VOICED = {0x3099, 0x309A}
"""Marks that make another letter of a kana, and not the same one with an accent."""


class _Signs(dict[int, str]):
    """What becomes of each sign of a text, for ``str.translate``; fills itself."""

    def __missing__(self, code: int) -> str:
        found = self[code] = _folded_sign(chr(code))
        return found


def _folded_sign(sign: str) -> str:
    kind = unicodedata.category(sign)
    if kind in ("Cf", "Me") or _DROPPED.match(sign):
        # Joiners, directions, frames, variants and tones of emoji: nobody searches for them.
        return ""
    if kind[0] == "M":
        accent = unicodedata.combining(sign) and ord(sign) not in _VOICED
        return "" if accent else sign
    if sign.isalnum() or kind == "Co":
        return sign
    return f" {sign} " if kind == "So" else " "


_signs = _Signs()


def folded(text: str) -> str | None:
    """The words of a text as they go into the index, once each, between single blanks; ``None`` where the
    text itself is just that."""
    made = " ".join(dict.fromkeys(_words(text)))
    return None if made == text else made


def words(query: str) -> list[str]:
    """The words of a query as they stand in the index, 16 at most; empty when there are none.

    Of a run of signs without blanks the index holds each sign with the one after it, so the last sign
    alone says nothing that the others have not said.
    """
    found = dict.fromkeys(_words(query, whole=False))
    return list(found)[:WORDS]


def scope_of(scope_id: str) -> str:
    """What the words of a scope begin with, for an id that ends in random hexadecimal digits; the migrations
    say the same in SQL."""
    return scope_id[-SCOPE_LENGTH:]


def condition(kind: str, scope_ids: Iterable[str], wanted: Sequence[str]) -> str:
    """What finds texts of any of the scopes that hold words with all these beginnings: the right side of
    MATCH on SQLite, a tsquery on PostgreSQL (``kind`` is ``Database.kind``)."""
    conjunction, alternative, quote, prefix = (
        (" AND ", " OR ", '"', "*") if kind == "sqlite" else (" & ", " | ", "'", ":*")
    )
    scopes = []
    for scope in dict.fromkeys(map(scope_of, scope_ids)):
        terms = [f"{quote}{scope}{word}{quote}{prefix}" for word in wanted]
        scopes.append(f"({conjunction.join(terms)})")
    return alternative.join(scopes)


def _words(text: str, *, whole: bool = True) -> Iterable[str]:
    if text.isascii():
        plain = _PLAIN.sub(" ", text.lower())
    else:
        plain = _fold(text)
        if _SIGN.search(plain):
            plain = _RUN.sub(lambda run: _paired(run[0], whole), plain)
    return (word[:WORD_LENGTH] for word in plain.split())


def _fold(text: str) -> str:
    """Without case, accents and marks; what is no letter, number or emoji is a blank."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = unicodedata.normalize("NFKD", plain).translate(_signs)
    return unicodedata.normalize("NFC", plain)


def _paired(run: str, whole: bool) -> str:
    """Each sign with the one after it: two that stand side by side are found, and no others."""
    pairs = [run[place : place + 2] for place in range(len(run))]
    if not whole and len(pairs) > 1:
        pairs.pop()
    return f" {' '.join(pairs)} "

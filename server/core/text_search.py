"""Words to search for, folded in one way for both databases.

What differs between the databases is hidden by folding before anything is stored: SQLite's FTS5 and
PostgreSQL's tsvector then have to tell words apart by blanks and ASCII punctuation only.
"""

import re
import unicodedata

_WORD = re.compile(r"\w+")
# Scripts that put no blanks between words: each sign counts as a word.
_SIGN = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
WORDS = 16
"""Words of a query that are looked at."""


def folded(text: str) -> str | None:
    """What stands in the index for a text; ``None`` where the text itself will do."""
    return None if text.isascii() else _fold(text)


def words(query: str) -> list[str]:
    """The words of a query as they stand in the index, 16 at most; empty when there are none."""
    found = _WORD.findall(_fold(query).replace("_", " "))
    return list(dict.fromkeys(found))[:WORDS]


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    plain = _SIGN.sub(r" \g<0> ", plain)
    return re.sub(r"[^\w\s]", " ", plain)

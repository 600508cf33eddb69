"""Words: one way to make them, and that both databases keep and find just these."""

import sqlite3
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg2
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.core import schema
from server.core.text_search import WORD_LENGTH, WORDS, condition, folded, scope_of, words
from tests.support.databases import drop_database, fresh_database

SCOPE = "0190a1b2-0000-7000-8000-0123456789ab"
OTHER = "0190a1b2-0000-7000-8000-ba9876543210"

TEXTS = {
    "Hello, World!": "hello world",
    "hello world": None,
    "hello  world": "hello world",
    "": None,
    "!?…": "",
    "Müllers Straße": "mullers strasse",
    "Mu\u0308ller": "muller",
    "İSTANBUL ΣΊΣΥΦΟΣ": "istanbul σισυφοσ",
    "a_b-c/d.e@f": "a b c d e f",
    "3.14 v2": "3 14 v2",
    "https://example.com/a?b=c#d": "https example com a b c d",
    "日本語": "日本 本語 語",
    "日本語テキスト ok": "日本 本語 語テ テキ キス スト ト ok",
    "ガ か\u3099": "ガ が",
    "ｱｲｳ ＡＢＣ": "アイ イウ ウ abc",
    "한국어": None,
    "हिन्दी": "हिनदी",
    "می\u200cخواهم": "میخواهم",
    "مُحَمَّد": "محمد",
    "שָׁלוֹם": "שלום",
    "👍🏽👍 ok": "👍 ok",
    "❤\ufe0f ❤": "❤",
    "ab`c^d ü": "ab c d u",
    "ﬁne ²": "fine 2",
    "one two one": "one two",
    "a\u00adb\u202ec": "abc",
    "nul\0nul ü": "nul u",
    "\u20000\u3000x": "0 x",
}


@pytest.mark.parametrize(("text", "wanted"), TEXTS.items(), ids=ascii)
def test_folding(text: str, wanted: str | None) -> None:
    assert folded(text) == wanted


@pytest.mark.parametrize("text", [text for text in TEXTS if text], ids=ascii)
def test_whatever_is_in_a_text_is_found_by_itself(text: str) -> None:
    kept = folded(text)
    for word in words(text):
        assert any(one.startswith(word) for one in (text if kept is None else kept).split())


def test_signs_side_by_side_are_found_and_others_not() -> None:
    index = (folded("日本語") or "").split()
    assert all(any(one.startswith(word) for one in index) for word in words("本語"))
    assert not any(one.startswith(word) for one in index for word in words("日語"))
    assert words("語") == ["語"]


def test_a_query_is_bounded() -> None:
    assert len(words(" ".join(map(str, range(100))))) == WORDS
    assert words("x" * 200) == ["x" * WORD_LENGTH]
    assert words("?! _ … \0") == []
    assert words("One one ONE") == ["one"]


def test_conditions() -> None:
    assert condition("sqlite", [SCOPE, OTHER], ["a", "b"]) == (
        '("456789aba"* AND "456789abb"*) OR ("76543210a"* AND "76543210b"*)'
    )
    assert condition("postgresql", [SCOPE], ["a", "b"]) == "('456789aba':* & '456789abb':*)"
    assert scope_of(SCOPE) == "456789ab"


Find = Callable[[str, str], list[bool]]


@pytest.fixture(scope="module")
def find(database_kind: str) -> Iterator[Find]:
    """Whether a query finds a text that was said in its scope, and in another one."""
    url = fresh_database(database_kind)
    with closing(_Finder(database_kind, url)) as opened:
        yield opened.send_back
    drop_database(url)


class _Finder:
    """A database with the index of the migrations, which holds one text at a time."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        if kind == "sqlite":
            self.connection: object = sqlite3.connect(url.removeprefix("sqlite:///"))
            self.mark = "?"
        else:
            self.connection = psycopg2.connect(url)
            self.mark = "%s"

    def run(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """The rows that a statement finds."""
        cursor = self.connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(statement.replace("?", self.mark), parameters)
        return list(cursor.fetchall()) if cursor.description else []

    def send_back(self, text: str, query: str) -> list[bool]:
        """Whether the query finds the text where it is, and whether elsewhere."""
        self.run("DELETE FROM chat_messages")
        self.run(
            "INSERT INTO chat_messages (id, channel_id, seq, sender_id, client_id, type, text, folded,"
            " create_time, update_time) VALUES ('m', ?, 1, 's', 'c', 'TEXT', ?, ?, 0, 0)",
            SCOPE,
            text.replace("\0", ""),
            folded(text.replace("\0", "")),
        )
        wanted = words(query)
        return [bool(wanted and self.finds(wanted, scope)) for scope in (SCOPE, OTHER)]

    def finds(self, wanted: list[str], scope: str) -> list[tuple[object, ...]]:
        """A row for each text of the scope that holds the words."""
        statement = (
            "SELECT 1 FROM chat_search WHERE chat_search MATCH ?"
            if self.kind == "sqlite"
            else "SELECT 1 FROM chat_messages WHERE search @@ ?::tsquery"
        )
        return self.run(statement, condition(self.kind, [scope], wanted))

    def close(self) -> None:
        """Lets go of the connection."""
        self.connection.commit()  # type: ignore[attr-defined]
        self.connection.close()  # type: ignore[attr-defined]


ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
SAYINGS = st.lists(st.one_of(ANY_TEXT, st.sampled_from(sorted(TEXTS))), max_size=4).map(" ".join)


def expected(text: str, query: str) -> bool:
    """What the words themselves say, without any database."""
    clean = text.replace("\0", "")
    kept = folded(clean)
    index = (clean if kept is None else kept).split()
    wanted = words(query)
    return bool(wanted) and all(any(one.startswith(word) for one in index) for word in wanted)


@settings(
    max_examples=400,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(text=SAYINGS, query=SAYINGS, begin=st.integers(0, 60), size=st.integers(1, 20))
@example(text="\U0002f800" * 400, query="\U0002f800", begin=0, size=1)
@example(text="﷽" * 400, query="﷽", begin=0, size=1)
@example(text="x" * 4000, query="x" * 200, begin=0, size=64)
@example(text="\"a\" 'b' (a OR b) a* :b NEAR", query='"a" OR NEAR \'*:&|!<->\\', begin=0, size=5)
def test_both_databases_find_what_the_words_say(
    find: Find, text: str, query: str, begin: int, size: int
) -> None:
    for wanted in (query, text[begin : begin + size], unicodedata.normalize("NFD", text)):
        assert find(text, wanted) == [expected(text, wanted), False], (text, wanted)


def test_what_was_said_before_there_was_an_index_is_found(empty_database_url: str) -> None:
    names = schema.migrate(empty_database_url)
    while names.pop() != "0202_chat_whole":
        schema.revert(empty_database_url)
    schema.revert(empty_database_url)
    kind = "sqlite" if empty_database_url.startswith("sqlite") else "postgresql"
    texts = ["Hello, World!", "Straße", "plain words", "!?", ""]
    with closing(_Finder(kind, empty_database_url)) as before:
        for seq, text in enumerate(texts, 1):
            before.run(
                "INSERT INTO chat_messages (id, channel_id, seq, sender_id, client_id, type, text,"
                " create_time, update_time) VALUES (?, ?, ?, 's', ?, 'TEXT', ?, 0, 0)",
                *(f"m{seq}", SCOPE, seq, f"c{seq}", text),
            )
    schema.migrate(empty_database_url)
    with closing(_Finder(kind, empty_database_url)) as after:
        for query, count in {"world": 1, "strasse": 1, "w": 2, "x": 0}.items():
            assert len(after.finds(words(query), SCOPE)) == count, query
        assert len(after.run("SELECT id FROM chat_messages")) == len(texts)

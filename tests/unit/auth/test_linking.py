"""The linking table: complete, without contradiction, and the one that the README shows."""

import re
from itertools import product
from pathlib import Path

import pytest

from server.auth.rules import Asking, Case, LinkingVerdict, Local, Owner, Told, verdict_on
from server.auth.rules.linking import TABLE

README = Path(__file__).resolve().parents[3] / "server/auth/README.md"
CASES = [Case(*values) for values in product(Asking, Owner, Told, Local)]
POSSIBLE = [
    case for case in CASES if not (case.asking is Asking.NOBODY and case.owner is Owner.SELF)
]
WORDS = {
    "nobody": Asking.NOBODY,
    "somebody, long ago": Asking.STALE,
    "somebody, just now": Asking.FRESH,
}


@pytest.mark.parametrize("case", POSSIBLE, ids=str)
def test_each_case_has_one_line(case: Case) -> None:
    assert len([line for line in TABLE if line.fits(case)]) == 1


def test_the_impossible_case_has_none() -> None:
    impossible = set(CASES) - set(POSSIBLE)
    assert impossible and not any(line.fits(case) for line in TABLE for case in impossible)


def test_no_account_is_opened_but_by_its_own_identity() -> None:
    for case in POSSIBLE:
        verdict = verdict_on(case)
        if verdict is LinkingVerdict.SIGN_IN:
            assert case.owner is Owner.OTHER and case.asking is Asking.NOBODY
        if verdict is LinkingVerdict.LINK:
            assert case.asking is Asking.FRESH and case.owner is Owner.NONE
            assert case.local is not Local.UNPROVEN
        if verdict is LinkingVerdict.SIGN_UP:
            assert case.told is Told.PROVEN and case.local is Local.NONE


def test_an_unproven_address_makes_no_difference() -> None:
    for asking, owner in {(case.asking, case.owner) for case in POSSIBLE}:
        if asking is Asking.NOBODY:
            verdicts = {verdict_on(Case(asking, owner, Told.UNPROVEN, local)) for local in Local}
            assert len(verdicts) == 1


def test_the_readme_shows_this_table() -> None:
    text = README.read_text()
    shown = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \| `([A-Z_]+)`", text, re.MULTILINE)

    def word(value: Owner | Told | Local | None) -> str:
        return "any" if value is None else value.value.lower()

    names = {asking: name for name, asking in WORDS.items()}
    assert [tuple(row) for row in shown] == [
        (
            names[line.asking],
            word(line.owner),
            word(line.told),
            word(line.local),
            line.verdict.value,
        )
        for line in TABLE
    ]

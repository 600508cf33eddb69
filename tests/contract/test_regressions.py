"""Every defect of others that we set out not to have has tests of ours, by name (A-20)."""

import ast
import csv
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"auth", "core"}
"""The modules that there are; a row of another one would wait for it."""
NOT_RUN = {"skip", "skipif", "xfail"}

with (Path(__file__).parent / "regressions.tsv").open() as file:
    ROWS = list(csv.DictReader(file, delimiter="\t"))


@cache
def collected(path: str) -> dict[str, ast.AsyncFunctionDef | ast.FunctionDef]:
    """The tests of a file, by name, as pytest finds them."""
    name = Path(path).name
    if not (name.startswith("test_") and (ROOT / path).is_file()):
        return {}
    functions = (ast.AsyncFunctionDef, ast.FunctionDef)
    body = ast.parse((ROOT / path).read_text()).body
    return {one.name: one for one in body if isinstance(one, functions)}


def missing(test: str) -> str:
    """Why a test proves nothing; empty for one that does."""
    path, _, name = test.partition("::")
    function = collected(path).get(name)
    if function is None or not name.startswith("test_"):
        return f"{test}: there is no such test"
    marks = {
        one.attr
        for mark in function.decorator_list
        for one in ast.walk(mark)
        if isinstance(one, ast.Attribute)
    }
    if marks & NOT_RUN:
        return f"{test}: is not run everywhere"
    if not any(isinstance(one, ast.Assert | ast.Call) for one in ast.walk(function)):
        return f"{test}: does nothing"
    return ""


def test_the_list_is_whole() -> None:
    assert [row["row"] for row in ROWS] == [str(number) for number in range(1, 15)]
    assert {row["module"] for row in ROWS} <= MODULES
    assert len({row["defect"] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["defect"].partition(":")[0])
def test_every_defect_has_its_tests(row: dict[str, str]) -> None:
    tests = row["tests"].split()
    assert tests
    assert [why for why in map(missing, tests) if why] == []


def test_a_test_that_is_gone_is_missed() -> None:
    assert missing("tests/contract/test_regressions.py::test_of_nothing")
    assert missing("tests/contract/nowhere.py::test_the_list_is_whole")
    assert missing("tests/contract/test_regressions.py::missing")
    assert missing("tests/contract/test_regressions.py::test_the_list_is_whole") == ""

"""What a run says: medians, goals met and missed, columns that apply, figures left out aloud."""

import json
from pathlib import Path

import pytest

from bench.figures import Figure, Goal, figure, line, table, write_json

RUNS = [
    {"per_second": 100.0, "p99_ms": 9.0},
    {"per_second": 300.0, "p99_ms": 4.0},
    {"per_second": 200.0, "p99_ms": 60.0, "calls": 7, "text": "no number"},
]


def test_a_figure_holds_the_medians() -> None:
    made = figure("sends", "sqlite", "direct", RUNS)
    assert (made.per_second, made.p99_ms, made.runs) == (200.0, 9.0, 3)
    assert (made.goal, made.met) == (None, None)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("per_second", least=200), True),
        (Goal("per_second", least=201), False),
        (Goal("p99_ms", most=9), True),
        (Goal("p99_ms", most=8.9), False),
    ],
)
def test_a_goal_is_met_or_not(goal: Goal, met: bool) -> None:
    made = figure("sends", "sqlite", "direct", RUNS, {"sends": goal, "others": Goal("kib")})
    assert (made.goal, made.met) == (str(goal), met)
    assert f"met {'yes' if met else 'NO'}" in line(made)


def test_the_table_shows_only_what_applies() -> None:
    lines = table(
        [
            figure("sends", "sqlite", "direct", RUNS),
            figure("idle", "postgresql", "direct", [{"kib_per_stream": 41.26}]),
            Figure("peers", "sqlite", "direct", skipped="node is not installed"),
        ]
    ).splitlines()
    assert lines[0].split()[:5] == ["figure", "db", "path", "per", "second"]
    assert "peer" not in lines[0]
    assert lines[2].split()[:4] == ["idle", "postgresql", "direct", "41.3"]
    assert len(lines) == 3


def test_what_was_skipped_or_has_failed_is_said() -> None:
    skipped = Figure("peers", "sqlite", "direct", skipped="node is not installed")
    assert line(skipped) == "peers sqlite direct: skipped: node is not installed"
    failed = Figure("sends", "sqlite", "envoy", failed="7 replies, but 6 were OK")
    assert line(failed) == "sends sqlite envoy: failed: 7 replies, but 6 were OK"


def test_json_lines_hold_the_peer_and_the_goal(tmp_path: Path) -> None:
    goal = Goal("ratio_to_peer", least=2)
    runs = [{"per_second": 10.0, "peer_per_second": 4.0, "ratio_to_peer": 2.5}]
    made = figure("sends", "sqlite", "direct", runs, {"sends": goal}, peer="express")
    write_json([made, Figure("x", "sqlite", "direct", skipped="why")], tmp_path / "out")
    first, second = map(json.loads, (tmp_path / "out").read_text().splitlines())
    del first["load"], second["load"]
    assert first == {
        "name": "sends",
        "db": "sqlite",
        "path": "direct",
        "per_second": 10.0,
        "peer": "express",
        "peer_per_second": 4.0,
        "ratio_to_peer": 2.5,
        "goal": "ratio_to_peer ≥ 2",
        "met": True,
        "runs": 1,
    }
    assert second == {"name": "x", "db": "sqlite", "path": "direct", "skipped": "why", "runs": 1}

"""The front: of the hand-made ledger, and of random points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.leaderboard.board import Leaderboard, read_leaderboard
from analysis.leaderboard.row import Row, Score
from analysis.pareto import Front, as_table, choices, front
from wst.data.mini import MINI
from wst.errors import InputError


def test_front_of_the_hand_made_ledger(alpha: Path) -> None:
    found = front(read_leaderboard([alpha]))
    assert [(p.label, p.cost, p.on_front) for p in found.points] == [
        ("lin", 0, True),
        ("base", 3104, True),
        ("twin", 3104, True),  # ties in both: neither dominates the other
        ("big", 5000, False),
    ]
    assert found.points[1].accuracy == pytest.approx(63)
    assert found.points[0].deviation == pytest.approx(0)
    assert found.left_out == ["gap"]


def test_front_of_a_group_and_of_a_task(alpha: Path) -> None:
    board = read_leaderboard([alpha])
    structured = front(board, "structured")
    assert {p.label: p.accuracy for p in structured.points} == pytest.approx(
        {"base": 37, "twin": 37, "big": 25.5, "lin": 20}
    )
    digits = front(board, "digits")
    assert {p.label for p in digits.points if p.on_front} == {"lin", "gap"}
    assert choices(board)[:5] == ["mean of groups", "mean of tasks", "natural", "specialized", "structured"]


def test_other_costs(alpha: Path) -> None:
    board = read_leaderboard([alpha])
    seconds = front(board, against="seconds")
    assert {p.cost for p in seconds.points} == {20.0}
    assert {p.label for p in seconds.points if p.on_front} == {"base", "twin"}
    assert {p.cost for p in front(board, against="memory").points} == {2**20}


def test_what_cannot_be_drawn_is_refused(alpha: Path) -> None:
    board = read_leaderboard([alpha])
    with pytest.raises(InputError, match="over: expected one of"):
        front(board, "sprite_count")
    with pytest.raises(InputError, match="expected a variant whose final trials are complete"):
        front(replace(board, rows=[]))


points = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    min_size=1,
    max_size=12,
)


@given(points)
def test_front_is_what_nothing_dominates(measured: list[tuple[int, int]]) -> None:
    rows = [
        Row(
            "s",
            f"v{i}",
            "wst",
            {"digits": Score({0: float(accuracy)}, trainable=float(cost))},
            ("digits",),
        )
        for i, (cost, accuracy) in enumerate(measured)
    ]
    found = front(Leaderboard(MINI, ("digits",), rows))
    best_so_far = -1.0
    for cost in sorted({p.cost for p in found.points}):
        level = [p for p in found.points if p.cost == cost]
        highest = max(p.accuracy for p in level)
        for point in level:
            assert point.on_front == (point.accuracy == highest and highest > best_so_far)
        best_so_far = max(best_so_far, highest)


def test_table_has_every_point(alpha: Path) -> None:
    table = as_table(front(read_leaderboard([alpha])))
    assert [row["variant"] for row in table.rows] == ["lin", "base", "twin", "big"]
    assert isinstance(front(read_leaderboard([alpha])), Front)
    assert "gap: not drawn, incomplete." in table.notes

"""The published results: complete, marked, and their averages against the printed ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.leaderboard.board import Leaderboard
from analysis.leaderboard.notes import caveats
from analysis.leaderboard.published import averages, recomputed_averages, results, rows, with_published
from analysis.leaderboard.row import Row, Score
from analysis.leaderboard.table import as_table
from analysis.pareto import front
from wst.data.mini import MINI
from wst.data.suites import find_suite
from wst.errors import InputError

VTAB = find_suite("vtab1k")
TASKS = tuple(task.name for task in VTAB.tasks)
DIFFERENT = {"LoRA"}
"""Methods whose printed average does not follow from the values by task; the verdict says why."""


def test_every_method_has_all_tasks_once_and_a_source() -> None:
    for (_, _), part in results().groupby(["method", "pretraining"]):
        assert sorted(part["task"]) == sorted(TASKS)
        assert part["source"].nunique() == 1
    assert results()["source"].notna().all()
    assert averages()["source"].notna().all()
    assert results()["accuracy"].between(0, 100).all()


def test_printed_averages_follow_from_the_tasks_or_it_says_why_not() -> None:
    compared = [r for r in recomputed_averages() if r.printed is not None and "not printed" not in r.verdict]
    assert len(compared) == 8
    for found in compared:
        assert found.printed is not None
        close = abs(found.printed - found.recomputed) <= 0.05
        assert close == (found.method not in DIFFERENT), found
        assert (found.verdict == "agrees") == close
        assert close or len(found.verdict) > 20
    known = {found.method for found in recomputed_averages()}
    assert known > DIFFERENT


def test_an_average_worked_out_by_hand() -> None:
    """Full fine-tuning: 75.886 natural, 83.375 specialized, 47.6375 structured."""
    full = next(row for row in rows(TASKS) if row.variant == "Full fine-tuning")
    mean, tasks = full.mean_of_groups(VTAB), full.mean_of_tasks()
    assert mean and tasks
    assert mean.mean == pytest.approx((531.2 / 7 + 333.5 / 4 + 381.1 / 8) / 3)
    assert tasks.mean == pytest.approx((531.2 + 333.5 + 381.1) / 19)


def _board() -> Leaderboard:
    own = Row(
        "mine", "wst", "wst", {t: Score({1: 50.0, 2: 52.0}, trainable=8e4, seconds=9.0) for t in TASKS}, TASKS
    )
    return Leaderboard(VTAB, TASKS, [own])


def test_published_rows_are_marked_and_never_the_best() -> None:
    board = with_published(_board())
    table = as_table(board)
    marked = [row for row in table.rows if str(row["variant"]).endswith("†")]
    assert len(marked) == len(rows(TASKS)) == len(table.rows) - 1
    assert all("selected on test or unknown, not re-run here" in str(row["protocol"]) for row in marked)
    best = table.best(next(column for column in table.columns if column.name == "mean of groups"))
    assert {table.rows[i]["variant"] for i in best} == {"wst"}
    assert any(line.startswith("† published: selected on test or unknown") for line in caveats(board))


def test_published_points_are_drawn_but_never_on_the_front() -> None:
    points = front(with_published(_board())).points
    assert [p.label for p in points if p.on_front] == ["wst"]
    assert sum(bool(p.published) for p in points) > 40
    assert [p.label for p in front(with_published(_board()), against="seconds").points] == ["wst"]


def test_fewer_tasks_drop_the_methods_of_which_only_an_average_is_known() -> None:
    some = rows(TASKS[:3])
    assert all(row.printed_mean is None for row in some)
    assert all(row.expected == TASKS[:3] for row in some)


def test_other_suites_are_refused() -> None:
    with pytest.raises(InputError, match=r"--literature: expected a study on suite 'vtab1k'.*found 'mini'"):
        with_published(replace(_board(), suite=MINI))

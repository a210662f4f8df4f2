"""Every number of the leaderboard against the one worked out by hand from tests/analysis/ledgers.py."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from analysis.leaderboard.board import Leaderboard, read_leaderboard
from analysis.leaderboard.notes import caveats
from analysis.leaderboard.row import Row
from analysis.leaderboard.table import as_table, trial_ids
from analysis.tables import Rounded
from wst.data.mini import MINI
from wst.errors import InputError


def _row(board: Leaderboard, variant: str) -> Row:
    return next(row for row in board.rows if row.variant == variant)


def test_means_of_a_complete_variant(alpha: Path) -> None:
    row = _row(read_leaderboard([alpha]), "base")
    assert {task: score.mean for task, score in row.scores.items()} == pytest.approx(
        {"digits": 91, "emoji_group": 61, "sprite_loc": 32, "sprite_ori": 42}
    )
    assert row.scores["digits"].deviation == pytest.approx(math.sqrt(2))
    assert row.scores["sprite_loc"].deviation == pytest.approx(math.sqrt(8))
    tasks, groups = row.mean_of_tasks(), row.mean_of_groups(MINI)
    assert tasks and groups
    assert tasks.mean == pytest.approx((91 + 61 + 32 + 42) / 4)  # 56.5
    assert groups.mean == pytest.approx((91 + 61 + 37) / 3)  # 63.0, the two structured tasks count once
    # By seed the mean of groups is (90 + 60 + 35) / 3 and (92 + 62 + 39) / 3, which differ by 8 / 3.
    assert groups.deviation == pytest.approx(8 / 3 / math.sqrt(2))
    assert row.head() == pytest.approx(64 * (10 + 6 + 8 + 8) / 4)
    assert row.trainable() == 3104
    assert row.seeds() == "2"
    assert row.stages == "search of 6, final"


def test_a_task_that_failed_leaves_no_average_and_is_named(alpha: Path) -> None:
    board = read_leaderboard([alpha])
    row = _row(board, "gap")
    assert not row.complete
    assert row.mean_of_tasks() is None
    assert row.mean_of_groups(MINI) is None
    assert row.average(["digits"]) is not None
    assert row.average(row.group_tasks(MINI, "structured")) is None
    assert board.rows[-1] is row
    assert "gap: incomplete, 3 of 4 tasks (no sprite_ori): averages over them are left out." in caveats(board)


def test_a_seed_that_failed_is_counted_and_named(alpha: Path) -> None:
    board = read_leaderboard([alpha])
    row = _row(board, "big")
    groups = row.mean_of_groups(MINI)
    assert groups
    assert groups.mean == pytest.approx((80 + 51 + (21 + 30) / 2) / 3)
    assert groups.deviation is None  # one seed is left that all four tasks have
    assert row.scores["digits"].deviation is None
    assert row.seeds() == "1-2 of 2"
    assert "big: 1-2 of 2 seeds completed on digits." in caveats(board)
    assert board.failed == 3


def test_order_is_best_first_and_ties_go_to_the_name(alpha: Path) -> None:
    rows = read_leaderboard([alpha]).rows
    assert [row.variant for row in rows] == ["base", "twin", "big", "lin", "gap"]


def test_the_best_are_bold_ties_included(alpha: Path) -> None:
    table = as_table(read_leaderboard([alpha]))
    by_name = {column.name: column for column in table.columns}
    names = [row["variant"] for row in table.rows]
    assert {names[i] for i in table.best(by_name["mean of groups"])} == {"base", "twin"}
    assert {names[i] for i in table.best(by_name["digits"])} == {"gap"}
    assert table.best(by_name["trainable"]) == frozenset()


def test_two_studies_side_by_side_show_their_protocols(alpha: Path, beta: Path) -> None:
    board = read_leaderboard([alpha, beta])
    row = _row(board, "wst5")
    groups = row.mean_of_groups(MINI)
    assert groups
    assert groups.mean == pytest.approx((92 + 62 + 35) / 3)
    # By seed it rises by 2 / 3 a step; five such steps have standard deviation sqrt(2.5) steps.
    assert groups.deviation == pytest.approx(math.sqrt(2.5) * 2 / 3)
    assert row.seeds() == "5"
    assert _row(board, "base").data() == _row(board, "twin").data() != row.data()
    assert board.different_data() == {"digits": ["alpha", "beta"]}
    assert "Data of digits differ between alpha and beta: these numbers do not compare." in caveats(board)
    assert row.protocol() == f"fixed settings, final; 5 seeds; data {row.data()}; mean 0.5 std 0.5"
    cells = as_table(board).rows
    assert {cell["study"] for cell in cells} == {"alpha", "beta"}


def test_every_number_has_its_trials(alpha: Path) -> None:
    found = trial_ids(read_leaderboard([alpha]))
    assert found["alpha/base"]["digits"] == ["digits.base.final.0000", "digits.base.final.0001"]
    assert found["alpha/big"]["digits"] == ["digits.big.final.0000"]
    assert "sprite_ori" not in found["alpha/gap"]


def test_settings_are_shown(alpha: Path) -> None:
    assert _row(read_leaderboard([alpha]), "base").settings() == Rounded(
        "drop_path 0, lr 2.00e-2, r 2, scale 1", "drop_path 0, lr 0.02, r 2, scale 1"
    )


def test_fewer_tasks_on_request(alpha: Path) -> None:
    board = read_leaderboard([alpha], ["digits", "emoji_group"])
    assert board.tasks == ("digits", "emoji_group")
    assert board.rows[0].variant == "gap"  # complete on these two
    mean = board.rows[0].mean_of_tasks()
    assert mean
    assert mean.mean == pytest.approx((96 + 71) / 2)
    assert "2 of the suite's 5 tasks: not its average." in caveats(board)


def test_a_task_that_no_study_asked_for_is_refused(alpha: Path) -> None:
    with pytest.raises(InputError, match=r"task: expected one of .*; found 'sprite_count'"):
        read_leaderboard([alpha], ["sprite_count"])

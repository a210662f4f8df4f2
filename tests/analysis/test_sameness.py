"""What rows of several studies were made with."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.ablation import read_ablation
from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.table import as_table
from analysis.pareto import front
from analysis.report.sections import write_report
from analysis.sameness import differing
from tests.analysis.ledgers import BETA, Writer, beta_study

ROW = {
    "study": "a",
    "task": "t",
    "recipe_hash": "r",
    "backbone": "micro",
    "checkpoint_hash": "w",
    "normalisation": "n",
    "preprocessing": "p",
}


@pytest.mark.parametrize(
    ("column", "word"),
    [
        ("recipe_hash", "recipe"),
        ("backbone", "backbone"),
        ("checkpoint_hash", "weights"),
        ("normalisation", "normalisation"),
        ("preprocessing", "preprocessing"),
    ],
)
def test_each_thing_that_differs_is_named(column: str, word: str) -> None:
    rows = pd.DataFrame([ROW, {**ROW, "study": "b"}, {**ROW, "study": "c", column: "other"}])
    assert differing(rows) == [f"These rows differ in {word} (a, b against c): not in their variants alone."]


def test_what_is_equal_not_known_or_of_other_tasks_is_no_difference() -> None:
    same, unknown = {**ROW, "study": "b"}, {**ROW, "study": "c", "checkpoint_hash": None}
    elsewhere = {**ROW, "study": "d", "task": "u", "preprocessing": "other"}
    assert differing(pd.DataFrame([ROW, same, unknown, elsewhere])) == []
    assert differing(pd.DataFrame([ROW]).drop(columns="preprocessing")) == []


def _longer(folder: Path) -> Path:
    writer = Writer(folder, beta_study(name="longer", recipe={"epochs": 5, "warmup_epochs": 1}))
    with writer.ledger:
        writer.finals(BETA, digits_data="-other")
    return folder


@pytest.mark.slow
def test_every_view_says_in_one_line_what_differs(beta: Path, alpha: Path, tmp_path: Path) -> None:
    folders = [beta, _longer(tmp_path / "longer")]
    line = "These rows differ in recipe (beta against longer): not in their variants alone."
    board = read_leaderboard(folders)
    assert as_table(board).notes.count(line) == 1
    assert front(board).caveats.count(line) == 1
    assert read_ablation(folders).caveats.count(line) == 1
    write_report(folders, tmp_path / "report.html")
    assert line in (tmp_path / "report.html").read_text()
    for alike in ([alpha], [alpha, beta]):
        assert not any("differ in" in note for note in as_table(read_leaderboard(alike)).notes)

"""What rows were made with, and that nothing unlike is compared in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.ablation import as_table as ablation_table
from analysis.ablation import read_ablation
from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.table import accuracies, as_table
from analysis.pairs import as_list, read_pairs
from analysis.pareto import as_table as front_table
from analysis.pareto import front
from analysis.report.sections import write_report
from analysis.sameness import ASPECTS, Made, made_of
from tests.analysis.ledgers import BETA, Writer, alpha_study, beta_study
from wst.cli.analysis import Unlike
from wst.errors import InputError
from wst.study import Study

ROW = {
    "study": "a",
    "task": "t",
    "variant": "v",
    "backbone": "micro",
    "checkpoint_hash": "w",
    "normalisation": "n",
    "preprocessing": "p",
    "precision": "fp32",
    "data_hash": "d",
}


def _made(*rows: dict[str, Any], studies: dict[str, Study] | None = None) -> Made:
    trials = pd.DataFrame(rows)
    return made_of(trials, trials["study"] + ": " + trials["variant"], studies or {})


@pytest.mark.parametrize(
    ("column", "word"),
    [
        ("backbone", "backbone"),
        ("checkpoint_hash", "weights"),
        ("normalisation", "normalisation"),
        ("preprocessing", "preprocessing"),
        ("precision", "precision"),
    ],
)
def test_each_thing_that_differs_is_named_with_its_values(column: str, word: str) -> None:
    made = _made(ROW, {**ROW, "study": "b"}, {**ROW, "study": "c", column: "other"})
    values = sorted([f"{ROW[column]} in a, b", "other in c"])
    assert made.line() == [f"These rows differ in {word} ({'; '.join(values)}): not in their variants alone."]
    assert made.cell("c: v", word) == "other"  # type: ignore[arg-type]
    assert list(made.unlike("a: v", "c: v", "t")) == [word]
    assert made.unlike("a: v", "c: v", "t", across=[word]) == made.unlike("a: v", "b: v", "t") == {}  # type: ignore[list-item]


def test_what_is_equal_not_known_or_of_other_tasks_is_no_difference() -> None:
    same, unknown = {**ROW, "study": "b"}, {**ROW, "study": "c", "checkpoint_hash": None}
    elsewhere = {**ROW, "study": "d", "task": "u", "preprocessing": "other"}
    assert _made(ROW, same, unknown, elsewhere).line() == []
    row = {name: value for name, value in ROW.items() if name != "preprocessing"}
    assert _made(row, {**row, "study": "b"}).line() == []


def test_each_of_them_can_be_given_to_across() -> None:
    assert [unlike.value for unlike in Unlike] == list(ASPECTS)


def test_rows_of_one_study_may_differ() -> None:
    made = _made(ROW, {**ROW, "variant": "w", "precision": "bf16"})
    assert made.line() == ["These rows differ in precision (bf16; fp32): not in their variants alone."]


def test_a_recipe_is_shown_by_what_the_others_have_not() -> None:
    studies = {
        "a": alpha_study(recipe={"epochs": 4, "warmup_epochs": 1, "precision": "bf16"}),
        "b": alpha_study(recipe={"epochs": 9, "warmup_epochs": 2, "precision": "fp32"}),
        "c": alpha_study(recipe={"epochs": 9, "warmup_epochs": 2, "precision": "auto"}),
    }
    row = {**ROW, "variant": "lin", "precision": None}
    made = _made(row, {**row, "study": "b"}, {**row, "study": "c"}, studies=studies)
    assert made.differing == ["recipe", "epochs", "precision"]
    assert made.cell("a: lin", "recipe") == "warmup_epochs 1.0"
    assert list(made.unlike("a: lin", "b: lin", "t")) == ["recipe", "epochs", "precision"]
    assert made.unlike("a: lin", "b: lin", "t", across=["recipe"]) == {}  # epochs and precision are in it
    assert list(made.unlike("a: lin", "b: lin", "t", across=["epochs"])) == ["recipe", "precision"]
    assert made.unlike("b: lin", "c: lin", "t") == {}  # what auto came to is not known


def test_budgets_of_two_searches_are_unlike_and_none_is_a_variants_own() -> None:
    studies = {"a": alpha_study(), "b": alpha_study(search={"trials": 24})}
    rows = [{**ROW, "study": study, "variant": v} for study in "ab" for v in ("base", "twin", "lin")]
    made = _made(*rows, studies=studies)
    assert [made.cell(f"b: {v}", "budget") for v in ("base", "twin", "lin")] == ["24 trials"] * 2 + ["none"]
    assert made.unlike("a: base", "b: twin", "t") == {"budget": "6 trials against 24 trials"}
    assert made.unlike("a: base", "b: lin", "t") == {}
    assert "budget (none in a, b; 6 trials in a; 24 trials in b)" in made.line()[0]


@pytest.fixture
def longer(tmp_path: Path) -> Path:
    """As ``beta``, trained for 5 epochs instead of 2, and with another variant."""
    fixed = {"method": "wst", "fixed": {"lr": 0.02, "r": 3}}
    study = beta_study(
        name="longer", recipe={"epochs": 5, "warmup_epochs": 1}, variants={"wst5": fixed, "more": fixed}
    )
    with (writer := Writer(tmp_path / "longer", study)).ledger:
        writer.finals({**BETA, "more": BETA["wst5"]}, digits_data="-other")
    return tmp_path / "longer"


LINE = "These rows differ in epochs (2 in beta; 5 in longer): not in their variants alone."


def test_an_ablation_pairs_across_epochs_only_if_told(beta: Path, longer: Path) -> None:
    found = read_ablation([longer, beta], "longer: wst5")
    assert [c.variant for c in found.comparisons] == ["longer: more"]
    assert set(found.ranks) == {"longer: wst5", "longer: more"}
    refused = (
        "Not compared: beta: wst5, since they differ in epochs (2 against 5); --across epochs compares them."
    )
    assert {LINE, refused} <= set(found.caveats)
    with pytest.raises(InputError) as error:
        read_ablation([longer, beta], "beta: wst5")
    assert str(error.value) == (
        "ablation: expected a variant to compare with beta: wst5; found none. Not compared: longer: more, "
        "longer: wst5, since they differ in epochs (5 against 2); --across epochs compares them."
    )
    told = read_ablation([longer, beta], "beta: wst5", across=["epochs"])
    assert LINE in told.caveats
    assert {row["variant"]: row["epochs"] for row in ablation_table(told).rows} == {
        "longer: wst5": "5 against 2",
        "longer: more": "5 against 2",
    }


def test_pairs_are_told_likewise(beta: Path, longer: Path) -> None:
    found = read_pairs([longer, beta])
    assert [set(both) for both in found.comparisons] == [{"longer: wst5", "longer: more"}]
    assert sum("--across epochs compares them" in line for line in found.caveats) == 1
    listed = as_list(read_pairs([longer, beta], across=["recipe"]))
    assert sorted(str(row["epochs"]) for row in listed.rows) == ["2 against 5", "2 against 5", "5"]


def test_tables_say_in_a_line_and_a_column_what_differs(alpha: Path, beta: Path, longer: Path) -> None:
    board = read_leaderboard([beta, longer])
    for table in (as_table(board), front_table(front(board))):
        assert table.notes.count(LINE) == 1
        assert {row["epochs"] for row in table.rows} == {"2", "5"}
    assert "epochs" in [column.name for column in accuracies(board).columns]
    alike = as_table(read_leaderboard([alpha, beta]))
    assert "epochs" not in [column.name for column in alike.columns]


@pytest.mark.slow
def test_the_report_says_it_and_compares_nothing_in_silence(beta: Path, tmp_path: Path) -> None:
    with (
        writer := Writer(tmp_path / "l", beta_study(name="longer", recipe={"epochs": 5, "warmup_epochs": 1}))
    ).ledger:
        writer.finals(BETA, digits_data="-other")
    write_report([beta, tmp_path / "l"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert LINE in page and "--across epochs compares them" in page

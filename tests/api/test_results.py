"""Results of studies as data frames and figures, from hand-made ledgers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from plotly.graph_objects import Figure

import wst
from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.table import as_table
from analysis.tables import flat_rows
from tests.analysis.ledgers import TASKS
from wst.errors import InputError


def test_the_leaderboard_is_that_of_the_command_as_numbers(alpha: Path) -> None:
    board = wst.open(alpha).leaderboard()
    table = as_table(read_leaderboard([alpha]))
    expected = flat_rows(table)
    assert list(board.columns) == list(expected[0])
    assert board["variant"].tolist() == [row["variant"] for row in expected]
    assert board.set_index("variant").loc["base", "digits"] == 91
    assert board["mean of groups std"].dtype == float
    assert board.attrs == {"title": table.title, "notes": table.notes}
    assert wst.open(alpha).leaderboard("digits").columns.intersection(TASKS).tolist() == ["digits"]
    assert wst.open(alpha).leaderboard(settings="tuned")["variant"].tolist() == ["base"]


def test_several_studies_stand_below_each_other(alpha: Path, beta: Path) -> None:
    results = wst.open(alpha, str(beta))
    assert list(results.studies) == ["alpha", "beta"]
    assert set(results.trials()["study"]) == set(results.epochs()["study"]) == {"alpha", "beta"}
    assert results.trials(["task", "state"]).columns.tolist() == ["task", "state"]
    assert set(results.status()["study"]) == {"alpha", "beta"}
    assert {"alpha", "beta"} == set(results.leaderboard()["study"])


def test_tables_and_figures_of_the_same_numbers(alpha: Path) -> None:
    results = wst.open(alpha)
    points, drawn = results.front("mean of tasks"), results.pareto("mean of tasks")
    assert isinstance(drawn, Figure)
    ys = [y for trace in drawn.data if "markers" in trace.mode for y in trace.y]
    assert sorted(ys) == sorted(points["accuracy"])
    compared, differences = results.ablation("base"), results.differences("base")
    assert sorted(x for trace in differences.data for x in trace.x) == sorted(compared["difference"])
    assert len(results.ablation(pairs=True)) == 10
    importance, bars = results.importance(), results.importance_bars()
    assert importance["task"].tolist() == [*TASKS, "mean of tasks"] and len(bars.data) <= 1
    assert results.best()["variant"].unique().tolist() == list(results.studies["alpha"].variants)


def test_a_static_figure_and_the_results_show_in_a_notebook(alpha: Path) -> None:
    results = wst.open(alpha)
    assert results.pareto("digits", static=True)._repr_png_().startswith(b"\x89PNG")
    page = results._repr_html_()
    assert page.startswith("<table>") and "not comparable with VTAB-1K" in page
    assert repr(results) == f"wst.open({str(alpha)!r})"


@pytest.mark.slow
def test_the_report_replaces_nothing_unasked(alpha: Path, tmp_path: Path) -> None:
    path = wst.open(alpha).report(tmp_path / "r.html")
    assert path.read_text().startswith("<!doctype html>")
    with pytest.raises(InputError, match=r"out: .*r.html: expected a new file"):
        wst.open(alpha).report(path)
    assert wst.open(alpha).report(path, force=True) == path


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda r: r.leaderboard(["digit"]), r"task: expected one of .*\(did you mean 'digits'\?\)"),
        (lambda r: r.leaderboard(settings="tund"), r"settings: expected .* \(did you mean 'tuned'\?\)"),
        (lambda r: r.leaderboard(literature=True, side_by_side=True), "side_by_side: expected neither"),
        (lambda r: r.pareto("digit"), r"over: expected one of .*found 'digit' \(did you mean 'digits'\?\)"),
        (lambda r: r.pareto(against="second"), r"against: expected .* \(did you mean 'seconds'\?\)"),
        (lambda r: r.ablation("bse"), r"baseline: expected .* \(did you mean 'base'\?\)"),
        (lambda r: r.ablation("base", pairs=True), "pairs: expected no baseline"),
        (lambda r: r.ablation("base", across=["recpie"]), r"across: expected .* \(did you mean 'recipe'\?\)"),
        (lambda r: r.importance("anova"), r"method: expected one of ped-anova, fanova; found 'anova'"),
        (lambda r: r.trials(["sate"]), r"columns: expected .* \(did you mean 'state'\?\)"),
        (lambda r: wst.open(), "open: expected the output folder of a study; found none"),
        (lambda r: wst.open(Path(__file__).parent), "expected a study's output folder"),
    ],
)
def test_a_misspelt_word_gets_one_line(alpha: Path, call: object, line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        call(wst.open(alpha))  # type: ignore[operator]
    assert "\n" not in str(error.value)


def test_frames_are_plain(alpha: Path) -> None:
    results = wst.open(alpha)
    for frame in (results.trials(), results.leaderboard(), results.front(), results.ablation("base")):
        assert type(frame) is pd.DataFrame and frame.index.equals(pd.RangeIndex(len(frame)))

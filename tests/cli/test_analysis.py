"""The verbs, as a shell calls them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.analysis.ledgers import BETA, Writer, alpha_study, beta_study
from tests.conftest import ROOT
from tests.data.trees import class_folders
from wst.cli.analysis import analysis_app, draw_pareto, show_leaderboard
from wst.cli.output import Form
from wst.errors import InputError

pytestmark = pytest.mark.slow  # draws pictures and pages


def _run(*arguments: object) -> str:
    result = CliRunner().invoke(analysis_app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.mark.parametrize("style", ["terminal", "markdown", "latex", "csv", "html", "json"])
def test_leaderboard_in_every_format(alpha: Path, style: str) -> None:
    shown = _run("leaderboard", alpha, "--format", style)
    assert "base" in shown
    assert "incomplete, 3 of 4 tasks" in " ".join(shown.split()) or style == "csv"


def test_leaderboard_json_has_numbers_and_trials(alpha: Path, beta: Path) -> None:
    found = json.loads(_run("leaderboard", alpha, beta, "--json"))
    assert found["suite"] == "mini"
    rows = {row["variant"]: row for row in found["rows"]}
    assert rows["base"]["mean of groups"] == pytest.approx(63)
    assert rows["gap"]["mean of groups"] is None
    assert found["trials"]["beta/wst5"]["digits"][4] == "digits.wst5.final.0004"


def test_literature_is_for_vtab1k(alpha: Path) -> None:
    with pytest.raises(InputError, match="--literature: expected a study on suite 'vtab1k'"):
        _run("leaderboard", alpha, "--literature")


def test_pareto_writes_the_picture_and_prints_the_points(alpha: Path, tmp_path: Path) -> None:
    out = tmp_path / "front.svg"
    found = json.loads(_run("pareto", alpha, "-o", out, "--over", "digits", "--json"))
    assert out.stat().st_size > 1000
    assert {row["variant"]: row["on the front"] for row in found["rows"]} == {
        "lin": True,
        "gap": True,
        "base": False,
        "twin": False,
        "big": False,
    }


def test_ablation(alpha: Path) -> None:
    found = json.loads(_run("ablation", alpha, "--baseline", "lin", "--json"))
    assert {row["variant"] for row in found["rows"]} == {"base", "twin", "gap", "big"}
    assert "inside the noise" in _run("ablation", alpha, "--format", "csv")


def test_pairs(alpha: Path) -> None:
    assert len(json.loads(_run("ablation", alpha, "--pairs", "--json"))["rows"]) == 10
    assert _run("ablation", alpha, "--pairs", "--format", "csv").splitlines()[0].startswith("variant,other,")
    assert "| 2 base |" in _run("ablation", alpha, "--pairs", "--format", "markdown")
    with pytest.raises(InputError, match="--pairs: expected no --baseline beside it"):
        _run("ablation", alpha, "--pairs", "--baseline", "lin")


def test_settings_side_by_side_and_of_one_kind(alpha: Path, tmp_path: Path) -> None:
    (row,) = json.loads(_run("leaderboard", alpha, "--side-by-side", "--json"))["rows"]
    assert row["method"] == "base"
    with pytest.raises(InputError, match="--side-by-side: expected neither"):
        _run("leaderboard", alpha, "--side-by-side", "--settings", "tuned")
    rows = json.loads(_run("leaderboard", alpha, "--settings", "untuned", "--json"))["rows"]
    assert {row["variant"] for row in rows} == {"twin", "gap", "big", "lin"}
    front = json.loads(_run("pareto", alpha, "-o", tmp_path / "f.svg", "--settings", "tuned", "--json"))
    assert [row["variant"] for row in front["rows"]] == ["base"]
    ablation = json.loads(_run("ablation", alpha, "--settings", "untuned", "--json"))
    assert {row["variant"] for row in ablation["rows"]} == {"gap", "big", "lin"}


def test_a_leaderboard_of_many_variants_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"variant-with-a-name-{place}" for place in range(20)]
    study = alpha_study(variants={name: {"method": "linear", "fixed": {"lr": 0.01}} for name in names})
    writer = Writer(tmp_path / "s", study)
    with writer.ledger:
        writer.finals({name: {task: [50, 51] for task in study.tasks} for name in names})
    for width in (80, 120, 200):
        show_leaderboard([tmp_path / "s"], Form("terminal"), Console(width=width))
        shown = capsys.readouterr().out
        assert "…" not in shown and max(map(len, shown.splitlines())) <= width
        assert all(name in shown.split() for name in names)
        assert "20 variants" in shown  # who read the test splits, by their number


def test_only_the_columns_that_are_asked_for(alpha: Path, tmp_path: Path) -> None:
    lines = _run("leaderboard", alpha, "--format", "csv", "--columns", "trainable, variant").splitlines()
    assert lines[0] == "trainable,variant"
    picture = tmp_path / "front.svg"
    with pytest.raises(
        InputError, match=r"--columns: expected some of variant, .*; found 'acuracy' \(did you"
    ):
        _run("pareto", alpha, "-o", picture, "--columns", "acuracy")
    assert not picture.exists()


def test_ablation_across_what_differs(beta: Path, tmp_path: Path) -> None:
    with (
        writer := Writer(tmp_path / "l", beta_study(name="l", recipe={"epochs": 5, "warmup_epochs": 1}))
    ).ledger:
        writer.finals(BETA, digits_data="-other")
    with pytest.raises(InputError, match=r"found none\. .* epochs \(5 against 2\); --across epochs compares"):
        _run("ablation", beta, tmp_path / "l")
    with pytest.raises(InputError, match="--across epochs"):
        _run("ablation", beta, tmp_path / "l", "--across", "budget", "--pairs")
    words = ["ablation", beta, tmp_path / "l", "--across", "budget", "--across", "recipe", "--json"]
    (row,) = json.loads(_run(*words))["rows"]
    assert (row["verdict"], row["epochs"]) == ("inside the noise", "5 against 2")


@pytest.mark.parametrize("verb", ["leaderboard", "pareto", "ablation", "importance"])
def test_captions_and_labels_are_latex_alone(alpha: Path, tmp_path: Path, verb: str) -> None:
    words = [verb, alpha, *(["-o", tmp_path / "f.svg"] if verb == "pareto" else [])]
    with pytest.raises(InputError, match=r"^--caption: expected --format latex beside it; found terminal$"):
        _run(*words, "--caption", "x")
    with pytest.raises(InputError, match=r"^--label: expected --format latex beside it; found json$"):
        _run(*words, "--format", "latex", "--label", "x", "--json")
    with pytest.raises(InputError, match=r"^--label: expected letters, digits"):
        _run(*words, "--format", "latex", "--label", "{")
    assert not (tmp_path / "f.svg").exists()
    words += ["--table", "selection"] if verb == "importance" else []
    found = _run(*words, "--format", "latex", "--caption", "100%", "--label", "tab:x")
    assert "\\caption{100\\%}\n\\label{tab:x}" in found


def test_a_csv_is_one_table(alpha: Path, tmp_path: Path) -> None:
    picture = ["-o", tmp_path / "f.svg"]
    for words in (["leaderboard"], ["pareto", *picture], ["ablation"], ["ablation", "--pairs"]):
        header, *rows = csv.reader(_run(words[0], alpha, *words[1:], "--format", "csv").splitlines())
        assert rows and all(len(row) == len(header) for row in rows)
    for style in ("csv", "latex"):
        expected = (
            f"^--format {style}: expected --table importance, selection, confirmation beside it; found none$"
        )
        with pytest.raises(InputError, match=expected):
            _run("importance", alpha, "--format", style)
    for table, name in (("importance", "lr"), ("selection", "best val"), ("confirmation", "optimism")):
        lines = _run("importance", alpha, "--table", table, "--format", "csv").splitlines()
        assert name in lines[0].split(",") and len({line.count(",") for line in lines}) == 1
    found = json.loads(_run("importance", alpha, "--table", "selection", "--json"))
    assert found["rows"][0]["tied for the best"] == 2


def test_importance(alpha: Path) -> None:
    found = json.loads(_run("importance", alpha, "--json"))
    assert found["importance"]["rows"][0]["trials"] == 4
    assert found["selection"]["rows"][0]["tied for the best"] == 2
    assert "correlation within tasks" in " ".join(_run("importance", alpha).split())


def test_report(alpha: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "report.html"
    assert str(out) in _run("report", alpha, "-o", out).replace("\n", "")
    assert out.read_text().startswith("<!doctype html>")
    watched = _run("report", ROOT / "docs" / "demo", "-o", out, "--force", "--watch", 60)
    assert watched.endswith("; all trials have ended\n") and watched.count("\n") == 1


def test_functions_for_other_verbs(alpha: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_leaderboard([alpha], Form("terminal"), Console(width=150))
    assert "mean of groups" in capsys.readouterr().out
    draw_pareto([alpha], tmp_path / "front.png")
    assert (tmp_path / "front.png").exists()


def test_a_table_goes_where_the_console_writes(alpha: Path, tmp_path: Path) -> None:
    with (tmp_path / "board.md").open("w") as file:
        show_leaderboard([alpha], Form("markdown"), Console(file=file))
    assert (tmp_path / "board.md").read_text().startswith("| variant | digits |")


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_ledger_is_read_without_the_images(tmp_path: Path, form: str) -> None:
    """As after a copy to another machine: the user's own suite is gone."""
    pictures = tmp_path / "pictures"
    class_folders(pictures / "pets", {"cat": 5, "dog": 5})
    class_folders(pictures / "leaves", {"oak": 5, "maple": 5})
    (tmp_path / "own.yaml").write_text(
        "name: own\ntasks:\n"
        "  - {name: pets, folder: pictures/pets, group: natural}\n"
        "  - {name: leaves, folder: pictures/leaves, group: structured}\n"
    )
    suite = pictures if form == "folder" else tmp_path / "own.yaml"
    study = alpha_study(suite=str(suite), tasks=["pets", "leaves"])
    writer = Writer(tmp_path / "s", study)
    with writer.ledger:
        for task, accuracy in (("pets", 0.9), ("leaves", 0.5)):
            found = writer.add(
                task, "base", "search", 0, {"lr": 0.01, "scale": 1.0, "r": 2}, val=0.7, loss=1.0
            )
            for seed in range(2):
                settings = {"lr": 0.01, "scale": 1.0, "r": 2}
                reached = {"parent": found, "test_top1": accuracy, "test_images": 2}
                writer.add(task, "base", "final", seed, settings, seed=seed, **reached)
    before = json.loads(_run("leaderboard", tmp_path / "s", "--json"))
    shutil.rmtree(pictures)
    (tmp_path / "own.yaml").unlink()
    after = json.loads(_run("leaderboard", tmp_path / "s", "--json"))
    assert after["rows"] == before["rows"] and after["rows"][0]["mean of groups"] == pytest.approx(70)
    assert after["suite"] == before["suite"] == suite.stem
    assert "not on this machine" in _run("leaderboard", tmp_path / "s")
    (choice,) = [
        row
        for row in json.loads(_run("importance", tmp_path / "s", "--json"))["selection"]["rows"]
        if row["task"] == "leaves"
    ]
    assert choice["best val"] == pytest.approx(70) and choice["within one standard error"] is None
    _run("report", tmp_path / "s", "-o", tmp_path / "report.html")
    assert "leaves" in (tmp_path / "report.html").read_text()

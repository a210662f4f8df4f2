"""The command line in this process: what it prints, and bad input with one line and status 2."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.commands import Result, Wst, caller
from tests.conftest import LR, ROOT, small_study
from tests.synthetic import run_all
from wst.engine.faults import OutOfTime, StudyInterrupted, StudyStoppedError
from wst.ledger import Ledger
from wst.planning.planner import Planner
from wst.records import Epoch, Outcome
from wst.training.trial import Trial
from wst.workflows import tune

pytestmark = pytest.mark.slow  # trains, and looks at whole suites

CODE = {"version": "0", "commit": None, "libraries": "{}"}


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


@pytest.fixture
def root(mini_root: Path, tmp_path: Path) -> Path:
    """A copy of one task of the mini suite that a test may spoil."""
    shutil.copytree(mini_root / "mini" / "digits", tmp_path / "data" / "mini" / "digits")
    return tmp_path / "data"


def _study(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(small_study(**changes).to_yaml())
    return path


def _refused(result: Result, *words: str) -> None:
    assert result.status == 2
    assert result.err.count("\n") == 1 and result.err.startswith("wst: ")
    for word in words:
        assert word in result.err


def _edit(path: Path, key: str, value: object) -> None:
    data = yaml.safe_load(path.read_text())
    data[key] = value
    path.write_text(yaml.safe_dump(data))


def test_misspelt_key(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = _study(tmp_path)
    _edit(path, "recipee", {"epochs": 3})
    _refused(wst("tune", path), str(path), "'recipee'", "did you mean 'recipe'")


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ({"fixed": {"lr": 0.1, "r": 2.5}}, ["fixed: r of wst: expected a whole number", "found 2.5"]),
        ({"fixed": {"lr": 0.1, "r": "abc"}}, ["fixed: r of wst: expected a whole number", "found 'abc'"]),
        (
            {"space": {"lr": LR, "downsampling": {"type": "categorical", "choices": ["haar", "typo"]}}},
            ["space: downsampling of wst: expected one of haar", "found 'typo'"],
        ),
        ({"fixed": {"lr": 0.1, "scale": "big"}}, ["fixed: scale of wst: expected a number", "found 'big'"]),
    ],
)
def test_wrong_hyperparameter(wst, tmp_path: Path, variant: dict[str, Any], words: list[str]) -> None:  # type: ignore[no-untyped-def]
    path = _study(tmp_path, variants={"v": {"method": "wst", **variant}})
    _refused(wst("tune", path, "--out", tmp_path / "o"), "variants.v", *words)
    assert not (tmp_path / "o").exists()


def test_wrong_hyperparameter_of_a_single_fine_tune(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for wrong, words in (("r=abc", "found 'abc'"), ("scale=big", "found 'big'"), ("x=1", "found 'x'")):
        result = wst("train", "--task", "digits", "--set", "lr=0.1", "--set", wrong, "--out", tmp_path / "o")
        _refused(result, "of wst", words)
    assert not (tmp_path / "o").exists()


def test_a_folder_with_an_analysis_of_its_own_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise RuntimeError('not ours')")
    run = subprocess.run(
        [sys.executable, "-m", "wst", "leaderboard", str(ROOT / "docs" / "demo")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0 and "wst-r2" in run.stdout, run.stderr


def test_missing_data_folder(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = wst("tune", _study(tmp_path), "--root", tmp_path / "nowhere", "--out", tmp_path / "o")
    _refused(result, "--root", "nowhere")
    (tmp_path / "empty").mkdir()
    result = wst("tune", _study(tmp_path), "--root", tmp_path / "empty", "--out", tmp_path / "o")
    _refused(result, "digits", "expected a folder")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("images/train800/gone.bmp 3", ["train800.txt, line 801", "gone.bmp"]),
        ("images/train800/000000.bmp 10", ["train800.txt, line 801", "from 0 to 9", "10"]),
        ("images/train800/000000.bmp", ["train800.txt, line 801", "path label"]),
        ("../../../secret.bmp 1", ["train800.txt, line 801", "inside"]),
    ],
)
def test_spoilt_list_file(wst, tmp_path: Path, root: Path, line: str, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "secret.bmp").write_bytes(b"")
    with (root / "mini" / "digits" / "train800.txt").open("a") as file:
        file.write(line + "\n")
    _refused(wst("tune", _study(tmp_path), "--root", root, "--out", tmp_path / "o"), *words)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("split", ["train800", "test"])
def test_unreadable_image(wst, tmp_path: Path, root: Path, split: str) -> None:  # type: ignore[no-untyped-def]
    (root / "mini" / "digits" / "images" / split / "000007.bmp").write_bytes(b"not a picture")
    result = wst("tune", _study(tmp_path), "--root", root, "--out", tmp_path / "o")
    _refused(result, f"{split}/000007.bmp", "expected a readable image")


def test_output_folder_of_another_study(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "o"
    with Ledger(out, small_study(seed=5), CODE):
        pass
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    _refused(wst("tune", _study(tmp_path), "--out", out), "differs: seed: has 5, asked for 0")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"backbone": "vit_base_patch16_224"},
            ["checkpoint: expected a weights file", "or pretrained: true"],
        ),
        ({"backbone": "vit_bass"}, ["backbone", "'vit_bass'"]),
        ({"checkpoint": "/nowhere/weights.pth"}, ["checkpoint", "/nowhere/weights.pth"]),
        (
            {"variants": {"x": {"method": "lorra", "fixed": {"lr": 1e-3}}}},
            ["method", "'lorra'", "linear, lora"],
        ),
        (
            {"variants": {"x": {"method": "wst", "fixed": {"lr": 1e-3, "rank": 2}}}},
            ["hyperparameter", "'rank'"],
        ),
    ],
)
def test_wrong_names_are_found_before_anything_runs(  # type: ignore[no-untyped-def]
    wst, tmp_path: Path, changes: dict[str, object], words: list[str]
) -> None:
    _refused(wst("tune", _study(tmp_path, **changes), "--out", tmp_path / "o"), *words)
    assert not (tmp_path / "o").exists()


def test_dry_run_prints_cells_and_cost_and_writes_nothing(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    result = wst("tune", _study(tmp_path), "--dry-run", "--json", "--out", tmp_path / "o")
    assert result.status == 0
    rows = json.loads(result.out)
    assert [(r["variant"], r["search_trials"], r["final_trials"]) for r in rows] == [
        ("linear", 6, 2),
        ("wst-r2", 6, 2),
    ]
    assert rows[1]["trainable"] == 3104 and rows[1]["seconds"] > 0 and rows[0]["seconds"] > 0
    # Rungs at 1 and 2 of 4 epochs, half pass each: 1 + 1/2 + 2/4 epochs a trial.
    assert rows[0]["search_epochs"] == pytest.approx(6 * 2)
    assert not (tmp_path / "o").exists()


def test_dry_run_of_a_study_for_a_gpu_needs_none(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = _study(tmp_path, resources={"gpus_per_trial": 1})
    assert json.loads(wst("tune", path, "--dry-run", "--json").out)[0]["seconds"] > 0


@pytest.mark.parametrize("final", [None, {"seeds": 1}])
def test_json_of_a_study_that_ran_stands_alone(  # type: ignore[no-untyped-def]
    wst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final: object
) -> None:
    """And its trackers hear of the leaderboard, if it has one."""
    ranked: list[dict[str, object]] = []
    heard = "wst.trackers.tensorboard.TensorBoard.ranked"
    monkeypatch.setattr(heard, lambda _, rows: ranked.extend(rows))
    variants = {"linear": {"method": "linear", "space": {"lr": LR}}}
    search = {"trials": 1}
    recipe = {"epochs": 1, "warmup_epochs": 0}
    path = _study(tmp_path, variants=variants, search=search, final=final, recipe=recipe)
    result = wst("tune", path, "--inline", "--json", "--out", tmp_path / "o", "--track", "tensorboard")
    assert result.status == 0 and f"ledger: {tmp_path / 'o' / 'ledger'}" in result.err
    found = json.loads(result.out)
    if final is None:
        assert [(row["task"], row["search"], row["left"]) for row in found] == [("digits", "1/1", 0)]
    else:
        assert found["suite"] == "mini"
    assert [row["variant"] for row in ranked] == ([] if final is None else ["linear"])


@pytest.mark.parametrize("below", ["", "o"])
def test_output_folder_that_cannot_be_made(wst, tmp_path: Path, below: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("precious")
    _refused(
        wst("tune", _study(tmp_path), "--inline", "--out", tmp_path / "file" / below), "file", "expected"
    )
    _refused(wst("tune", _study(tmp_path), "--inline", "--out", "/dev/null/o"), "/dev/null", "expected")
    words = ["train", "--task", "digits", "--set", "lr=1e-3", "--epochs", 1]
    _refused(wst(*words, "--out", tmp_path / "file" / below), "file", "expected")
    assert (tmp_path / "file").read_text() == "precious"


def test_best_makes_a_folder_and_overwrites_nothing(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    study = small_study()
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        for trial in run_all(Planner(study)):
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, trial.outcome)
    target = tmp_path / "new" / "best.yaml"
    assert wst("best", tmp_path / "s", "-o", target).status == 0
    before = target.read_text()
    _refused(
        wst("best", tmp_path / "s", "-o", target), "best.yaml: expected a new file; found one that exists"
    )
    _refused(wst("best", tmp_path / "s", "-o", "/dev/null/best.yaml"), "/dev/null")
    assert target.read_text() == before and list(target.parent.iterdir()) == [target]


def test_status_shows_a_best_accuracy_of_nothing(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    study = small_study(variants={"linear": {"method": "linear", "space": {"lr": LR}}}, final=None)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        intent = Planner(study).ask()
        assert intent is not None
        ledger.add_intent(intent)
        epochs = tuple(Epoch(number, 0.1, 2.0, 3.0, 0.0, 1.0) for number in range(1, 5))
        ledger.add_trial(intent, Outcome("completed", epochs=epochs))
    line = wst("status", tmp_path / "s").out.splitlines()[-2]
    assert line.split()[2:4] == ["1/6", "0.0"]


def test_status_counts_trials_and_test_reads(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    study = small_study()
    ended = run_all(Planner(study), stop_after=14)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        for trial in ended:
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, trial.outcome)
    rows = json.loads(wst("status", tmp_path / "s", "--json").out)
    assert [row["search"] for row in rows] == ["6/6", "6/6"]
    assert sum(row["left"] for row in rows) == 2
    assert sum(row["test reads"] for row in rows) == 2
    assert "digits" in wst("status", tmp_path / "s").out
    _refused(wst("status", tmp_path), "expected a study's output folder")


def test_status_and_best_in_every_format(wst, alpha: Path) -> None:  # type: ignore[no-untyped-def]
    for verb, first, rates in (
        ("status", "digits,base,6/6,-,2/2,", ()),
        ("best", "digits,base,", ("2.00e-3", "0.002")),
    ):
        found = {
            style: wst(verb, alpha, "--format", style).out for style in ("csv", "latex", "markdown", "html")
        }
        assert found["csv"].splitlines()[1].startswith(first)
        assert len({len(row) for row in csv.reader(found["csv"].splitlines())}) == 1
        assert "\\toprule" in found["latex"] and "| task | variant |" in found["markdown"]
        assert found["html"].startswith("<table>")
        assert wst(verb, alpha, "--format", "json").out == wst(verb, alpha, "--json").out
        for style, text in found.items():
            assert all((rate in text) == (place == (style == "csv")) for place, rate in enumerate(rates)), (
                style
            )
        captioned = wst(verb, alpha, "--format", "latex", "--caption", "a_b", "--label", "tab:x").out
        assert "\\caption{a\\_b}\n\\label{tab:x}" in captioned
        _refused(
            wst(verb, alpha, "--label", "x"), "--label: expected --format latex beside it; found terminal"
        )


@pytest.mark.slow
def test_train_then_run_its_row_again_then_predict(wst, tmp_path: Path, mini_root: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "t"
    words = ["train", "--task", "digits", "--set", "lr=5e-3", "--epochs", 2, "--final", "--save", "--json"]
    first = json.loads(wst(*words, "--out", out).out)
    assert first["state"] == "completed" and first["test_top1"] > 0.7
    assert json.loads(wst(*words, "--out", out).out) == first  # it is there already

    again = wst("train", "--trial", first["trial_id"], "--from", out, "--out", tmp_path / "again", "--json")
    rerun = json.loads(again.out)
    assert rerun["test_top1"] == rerun["test_top1_before"] == first["test_top1"]

    adapter = out / "adapters" / f"{first['trial_id']}.safetensors"
    folder = mini_root / "mini" / "digits" / "images" / "test"
    rows = json.loads(wst("predict", adapter, folder, "--json", "--top", 1).out)
    truth = [int(line.split()[1]) for line in (mini_root / "mini/digits/test.txt").read_text().splitlines()]
    assert len(rows) == 797
    right = sum(row["classes"][0] == label for row, label in zip(rows, truth, strict=True))
    assert right / 797 == pytest.approx(first["test_top1"], abs=0.01)


def test_interrupted_fine_tune_says_after_which_epoch_it_goes_on(  # type: ignore[no-untyped-def]
    wst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, words = Trial.epoch, ["train", "--task", "digits", "--set", "lr=5e-3", "--epochs", 3]

    def once(self: Trial) -> Any:
        if len(self.curve) == 1:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Trial, "epoch", once)
    stopped = wst(*words, "--out", tmp_path / "t")
    assert stopped.status == 130 and stopped.out.count("epoch   1/3") == 1 and "going on" not in stopped.out
    monkeypatch.undo()
    rest = wst(*words, "--out", tmp_path / "t").out
    assert rest.startswith("going on after epoch 1\n")
    assert "epoch   1/3" not in rest and "epoch   2/3" in rest and "epoch   3/3" in rest


def test_train_needs_a_task_and_known_settings(wst, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _refused(wst("train"), "--task: expected a task")
    _refused(wst("train", "--task", "digits"), "learning rate")
    _refused(wst("train", "--task", "digits", "--set", "lr"), "expected NAME=VALUE")
    _refused(wst("train", "--task", "digits", "--released"), "released", "VTAB-1K task", "'digits'")
    _refused(wst("train", "--task", "nothing", "--set", "lr=1"), "task", "'nothing'")
    micro = ["train", "--task", "svhn", "--released", "--backbone", "micro"]
    _refused(wst(*micro), "expected a backbone that the authors used", "'micro'")
    _refused(wst("train", "--task", "caltech101", "--released"), "vit_base_patch16_224.orig_in21k", "weights")
    _refused(wst("train", "--trial", "x"), "--trial and --from together")


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (OutOfTime(), 75, "Stopped, as asked; the same command goes on with"),
        (StudyInterrupted("SIGTERM"), 130, "Stopped. The ledger is whole; the same command goes on with"),
        (StudyStoppedError("s: expected room;\nfound none"), 1, "wst: s: expected room; found none"),
    ],
)
def test_each_way_to_stop_has_its_exit_status(  # type: ignore[no-untyped-def]
    wst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException, status: int, words: str
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise end

    monkeypatch.setattr(tune, "run_study", stop)
    result = wst("tune", _study(tmp_path), "--out", tmp_path / "o", "--stop-after", "3h")
    (line,) = result.out.splitlines()
    assert line.startswith("Study small: 2 variants x 1 task on micro, 16 trials (search 12, final 4), into ")
    assert result.status == status and words in result.err
    assert wst("tune", _study(tmp_path), "--stop-after", "soon").err == (
        "wst: --stop-after: expected a duration above 0, such as 90 min or 3h; found 'soon'\n"
    )

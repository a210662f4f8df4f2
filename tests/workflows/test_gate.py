"""No study starts on data that the check calls unusable, and what is wrong later stops it whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import small_study
from tests.data.trees import class_folders
from wst.cli import app as cli
from wst.data import mini
from wst.data.check import gate
from wst.engine.faults import StudyStoppedError
from wst.errors import InputError
from wst.ledger import history
from wst.study import Study
from wst.workflows.preflight import check
from wst.workflows.single import run_single, single
from wst.workflows.status import overlap_notes, status_rows
from wst.workflows.tune import run_study


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    for split in ("train", "val", "test"):
        class_folders(tmp_path / "own" / split, {"cat": 9 + len(split), "dog": 8 + len(split)}, size=8)
    return tmp_path / "own"


def study(own: Path, **changes: Any) -> Study:
    data = {
        "suite": str(own),
        "tasks": [],
        "variants": {"a": {"method": "linear", "fixed": {"lr": 0.1}}},
        "recipe": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
        "search": None,
        "final": {"seeds": 1},
    }
    searched = {
        "variants": {
            "a": {"method": "linear", "space": {"lr": {"type": "categorical", "choices": [0.1, 0.2]}}}
        }
    }
    return small_study(**{**data, **(searched if changes.get("search") else {}), **changes})


def _leak(own: Path) -> None:
    shutil.copy(own / "train/cat/p000.png", own / "val/cat/p000.png")
    shutil.copy(own / "train/cat/p001.png", own / "test/cat/p001.png")


def test_tune_and_train_refuse_with_the_line_of_the_check(own, tmp_path, monkeypatch, capsys):
    _leak(own)
    monkeypatch.setattr("sys.argv", ["wst", "data", "check", str(own)])
    with pytest.raises(SystemExit):
        cli.main()
    (line, *_) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("own: error")]
    with pytest.raises(InputError) as tuned:
        run_study(study(own), tmp_path / "out", inline=True)
    built, intent = single(
        task="own", method="linear", settings={"lr": 0.1}, stage="search", suite=str(own), backbone="micro"
    )
    with pytest.raises(InputError) as trained:
        run_single(built, intent, tmp_path / "out", None)
    for error in (tuned, trained):
        assert str(error.value) == f"{line} (1 more: wst data check {own} --task own)"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_accepted_overlap_stands_beside_every_number(own, tmp_path, monkeypatch, capsys):
    _leak(own)
    out, told = tmp_path / "out", []
    searched = study(own, search={"trials": 2}, accept=["overlap"])
    run_study(searched, out, inline=True, told=told.append)
    assert [line.split(" (")[0] for line in told] == [
        "own: warning: val: expected no image of train; found 1 of 23",
        "own: warning: test: expected no image of train or val; found 1 of 25",
    ]
    rows = {trial.intent.stage: trial.outcome for trial in history(out)[1]}
    assert (rows["search"].val_overlap, rows["search"].test_overlap) == (1 / 23, None)
    assert (rows["final"].val_overlap, rows["final"].test_overlap) == (1 / 23, 1 / 25)
    assert told[0].removeprefix("own: warning: ") == rows["search"].data_warnings
    told.clear()
    run_study(searched, out, inline=True, told=told.append)
    assert not told  # the ledger has them
    with pytest.raises(InputError, match=r"own: error: val: expected no image of train"):
        run_study(study(own, search={"trials": 2}), out, inline=True)
    notes = [
        "4.3 % of own's val images are also in train: its val accuracy rests on them.",
        "4.0 % of own's test images are also in train or val: its test accuracy rests on them.",
    ]
    assert overlap_notes(status_rows(out)) == notes
    for verb in ("status", "leaderboard"):
        monkeypatch.setattr("sys.argv", ["wst", verb, str(out)])
        with pytest.raises(SystemExit):
            cli.main()
        printed = " ".join(capsys.readouterr().out.split())
        assert notes[1] in printed and (notes[0] in printed) == (verb == "status")


@pytest.mark.slow
def test_a_cut_off_picture_in_a_large_test_split_stops_the_study_and_mended_it_goes_on(
    own, tmp_path, monkeypatch
):
    monkeypatch.setattr(gate, "TESTS_AT_ONCE", 0)
    path, out = own / "test/dog/p003.png", tmp_path / "out"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    searched = study(own, search={"trials": 2})
    with pytest.raises(StudyStoppedError) as error:
        run_study(searched, out, inline=True)
    assert str(error.value).startswith(
        "own: error: test: expected a readable image; found 1 unreadable: test/dog/p003.png"
    )
    kept = history(out)[1]
    assert all(trial.intent.stage == "search" for trial in kept)
    path.write_bytes(whole)
    planner = run_study(searched, out, inline=True)
    assert planner.done
    ended = history(out)[1]
    assert ended[: len(kept)] == kept and [t.outcome.state for t in ended] == ["completed"] * 3
    assert ended[-1].outcome.test_overlap == 0


@pytest.mark.slow
def test_a_damaged_suite_of_the_caches_own_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    (task,) = (t for t in mini.MINI.tasks if t.name == "sprite_loc")
    monkeypatch.setattr(mini, "MINI", replace(mini.MINI, tasks=(replace(task, train=16, val=8, test=8),)))
    monkeypatch.setattr("wst.workflows.preflight.find_suite", lambda name: mini.MINI)
    asked, told = study(own=Path("mini"), suite="mini", tasks=["sprite_loc"]), []
    first = check(asked, None, told.append)
    image = tmp_path / "cache/data/mini/sprite_loc/images/test/000003.bmp"
    image.write_bytes(b"")
    second = check(asked, None, told.append)
    assert second.fingerprint == first.fingerprint and len(image.read_bytes()) > 1000
    (line,) = told
    assert line == "mini: expected the data that the cache keeps to be whole; found others: made again"

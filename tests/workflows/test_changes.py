"""Data, weights or a method that change while a study runs stop it: no row rests on what it does not name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.conftest import small_study
from tests.data.trees import class_folders
from tests.synthetic import Ends
from wst.engine.faults import StudyStoppedError
from wst.engine.job import Job
from wst.errors import InputError
from wst.ledger import history, reads
from wst.shipped import ASSETS
from wst.workflows.single import run_single, single
from wst.workflows.tune import run_study


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of two classes, and their list files."""
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "own"
    for number, split in enumerate(("train", "val", "test")):
        class_folders(folder / "images" / split, {"cat": 8 + number, "dog": 12 + number}, size=8)
        paths = sorted((folder / "images" / split).glob("*/*.png"))
        lines = (f"{path.relative_to(folder)} {int(path.parent.name == 'dog')}\n" for path in paths)
        (folder / f"{split}.txt").write_text("".join(lines))
    shutil.copy(ASSETS / "micro.safetensors", tmp_path / "weights.safetensors")
    (tmp_path / "own_method.py").write_text("def adapt(backbone):\n    return backbone\n")
    return folder


def _flipped(folder: Path, split: str) -> None:
    file = folder / f"{split}.txt"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line[:-1]}{1 - int(line[-1])}\n" for line in lines))


def _exchanged(folder: Path) -> None:
    cat, dog = folder / "images/test/cat/p000.png", folder / "images/test/dog/p000.png"
    cat.rename(folder / "aside.png")
    dog.rename(cat)
    (folder / "aside.png").rename(dog)


def _other_weights(folder: Path) -> None:
    file = folder.parent / "weights.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(file).items()}, file)


CHANGES: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "labels of train": (
        lambda own: _flipped(own, "train"),
        "data of task 'own': expected images and labels of train to stay as they were",
        ["search"],
    ),
    "labels of val": (
        lambda own: _flipped(own, "val"),
        "data of task 'own': expected images and labels of val to stay as they were",
        ["search"],
    ),
    "labels of test": (
        lambda own: _flipped(own, "test"),
        "data of task 'own': expected images and labels of test to stay as they were",
        ["search", "search"],
    ),
    "pictures of test": (
        _exchanged,
        "data of task 'own': expected images and labels of test to stay as they were",
        ["search", "search"],
    ),
    "a picture of train gone": (
        lambda own: (own / "images/train/cat/p003.png").unlink(),
        "data of task 'own': expected train to stay as it was; found: ",
        ["search"],
    ),
    "weights": (
        _other_weights,
        "weights of 'micro': expected them to stay as they were",
        ["search"],
    ),
    "weights gone": (
        lambda own: (own.parent / "weights.safetensors").unlink(),
        "weights of 'micro': expected them to stay as they were",
        ["search"],
    ),
    "method": (
        lambda own: (own.parent / "own_method.py").write_text(
            "def adapt(backbone):\n    return backbone  #\n"
        ),
        "method ",
        ["search"],
    ),
}


def _study(own: Path, **changes: Any) -> Any:
    method = str(own.parent / "own_method.py")
    space = {"lr": {"type": "categorical", "choices": [0.1, 0.2]}}
    _, intent = single(
        task="own", method=method, settings={"lr": 0.1}, stage="search", suite=str(own), backbone="micro"
    )
    digest = _.variants[intent.variant].method_hash
    data = {
        "suite": str(own),
        "tasks": [],
        "checkpoint": str(own.parent / "weights.safetensors"),
        "variants": {"a": {"method": method, "method_hash": digest, "space": space}},
        "recipe": {"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
        "search": {"trials": 2},
        "final": {"seeds": 1},
    }
    return small_study(**{**data, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_while_a_study_runs_stops_it(own: Path, tmp_path: Path, change: str) -> None:
    make, line, stages = CHANGES[change]
    ended: list[None] = []

    def once() -> None:
        if not ended:
            make(own)
        ended.append(None)

    out, study = tmp_path / "out", _study(own)
    with pytest.raises(StudyStoppedError) as error:
        run_study(study, out, inline=True, display=lambda planner: Ends(once))
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
    kept = history(out)[1]
    assert [trial.intent.stage for trial in kept] == stages
    assert all(trial.outcome.state == "completed" for trial in kept)
    assert not reads.read_log().entries  # what is not there any more was not read
    if change not in ("labels of test", "pictures of test"):  # which no row rests on yet
        with pytest.raises(InputError):
            run_study(study, out, inline=True)
    assert history(out)[1] == kept


def test_a_study_whose_data_are_as_before_again_goes_on(own: Path, tmp_path: Path) -> None:
    ended: list[None] = []

    def once() -> None:
        if not ended:
            _flipped(own, "train")
        ended.append(None)

    out, study = tmp_path / "out", _study(own)
    with pytest.raises(StudyStoppedError):
        run_study(study, out, inline=True, display=lambda planner: Ends(once))
    _flipped(own, "train")
    assert run_study(study, out, inline=True).done
    intents, rows = history(out)
    assert [t.intent.trial_id for t in rows] == [i.trial_id for i in intents] and len(rows) == 3
    assert {trial.outcome.state for trial in rows} == {"completed"}


def test_a_test_split_that_changes_after_it_was_announced_is_not_scored(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Job._announce

    def announced(job: Job, trials: Any) -> Any:
        reports = original(job, trials)
        _flipped(own, "test")
        return reports

    monkeypatch.setattr(Job, "_announce", announced)
    study, intent = single(
        task="own",
        method="linear",
        settings={"lr": 0.1},
        stage="final",
        suite=str(own),
        backbone="micro",
        recipe={"epochs": 1, "warmup_epochs": 0, "batch_size": 8},
    )
    with pytest.raises(StudyStoppedError, match="images and labels of test to stay as they were"):
        run_single(study, intent, tmp_path / "out", None)
    assert not history(tmp_path / "out")[1] and len(reads.read_log().entries) == 1

"""A study is what its bytes are, wherever these lie; and what a kill or a user does to its folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import LR
from tests.data.trees import class_folders
from wst.engine.environment import checkpoint_path
from wst.errors import InputError
from wst.ledger import history, resolved_study
from wst.records import EndedTrial, Epoch, Intent
from wst.shipped import ASSETS
from wst.study import Study, load_study
from wst.trackers import Tracker, Trackers
from wst.workflows.single import recorded, run_single
from wst.workflows.tune import run_study

pytestmark = pytest.mark.slow  # trains

STUDY = {
    "name": "mv",
    "suite": "pets",
    "backbone": "micro",
    "checkpoint": "w1.safetensors",
    "variants": {"linear": {"method": "linear", "space": {"lr": {**LR, "low": 1e-3}}}},
    "recipe": {"epochs": 3, "warmup_epochs": 0.5, "batch_size": 16},
    "search": {"trials": 2, "sampler": {"type": "random"}},
    "checkpoint_every": 1,
    "report_every": 1,
}


def _file(folder: Path, **changes: Any) -> Path:
    path = folder / "mv.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, weights, the study's file, and in ``out`` its ledger."""
    folder = tmp_path_factory.mktemp("mv")
    class_folders(folder / "pets", {"cat": 20, "dog": 20})
    shutil.copy(ASSETS / "micro.safetensors", folder / "w1.safetensors")
    run_study(load_study(str(_file(folder))), folder / "out", inline=True)
    return folder


@pytest.fixture
def here(ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in which this process stands."""
    where = Path(shutil.copytree(ran, tmp_path / "copy", symlinks=True))
    monkeypatch.chdir(where)
    return where


def _again(study: Study, here: Path) -> None:
    """Go on, with nothing left to train."""
    before = history(here / "out")
    run_study(study, here / "out", inline=True)
    assert history(here / "out") == before
    assert resolved_study(here / "out").checkpoint == study.checkpoint


def test_paths_of_a_study_are_absolute_whoever_reads_them(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    study = load_study(str(here / "mv.yaml"))
    assert (study.checkpoint, study.suite) == (str(here / "w1.safetensors"), str(here / "pets"))


def test_the_same_bytes_elsewhere_are_the_same_study(here: Path) -> None:
    """The copy of the folder is elsewhere already."""
    _again(load_study("mv.yaml", overrides=["checkpoint=./w1.safetensors"]), here)
    Path("w1.safetensors").rename("w2.safetensors")
    _again(load_study("mv.yaml", overrides=["checkpoint=w2.safetensors"]), here)
    Path("moved").mkdir()
    Path("pets").rename("moved/pets")
    _again(load_study("mv.yaml", overrides=["checkpoint=w2.safetensors", "suite=moved/pets"]), here)


def test_other_bytes_are_another_study_and_change_nothing(here: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file("w1.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, "other.safetensors")
    before = Path("out/study.yaml").read_bytes()
    with pytest.raises(InputError, match="backbone weights: expected hash"):
        run_study(
            load_study("mv.yaml", overrides=["checkpoint=other.safetensors"]), here / "out", inline=True
        )
    Path("pets/cat/p000.png").write_bytes(Path("pets/dog/p001.png").read_bytes())
    with pytest.raises(InputError, match="data of task 'pets': expected hash"):
        run_study(load_study("mv.yaml"), here / "out", inline=True)
    assert Path("out/study.yaml").read_bytes() == before


def test_a_study_file_edited_between_two_starts_is_refused(here: Path) -> None:
    kept = Path("out/study.yaml")
    kept.write_text(kept.read_text().replace("epochs: 3", "epochs: 4"))
    with pytest.raises(InputError, match=r"pets.linear.search.0000: recipe.epochs: has 3, asked for 4"):
        run_study(load_study(str(kept)), here / "out", inline=True)


def _run_again(here: Path) -> list[EndedTrial]:
    study, intent, _ = recorded(here / "out", "pets.linear.search.0000")
    run_single(study, intent, here / "again", None, again_from=here / "out")
    return history(here / "again")[1]


def _study_file(here: Path, found: str, wanted: str) -> None:
    kept = here / "out" / "study.yaml"
    text = kept.read_text()
    assert found in text
    kept.write_text(text.replace(found, wanted))


def test_a_row_is_run_again_with_what_it_was_made_with_alone(here: Path, ran: Path) -> None:
    for name in ("pets", "w1.safetensors"):  # the row's own paths lead to the original
        _study_file(here, str(ran / name), str(here / name))
    assert _numbers(_run_again(here)) == _numbers(history(ran / "out")[1])[:1]


@pytest.mark.parametrize("changed", ["data", "weights", "recipe", "normalisation"])
def test_a_row_is_not_run_again_with_anything_else(changed: str, here: Path, ran: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("pets", "w1.safetensors"):
        _study_file(here, str(ran / name), str(here / name))
    words = {
        "data": "data of task 'pets': expected hash .* was made with the first",
        "weights": "backbone weights: expected hash .* was made with the first",
        "recipe": "search.0000 made in another way: recipe.epochs: has 3, asked for 4",
        "normalisation": "search.0000 made in another way: normalisation: has 'checkpoint', asked for 'half'",
    }
    if changed == "data":
        Path("pets/cat/p000.png").write_bytes(Path("pets/dog/p001.png").read_bytes())
    elif changed == "weights":
        tensors = load_file("w1.safetensors")
        save_file({name: tensor + 1 for name, tensor in tensors.items()}, "w1.safetensors")
    elif changed == "recipe":
        _study_file(here, "epochs: 3", "epochs: 4")
    else:
        _study_file(here, "normalisation: checkpoint", "normalisation: half")
    with pytest.raises(InputError, match=words[changed]):
        _run_again(here)
    assert not (here / "again").exists()


class _Stop(Tracker):
    """Ctrl-C after the first epoch, which is kept then."""

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        raise KeyboardInterrupt


@pytest.fixture
def interrupted(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """A study whose first trial was cut off, with its state."""
    out = here / "second"
    with monkeypatch.context() as during:
        during.setattr(Trackers, "epochs", _Stop.epochs)
        with pytest.raises(KeyboardInterrupt):
            run_study(load_study("mv.yaml"), out, inline=True)
    path = checkpoint_path(out, "pets.linear.search.0000")
    assert path.is_file() and not history(out)[1]
    yield out, path


def _numbers(ended: list[EndedTrial]) -> list[object]:
    return [
        (
            t.intent.trial_id,
            t.outcome.state,
            [(e.train_loss, e.val_loss, e.val_top1) for e in t.outcome.epochs],
        )
        for t in ended
    ]


@pytest.mark.parametrize("damage", ["none", "cut", "empty", "garbled", "foreign", "gone"])
def test_a_damaged_state_is_said_and_its_trial_ends_as_undisturbed(
    damage: str, ran: Path, interrupted: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    out, path = interrupted
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage != "none":
        changed = {"cut": content[:-100], "empty": b"", "garbled": content[:-9] + b"x" * 9, "foreign": b"PK"}
        path.write_bytes(changed[damage])
    run_study(load_study("mv.yaml"), out, inline=True)
    assert _numbers(history(out)[1]) == _numbers(history(ran / "out")[1])
    assert ("it begins again" in caplog.text) == (damage not in ("none", "gone"))
    assert not path.exists()


def test_a_state_of_other_images_or_another_recipe_is_not_gone_on_with(
    interrupted: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """No row has ended, so that nothing but the state itself knows what it is of."""
    out, _ = interrupted
    kept = out / "study.yaml"
    kept.write_text(kept.read_text().replace("epochs: 3", "epochs: 4"))
    Path("pets/cat/p000.png").write_bytes(Path("pets/dog/p001.png").read_bytes())
    run_study(load_study("mv.yaml", overrides=["recipe.epochs=4"]), out, inline=True)
    assert "found that of another trial (recipe, data); it begins again" in caplog.text
    assert [len(t.outcome.epochs) for t in history(out)[1]] == [4, 4]


def test_a_learning_rate_that_explodes_in_the_last_step_wins_nothing(here: Path) -> None:
    space = {
        "lr": {"type": "categorical", "choices": [1e37, 1e-3]},
        "weight_decay": {"type": "categorical", "choices": [0.0]},
    }
    changes = {
        "variants": {"linear": {"method": "linear", "space": space}},
        "recipe": {"epochs": 1, "warmup_epochs": 0, "batch_size": 1000},
        "search": {"sampler": {"type": "grid"}},
        "final": {"seeds": 1},
    }
    planner = run_study(load_study(str(_file(here, **changes))), here / "third", inline=True)
    ended = history(here / "third")[1]
    found = {(t.intent.stage, t.intent.hyperparameters["lr"]): t.outcome for t in ended}
    assert found["search", 1e37].error_type == "DivergedError" and found["search", 1e37].state == "failed"
    assert found["search", 1e-3].state == found["final", 1e-3].state == "completed"
    assert planner.done and len(ended) == 3


def test_a_final_that_gives_no_numbers_fails_counts_its_read_and_leaves_no_adapter(here: Path) -> None:
    changes = {
        "variants": {"linear": {"method": "linear", "fixed": {"lr": 1e37, "weight_decay": 0.0}}},
        "recipe": {"epochs": 1, "warmup_epochs": 0, "batch_size": 1000},
        "search": None,
        "final": {"seeds": 1, "save_adapters": True},
    }
    run_study(load_study(str(_file(here, **changes))), here / "fourth", inline=True)
    (trial,) = history(here / "fourth")[1]
    outcome = trial.outcome
    assert (outcome.state, outcome.error_type, outcome.test_top1) == ("failed", "DivergedError", None)
    assert outcome.test_images == 8
    assert not list((here / "fourth").glob("adapters/*"))

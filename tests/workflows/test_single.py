from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from wst.errors import InputError
from wst.ledger import history
from wst.records import Epoch, Intent, Outcome
from wst.study import Study
from wst.trackers import Tracker
from wst.training.trial import Trial
from wst.workflows.single import from_options, recorded, released_settings, run_single, single

pytestmark = pytest.mark.slow  # trains

RECIPE = {"epochs": 2, "warmup_epochs": 1}
SETTINGS = {"lr": 5e-3, "scale": 1.0, "r": 2, "drop_path": 0.1}


def _single() -> Any:
    return single(
        task="digits",
        method="wst",
        settings=SETTINGS,
        stage="final",
        save_adapter=True,
        suite="mini",
        backbone="micro",
        recipe=RECIPE,
    )


class Interrupting(Tracker):
    """A user who presses Ctrl-C when the first epoch's line appears."""

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        raise KeyboardInterrupt


class Listening(Tracker):
    """Notes how many epochs came at a time."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        self.heard.append(len(epochs))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The folder and the outcome of a fine-tune that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finetune") / "whole"
    return folder, run_single(*_single(), folder, None)[0]


def test_interrupted_fine_tune_ends_with_the_same_weights(
    whole: tuple[Path, Outcome], tmp_path: Path
) -> None:
    study, intent = _single()
    with pytest.raises(KeyboardInterrupt):
        run_single(study, intent, tmp_path / "cut", None, [Interrupting()])
    assert not history(tmp_path / "cut")[1]
    listening = Listening()
    cut, known = run_single(study, intent, tmp_path / "cut", None, [listening])
    assert not known and listening.heard == [1, 1]  # what was trained before, and the rest
    assert (cut.test_top1, cut.state) == (whole[1].test_top1, "completed")
    name = f"adapters/{intent.trial_id}.safetensors"
    ours, theirs = load_file(tmp_path / "cut" / name), load_file(whole[0] / name)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_diverged_fine_tune_is_a_failed_row(tmp_path: Path) -> None:
    study, intent = single(
        task="digits",
        method="wst",
        settings={"lr": 1e30, "scale": 1e30},
        stage="search",
        suite="mini",
        backbone="micro",
        recipe=RECIPE,
    )
    outcome, _ = run_single(study, intent, tmp_path / "s", None)
    assert (outcome.state, outcome.error_type) == ("failed", "DivergedError")
    again = recorded(tmp_path / "s", intent.trial_id)[2]
    assert again.error_text and "training loss is nan" in again.error_text and again.data_hash


def test_failed_fine_tune_runs_again_and_a_completed_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Trial, test: object) -> None:
        raise OSError("no place for the adapter")

    study, intent = _single()
    monkeypatch.setattr(Trial, "save_adapter", fail)
    outcome, known = run_single(study, intent, tmp_path / "s", None)
    assert (outcome.state, outcome.error_type, known) == ("failed", "OSError", False)
    assert outcome.test_top1 is not None  # it had been scored
    monkeypatch.undo()
    outcome, known = run_single(study, intent, tmp_path / "s", None)
    assert (outcome.state, known) == ("completed", False)
    assert run_single(study, intent, tmp_path / "s", None) == (outcome, True)
    (row,) = history(tmp_path / "s")[1]
    assert row.outcome == outcome


def test_row_that_is_not_there_is_named(whole: tuple[Path, Outcome]) -> None:
    with pytest.raises(InputError, match=r"found no .digits\.lora\.final\.0000."):
        recorded(whole[0], "digits.lora.final.0000")


def test_released_settings_are_the_authors() -> None:
    """Spot values of the scripts under train_scripts/{vit,swin}/vtab."""
    vit = released_settings("vit_base_patch16_224.orig_in21k", "svhn")
    assert vit == {"scale": 10.0, "lr": 3e-3, "drop_path": 0.2, "r": 2}
    swin = released_settings("swin_base_patch4_window7_224.ms_in22k", "kitti")
    assert swin == {"scale": 1.0, "lr": 1e-3, "drop_path": 0.5, "r": 4}
    with pytest.raises(InputError, match="expected a VTAB-1K task"):
        released_settings("vit_base_patch16_224", "digits")


def test_released_option_takes_the_authors_recipe_seed_and_normalisation() -> None:
    study, intent = from_options(
        task="dtd",
        settings={"drop_path": 0.5},
        released=True,
        recipe=None,
        epochs=None,
        seed=None,
        suite=None,
        backbone=None,
        normalisation=None,
        method="wst",
        stage="final",
        checkpoint="x.npz",
    )
    assert (study.suite, study.normalisation, study.seed, intent.seed) == ("vtab1k", "half", 42, 42)
    assert (study.recipe.epochs, study.recipe.schedule) == (110, "timm_cosine")
    assert intent.hyperparameters == {
        "scale": 0.1,
        "lr": 8e-4,
        "weight_decay": study.recipe.weight_decay,
        "drop_path": 0.5,
        "r": 2,
    }


def _with_recipe(path: Path, epochs: int) -> Study:
    options = {"suite": None, "backbone": None, "normalisation": None, "seed": None, "stage": "search"}
    study, _ = from_options(
        task="digits",
        method="linear",
        settings={"lr": 0.1},
        released=False,
        recipe=str(path),
        epochs=epochs,
        **options,  # type: ignore[arg-type]
    )
    return study


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[1]", "expected a mapping; found [1]"),
        ("", "expected a mapping; found null"),
        ("warmup_epochs: x", "warmup_epochs: expected a number; found 'x'"),
        ("warmup: 1", "expected only the keys epochs"),
        ("cooldown_epochs: 5", "expected warmup_epochs + cooldown_epochs < epochs"),
    ],
)
def test_other_epochs_with_an_odd_recipe_get_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        _with_recipe(path, 3)
    assert str(error.value).startswith(str(path)) and line in str(error.value)


def test_fewer_epochs_warm_up_for_a_tenth_of_them(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("batch_size: 16")
    study = _with_recipe(path, 5)
    assert (study.recipe.epochs, study.recipe.warmup_epochs, study.recipe.batch_size) == (5, 0.5, 16)

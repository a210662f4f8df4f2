"""Specs of small trials on few images of the mini suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.conftest import small_study
from tests.few import FEW
from wst.data.splits import TaskData
from wst.records import Epoch, Hyperparameters, Intent, Stage
from wst.study import Recipe
from wst.training.spec import TrialSpec, trial_spec

SETTINGS: Hyperparameters = {"lr": 5e-3, "weight_decay": 0.05, "drop_path": 0.2, "scale": 1.0, "r": 2}
LINEAR: Hyperparameters = {"lr": 1e-2, "weight_decay": 0.05, "drop_path": 0.0}


def spec(
    root: Path,
    stage: Stage = "search",
    variant: str = "wst-r2",
    *,
    settings: Hyperparameters | None = None,
    seed: int = 3,
    recipe: Recipe | None = None,
    **changes: object,
) -> TrialSpec:
    """A trial of three epochs on the digits, unless told otherwise."""
    found = settings or (SETTINGS if variant == "wst-r2" else LINEAR)
    intent = Intent(f"digits.{variant}.{stage}.0000", "digits", variant, stage, 0, 0, seed, dict(found))
    made = trial_spec(small_study(), intent, data=TaskData.of(root, FEW, FEW.task("digits")))
    return replace(made, recipe=recipe or Recipe(epochs=3, warmup_epochs=1), **changes)  # type: ignore[arg-type]


def without_times(epochs: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]

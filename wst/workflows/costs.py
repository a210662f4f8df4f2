"""What a study is expected to cost, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from wst.data.splits import TRAINING_SPLIT
from wst.records import Intent, Stage
from wst.study import Study
from wst.study.search import SuccessiveHalving
from wst.training.spec import TrialSpec, trial_spec
from wst.training.timing import seconds_per_epoch
from wst.workflows.preflight import Checked, example


@dataclass(frozen=True)
class CellCost:
    """What one cell is expected to cost; seconds are measured on this machine, on one slot."""

    task: str
    variant: str
    trainable: int
    search_trials: int
    search_epochs: float
    confirm_trials: int
    confirm_epochs: int
    final_trials: int
    final_epochs: int
    seconds: float


def expected_costs(
    study: Study, checked: Checked, seconds: Mapping[str, float] | None = None
) -> list[CellCost]:
    """Trials, epochs and slot-seconds of every cell.

    Args:
        study: the study.
        checked: what the checks before it found.
        seconds: of training on an image, by variant; timed on a few steps when left out.
    """
    if seconds is None:
        seconds = {name: _seconds_per_image(study, name, checked) for name in study.variants}
    epochs, costs = study.recipe.epochs, []
    for task, name in study.cells:
        searches = study.search_trials(name)
        search_epochs = searches * expected_epochs(study)
        confirms = min(study.confirm.top, searches) * study.confirm.seeds if study.confirm else 0
        finals = study.final.seeds if study.final else 0
        before, final = (_images(checked, task, stage) for stage in ("search", "final"))
        images = (search_epochs + confirms * epochs) * before + finals * epochs * final
        costs.append(
            CellCost(
                task,
                name,
                checked.parameters[task, name]["trainable"],
                searches,
                search_epochs,
                confirms,
                confirms * epochs,
                finals,
                finals * epochs,
                images * seconds[name],
            )
        )
    return costs


def expected_epochs(study: Study) -> float:
    """Epochs of a search trial on average, when every rung lets one in ``reduction_factor`` pass."""
    epochs = study.recipe.epochs
    if study.search is None or not isinstance(study.search.pruner, SuccessiveHalving):
        return float(epochs)
    total, share, done = 0.0, 1.0, 0
    for rung in [*study.search.rungs(epochs), epochs]:
        total += share * (rung - done)
        share, done = share / study.search.pruner.reduction_factor, rung
    return total


def _images(checked: Checked, task: str, stage: Stage) -> int:
    """Images of an epoch."""
    sizes = checked.data[task].task
    return sizes.train + sizes.val if TRAINING_SPLIT[stage] == "trainval" else sizes.train


def timed_trial(study: Study, variant: str, checked: Checked) -> TrialSpec:
    """The trial that a variant is timed with, on the first task.

    On the CPU where the study asks for a GPU and there is none.
    """
    settings = example(study, study.variants[variant])
    stage: Stage = "search" if study.search else "final"
    task = study.tasks[0]
    intent = Intent("timing", task, variant, stage, 0, 0, 0, settings)
    spec = trial_spec(study, intent, data=checked.data[task])
    return replace(spec, device="auto") if spec.device == "cuda" else spec


def _seconds_per_image(study: Study, variant: str, checked: Checked) -> float:
    """Of training."""
    spec = timed_trial(study, variant, checked)
    return seconds_per_epoch(spec) / _images(checked, study.tasks[0], spec.intent.stage)

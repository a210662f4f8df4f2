"""Where a search begins: settings that did well in another study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from pydantic import PositiveInt

from wst.choice import Candidate, candidates
from wst.errors import InputError
from wst.ledger import history, resolved_study
from wst.records import EndedTrial, Hyperparameters
from wst.space import Space
from wst.yaml_files import Strict


class FromLedger(Strict):
    """The best settings of another study's search: of the same task where it has that, else of all tasks."""

    ledger: str
    """The other study's output folder."""
    top: PositiveInt = 3
    """Settings for each task."""
    variant: str | None = None
    """The other study's variant; all of them when left out."""


def points_from_ledger(
    start: FromLedger, tasks: Iterable[str], space: Space
) -> dict[str, list[Hyperparameters]]:
    """Settings to try first, by task.

    Hyperparameters that ``space`` lacks are left out, and so are settings with a value outside their range:
    the other study may be of another method.

    Raises:
        InputError: the folder holds no study, or no completed trial whose settings fit.
    """
    folder = Path(start.ledger)
    study, by_task = resolved_study(folder), defaultdict(list)
    if start.variant is not None and start.variant not in study.variants:
        known = ", ".join(study.variants)
        raise InputError(f"warm_start: expected a variant of {folder} ({known}); found {start.variant!r}")
    for trial in history(folder)[1]:
        if trial.intent.stage == "search" and start.variant in (None, trial.intent.variant):
            by_task[trial.intent.task].append(trial)
    everything = [trial for trials in by_task.values() for trial in trials]

    def best(trials: list[EndedTrial]) -> list[Hyperparameters]:
        found: list[Hyperparameters] = []
        for candidate in candidates(trials, ("val_top1",), study.ties):
            point = _fitting(candidate, space)
            if point and point not in found:
                found.append(point)
        return found[: start.top]

    points = {task: best(by_task.get(task, [])) or best(everything) for task in tasks}
    if not all(points.values()):
        raise InputError(
            f"warm_start: expected completed trials in {folder} with settings inside the space "
            f"({', '.join(space)}); found none"
        )
    return points


def _fitting(candidate: Candidate, space: Space) -> Hyperparameters | None:
    settings = candidate.trial.intent.hyperparameters
    point = {name: settings[name] for name in space if name in settings}
    return point if all(space[name].holds(value) for name, value in point.items()) else None

"""Where a search begins: settings that did well in another study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from wst.errors import InputError
from wst.ledger import history, resolved_study
from wst.planning.ranking import Candidate, candidates
from wst.records import EndedTrial, Hyperparameters
from wst.study import Study
from wst.study.space import Space, brought
from wst.study.variant import FromLedger
from wst.suggest import hint


def resolve_warm_starts(study: Study) -> Study:
    """The study with the settings that its warm starts find in other studies' ledgers, so that it depends on
    no other folder.

    Raises:
        InputError: a folder holds no study, or no completed trial whose settings fit.
    """
    variants = {
        name: variant.model_copy(
            update={"warm_start": _points(variant.warm_start, study.tasks, variant.space or {})}
        )
        if isinstance(variant.warm_start, FromLedger)
        else variant
        for name, variant in study.variants.items()
    }
    return study.model_copy(update={"variants": variants})


def _points(start: FromLedger, tasks: Iterable[str], space: Space) -> dict[str, tuple[Hyperparameters, ...]]:
    """Settings to try first, by task.

    Hyperparameters that ``space`` lacks are left out, and so are settings with a value outside their range:
    the other study may be of another method.

    Raises:
        InputError: the folder holds no study, or no completed trial whose settings fit.
    """
    folder = Path(start.ledger)
    study, by_task = resolved_study(folder), defaultdict(list)
    if start.variant is not None and start.variant not in study.variants:
        raise InputError(
            f"warm_start: expected a variant of {folder} ({', '.join(study.variants)}); "
            f"found {start.variant!r}{hint(start.variant, study.variants)}"
        )
    for trial in history(folder)[1]:
        if trial.intent.stage == "search" and start.variant in (None, trial.intent.variant):
            by_task[trial.intent.task].append(trial)
    everything = [trial for trials in by_task.values() for trial in trials]

    def best(trials: list[EndedTrial]) -> tuple[Hyperparameters, ...]:
        found: list[Hyperparameters] = []
        for candidate in candidates(trials, ("val_top1",), study.ties):
            point = _fitting(candidate, space)
            if point and point not in found:
                found.append(point)
        return tuple(found[: start.top])

    points = {task: best(by_task.get(task, [])) or best(everything) for task in tasks}
    if not all(points.values()):
        raise InputError(
            f"warm_start: expected completed trials in {folder} with settings inside the space "
            f"({', '.join(space)}); found none"
        )
    return points


def _fitting(candidate: Candidate, space: Space) -> Hyperparameters | None:
    settings = brought(candidate.trial.intent.hyperparameters, space)
    point = {name: settings[name] for name in space if name in settings}
    return point if all(space[name].holds(value) for name, value in point.items()) else None

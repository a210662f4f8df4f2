"""Recorded learning curves, to be looked up by configuration.

A configuration takes the recorded one nearest to it.  Hyperparameters with a range are put on their scale
(logarithmic where the range is) and divided by the range's width; there the Euclidean distance counts, and
ties go to the earlier recorded trial.  All other hyperparameters must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from wst.errors import InputError
from wst.ledger import history, resolved_study
from wst.records import Hyperparameters, Outcome
from wst.study import Study, Variant
from wst.study.space import Categorical, Float, Int, brought

_CONDITIONS = ("suite", "backbone", "image_size", "normalisation", "background")
_OUTSIDE = 0.1
"""Share of a range that may lie outside the recorded values, at either end."""


@dataclass(frozen=True)
class Recorded:
    """One completed trial of a ledger."""

    task: str
    method: str
    hyperparameters: Hyperparameters
    outcome: Outcome = field(repr=False)
    folder: Path


class Recording:
    """The completed search trials of one or several ledgers.

    Args:
        folders: output folders of studies that trained under the same conditions.

    Raises:
        InputError: a folder holds no ledger, no search trial has completed, a curve has a gap, or two
            studies trained under different conditions, with other weights or on other images.
    """

    def __init__(self, folders: Sequence[Path]):
        self.where = ", ".join(map(str, folders))
        studies = [resolved_study(folder) for folder in folders]
        self._conditions = _conditions(studies[0])
        for folder, study in zip(folders[1:], studies[1:], strict=True):
            _same_conditions(str(folder), _conditions(study), self._conditions, str(folders[0]))
        self.trials = [
            recorded
            for folder, study in zip(folders, studies, strict=True)
            for recorded in _completed(folder, study)
        ]
        if not self.trials:
            raise InputError(f"{self.where}: expected completed search trials; found none")
        _same_bytes(self.trials)

    def cells(self, study: Study) -> dict[tuple[str, str], CellCurves]:
        """What each searched cell of a study finds here.

        Raises:
            InputError: the study trains under other conditions, or names a task, a method, a hyperparameter
                or a value that was not recorded.
        """
        _same_conditions(f"study {study.name!r}", _conditions(study), self._conditions, self.where)
        return {
            (task, name): CellCurves(self, task, variant)
            for task, name in study.cells
            if (variant := study.variants[name]).space is not None
        }


def _completed(folder: Path, study: Study) -> Iterator[Recorded]:
    for trial in history(folder)[1]:
        intent, outcome = trial.intent, trial.outcome
        if intent.stage != "search" or not outcome.ranked or outcome.attempts == 0:
            continue
        found = sum(epoch.val_top1 is not None for epoch in outcome.epochs)
        if found != study.recipe.epochs:
            raise InputError(
                f"{folder}: trial {intent.trial_id}: expected a validation accuracy for each of "
                f"{study.recipe.epochs} epochs; found {found}"
            )
        method = study.variants[intent.variant].method
        yield Recorded(intent.task, method, intent.hyperparameters, outcome, folder)


def _conditions(study: Study) -> dict[str, Any]:
    """What must be equal for a curve of one study to be a curve of another."""
    recipe = study.recipe.model_dump(mode="json")
    return {name: getattr(study, name) for name in _CONDITIONS} | {
        f"recipe.{k}": v for k, v in recipe.items()
    }


def _same_conditions(what: str, found: Mapping[str, Any], recorded: Mapping[str, Any], where: str) -> None:
    for name, value in recorded.items():
        if found[name] != value:
            raise InputError(
                f"{what}: {name}: expected {value!r}, as recorded in {where}; found {found[name]!r}"
            )


def _same_bytes(trials: Sequence[Recorded]) -> None:
    """Refuse curves of different backbone weights, or of different images of a task."""
    known: dict[str, tuple[str, Path]] = {}
    for trial in trials:
        for what, found in (
            ("backbone weights", trial.outcome.checkpoint_hash),
            (f"data of task {trial.task!r}", trial.outcome.data_hash),
        ):
            if found is None:
                continue
            expected, where = known.setdefault(what, (found, trial.folder))
            if found != expected:
                raise InputError(
                    f"{trial.folder}: {what}: expected hash {expected[:12]}, as recorded in {where}; "
                    f"found {found[:12]}"
                )


class CellCurves:
    """The recorded curves that the trials of one cell can land on.

    Args:
        recording: the ledgers.
        task: the cell's task.
        variant: the cell's variant, with a space.

    Raises:
        InputError: the task, the method, a hyperparameter or a value was not recorded.
    """

    def __init__(self, recording: Recording, task: str, variant: Variant):
        assert variant.space is not None
        self._where = recording.where
        self._task = task
        self._ranges = {n: e for n, e in variant.space.items() if isinstance(e, Float | Int)}
        self._space = variant.space
        trials = [
            replace(trial, hyperparameters=brought(trial.hyperparameters, variant.space))
            for trial in _of_task_and_method(recording, task, variant.method)
        ]
        _check_covered(recording.where, task, variant, trials)
        self._places: dict[tuple[object, ...], tuple[np.ndarray, list[list[Outcome]]]] = {}
        by_key: dict[tuple[object, ...], dict[tuple[float, ...], list[Outcome]]] = {}
        for trial in trials:
            key, place = self._place(trial.hyperparameters)
            by_key.setdefault(key, {}).setdefault(place, []).append(trial.outcome)
        for key, found in by_key.items():
            self._places[key] = np.array(list(found), dtype=float), list(found.values())
        one = [o for _, groups in self._places.values() for outcomes in groups for o in outcomes]
        self.mean_seconds = float(np.mean([sum(epoch.seconds for epoch in o.epochs) for o in one]))
        """Mean recorded seconds of a full trial."""

    def _place(self, settings: Hyperparameters) -> tuple[tuple[object, ...], tuple[float, ...]]:
        """What must be equal, and the position along the ranges, each of which has the width 1."""
        numeric = sorted(n for n in settings if n in self._ranges)
        exact = frozenset((n, v) for n, v in settings.items() if n not in self._ranges)
        return (exact, *numeric), tuple(_position(self._ranges[n], settings[n]) for n in numeric)

    def nearest(self, settings: Hyperparameters) -> list[Outcome]:
        """The recorded outcomes, one a recorded trial, of the configuration nearest to these settings.

        Raises:
            InputError: no recorded configuration agrees in the hyperparameters that have no range.
        """
        settings = brought(settings, self._space)
        key, place = self._place(settings)
        if key not in self._places:
            raise InputError(
                f"{self._where}: task {self._task!r}: expected a recorded trial with "
                + ", ".join(f"{n} {v}" for n, v in settings.items() if n not in self._ranges)
                + "; found none"
            )
        places, outcomes = self._places[key]
        # Rounded, so that ties of equal distances do not hang on the last bit.
        distances = np.round(((places - np.array(place)) ** 2).sum(axis=1), 12)
        return outcomes[int(distances.argmin())]


def _position(entry: Float | Int, value: object) -> float:
    assert isinstance(value, int | float)
    scale = math.log if entry.log else float
    return (scale(value) - scale(entry.low)) / ((scale(entry.high) - scale(entry.low)) or 1.0)


def _of_task_and_method(recording: Recording, task: str, method: str) -> list[Recorded]:
    for what, wanted, known in (
        ("task", task, {t.task for t in recording.trials}),
        ("method", method, {t.method for t in recording.trials if t.task == task}),
    ):
        if wanted not in known:
            raise InputError(
                f"{recording.where}: expected completed trials of {what} {wanted!r}; "
                f"found those of {', '.join(sorted(known))}"
            )
    return [trial for trial in recording.trials if (trial.task, trial.method) == (task, method)]


def _check_covered(where: str, task: str, variant: Variant, trials: Sequence[Recorded]) -> None:
    """Refuse a space that the recorded trials do not cover."""
    for name, entry in (variant.space or {}).items():
        values = [trial.hyperparameters[name] for trial in trials if name in trial.hyperparameters]
        if not values:
            known = ", ".join(sorted({n for trial in trials for n in trial.hyperparameters}))
            raise InputError(f"{where}: expected trials with hyperparameter {name!r}; found only {known}")
        shown = ", ".join(map(str, sorted(set(values), key=lambda v: (isinstance(v, str), v))))
        if isinstance(entry, Categorical):
            absent = [choice for choice in entry.choices if choice not in values]
            if absent:
                raise InputError(
                    f"{where}: {name}: expected {absent[0]!r} among the recorded values; found {shown}"
                )
        elif not all(isinstance(value, int | float) for value in values):
            raise InputError(f"{where}: {name}: expected recorded numbers, for a range; found {shown}")
        else:
            places = [_position(entry, value) for value in values]
            if min(places) > _OUTSIDE or max(places) < 1 - _OUTSIDE:
                raise InputError(
                    f"{where}: {name}: expected recorded values from about {entry.low:g} to {entry.high:g} "
                    f"on task {task!r}; found {shown}"
                )

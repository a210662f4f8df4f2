"""One variant against another, paired by task and seed; what forbids that, and what is said of it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from analysis.sameness import MADE_WITH, Aspect, Made, made_of
from analysis.statistics import (
    LEVEL,
    bootstrap_interval,
    half_width,
    holm,
    probability_of_improvement,
    wilcoxon,
)
from analysis.tables import Column
from wst.errors import InputError
from wst.study import Study

COLUMNS = (
    "study",
    "trial_id",
    "task",
    "variant",
    "seed",
    "state",
    "reason",
    "test_top1",
    *MADE_WITH,
    "trainable_parameters",
)
"""Columns of ``trials`` that a comparison needs."""


Verdict = Literal["better", "worse", "inside the noise", "one seed, noise not known"]


@dataclass(frozen=True)
class Comparison:
    """One variant against the baseline, in points of test accuracy.

    Attributes:
        variant: name, with the study's in front where several studies are compared.
        tasks: tasks on which both have a completed trial of one seed at least, on the same images.
        pairs: (task, seed) pairs.
        fewest_seeds: pairs of the task that has the fewest.
        difference: mean over tasks of the mean difference over seeds.
        low, high: 95 % bootstrap interval of it over seeds, stratified by task; None with one seed a task.
        noise: half the width of Student's 95 % interval of it; None with one seed a task.  Two or three
            seeds make a bootstrap interval too narrow, and this one not.
        improvement: probability that a run of the variant beats one of the baseline, mean over tasks.
        p: Wilcoxon's signed-rank test over the tasks' mean differences, two-sided.
        p_holm: the same after Holm's correction for all the comparisons made.
        by_task: mean difference by task.
        lacking: tasks of the baseline without a pair.
        made: what both were made with on these tasks, where that differs among the rows: one value, or two
            with ``against`` between them.
    """

    variant: str
    tasks: int
    pairs: int
    fewest_seeds: int
    difference: float
    low: float | None
    high: float | None
    noise: float | None
    improvement: float
    p: float
    p_holm: float
    by_task: dict[str, float]
    lacking: tuple[str, ...] = ()
    note: str = ""
    made: Mapping[Aspect, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """What the difference amounts to.

        ``better`` or ``worse`` only where it is larger than the noise over seeds, the bootstrap interval
        excludes zero, and the test over tasks agrees wherever it has tasks enough (six) to do so.
        """
        if self.low is None or self.high is None or self.noise is None:
            return "one seed, noise not known"
        test_can_tell = 2.0 ** (1 - self.tasks) < LEVEL
        small = abs(self.difference) <= self.noise or self.low <= 0 <= self.high
        if small or (test_can_tell and self.p_holm >= LEVEL):
            return "inside the noise"
        return "better" if self.difference > 0 else "worse"


@dataclass(frozen=True)
class Runs:
    """What there is to compare: test accuracy in per cent, by label, task and seed.

    A label is a variant, with its study's name in front where there are several studies.

    Attributes:
        notes: where a label's settings come from, in words.
        made: what they were made with.
    """

    accuracies: dict[str, dict[str, dict[int, float]]]
    notes: dict[str, str]
    made: Made

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Mean over seeds, by label and task."""
        return {
            label: {task: statistics.fmean(seeds.values()) for task, seeds in tasks.items()}
            for label, tasks in self.accuracies.items()
        }


def runs_of(trials: pd.DataFrame, studies: Mapping[str, Study]) -> Runs:
    """What there is to compare among final trials.

    Args:
        trials: :data:`COLUMNS`, and ``place`` (:func:`analysis.results.places`), of the final trials of one
            or more ledgers; those of place 1 are compared.
        studies: the studies by name.
    """
    chosen = trials[trials["place"] == 1]
    completed = chosen[chosen["state"] == "completed"].dropna(subset=["test_top1"])
    label = completed["variant"].astype(object)
    if completed["study"].nunique() > 1:
        label = completed["study"].astype(object) + ": " + label
    completed = completed.assign(label=label, accuracy=100 * completed["test_top1"])
    return Runs(
        accuracies={
            str(who): {str(task): _by_seed(cell) for task, cell in part.groupby("task", sort=False)}
            for who, part in completed.groupby("label", sort=False)
        },
        notes={str(who): str(part["reason"].iloc[0]) for who, part in completed.groupby("label")},
        made=made_of(completed, completed["label"], studies),
    )


def _by_seed(cell: pd.DataFrame) -> dict[int, float]:
    return dict(zip(map(int, cell["seed"]), map(float, cell["accuracy"]), strict=True))


def check_several(runs: Runs) -> None:
    """Refuse what leaves nothing to compare.

    Raises:
        InputError: fewer than two variants have completed trials.
    """
    found = len(runs.accuracies)
    if found < 2:
        raise InputError(
            f"ablation: expected at least two variants with completed final trials; found {found}"
        )


Unlike = Mapping[tuple[Aspect, ...], tuple[str, list[str]]]
"""What forbids to compare two labels: by the aspects, what to say of them, and the tasks."""


def compare(
    runs: Runs, one: str, other: str, across: Collection[Aspect] = ()
) -> tuple[Comparison | None, Unlike]:
    """Compare ``one`` with ``other``, paired by task and seed where both were made alike.

    Args:
        runs: what there is.
        one, other: labels in it.
        across: in what they may differ.

    Returns:
        The comparison, with a ``p_holm`` for it alone, and what was left out; None where they have no pair.
    """
    ours, theirs = runs.accuracies[one], runs.accuracies[other]
    left_out: dict[tuple[Aspect, ...], tuple[str, list[str]]] = {}
    pairs = {}
    for task in theirs:
        if task in ours and (unlike := runs.made.unlike(one, other, task, across)):
            words = ", ".join(f"{aspect} ({words})" if words else aspect for aspect, words in unlike.items())
            left_out.setdefault(tuple(unlike), (words, []))[1].append(task)
        elif task in ours and (shared := sorted(set(theirs[task]) & set(ours[task]))):
            pairs[task] = shared
    if not pairs:
        return None, left_out
    made = {}
    for aspect in runs.made.differing:
        mine, its = (runs.made.cell(label, aspect, pairs) for label in (one, other))
        made[aspect] = mine if mine == its else f"{mine or 'not known'} against {its or 'not known'}"
    return replace(_compare(one, ours, theirs, pairs, runs.notes[one]), made=made), left_out


def _compare(
    name: str,
    ours: dict[str, dict[int, float]],
    theirs: dict[str, dict[int, float]],
    pairs: dict[str, list[int]],
    note: str,
) -> Comparison:
    gained = {t: np.array([ours[t][s] - theirs[t][s] for s in seeds]) for t, seeds in pairs.items()}
    differences = list(gained.values())
    by_task = {task: float(values.mean()) for task, values in gained.items()}
    rounded = [round(value, 9) for value in by_task.values()]  # equal accuracies leave 1e-15, not 0
    several = min(map(len, differences)) > 1
    low, high = bootstrap_interval(differences) if several else (None, None)
    noise = half_width(differences) if several else None
    mean, p = statistics.fmean(rounded), wilcoxon(rounded)
    return Comparison(
        variant=name,
        tasks=len(pairs),
        pairs=sum(map(len, differences)),
        fewest_seeds=min(map(len, differences)),
        difference=mean,
        low=low if low is None else round(low, 9),
        high=high if high is None else round(high, 9),
        noise=noise if noise is None else round(noise, 9),
        improvement=probability_of_improvement(
            [np.round([ours[t][s] for s in seeds], 9) for t, seeds in pairs.items()],
            [np.round([theirs[t][s] for s in seeds], 9) for t, seeds in pairs.items()],
        ),
        p=p,
        p_holm=p,
        by_task=by_task,
        lacking=tuple(task for task in theirs if task not in pairs),
        note=note,
    )


_NAMED = 8
"""Labels that a line names."""


def not_compared(left_out: Iterable[tuple[str, Comparison | None, Unlike]], noun: str) -> list[str]:
    """Lines on what was not compared, equal ones in one.

    Args:
        left_out: what is named, and what :func:`compare` returned of it.
        noun: what these are, where they are too many to name.
    """
    alike: dict[str, list[str]] = {}
    for name, comparison, unlike in left_out:
        for aspects, (words, tasks) in unlike.items():
            on = f" on {', '.join(tasks)}" if comparison is not None or len(unlike) > 1 else ""
            wanted = " ".join(f"--across {aspect}" for aspect in aspects)
            alike.setdefault(f"{on}, since they differ in {words}; {wanted} compares them.", []).append(name)
        if comparison is None and not unlike:
            alike.setdefault(": no task and seed in common.", []).append(name)
    return [
        f"Not compared: {', '.join(names) if len(names) <= _NAMED else f'{len(names)} {noun}'}{words}"
        for words, names in alike.items()
    ]


def check_found(what: str, found: Collection[Comparison], lines: Sequence[str]) -> None:
    """Refuse a table without a row, since none was made as what it would be compared with.

    Raises:
        InputError: nothing was compared, and the lines of :func:`not_compared` say why.
    """
    if not found and lines:
        raise InputError(f"ablation: expected {what}; found none. {lines[0]}")


def corrected(found: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons, with each p corrected for the number of them."""
    held = holm([comparison.p for comparison in found])
    return [replace(comparison, p_holm=p) for comparison, p in zip(found, held, strict=True)]


def unlike_columns(found: Iterable[Comparison]) -> list[Column]:
    """Columns for what the compared rows were made with, where that is not one thing for all."""
    values: dict[Aspect, set[str]] = {}
    for comparison in found:
        for aspect, words in comparison.made.items():
            values.setdefault(aspect, set()).add(words)
    return [Column(a) for a, own in values.items() if len(own) > 1 or " against " in min(own)]

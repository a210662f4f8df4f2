"""Variants compared with a baseline, paired by task and seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from analysis.load import common_suite, studies_of
from analysis.results import read_finals
from analysis.sameness import MADE_WITH, differing
from analysis.statistics import (
    LEVEL,
    average_ranks,
    bootstrap_interval,
    half_width,
    holm,
    probability_of_improvement,
    wilcoxon,
)
from analysis.tables import Column, Table
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
    "data_hash",
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
class Ablation:
    """All comparisons with one baseline, and every variant's average rank.

    Attributes:
        ranks: mean over tasks of the variant's rank by mean accuracy, 1 the best, ties shared; over the
            tasks that every variant has.
        ranked_tasks: number of those tasks.
    """

    suite: str
    baseline: str
    comparisons: list[Comparison]
    ranks: dict[str, float]
    ranked_tasks: int
    caveats: list[str]


def ablation(
    trials: pd.DataFrame, studies: Mapping[str, Study], suite: str, baseline: str | None = None
) -> Ablation:
    """Compare every variant with the baseline.

    Args:
        trials: :data:`COLUMNS`, and ``place`` (:func:`analysis.results.places`), of the final trials of one
            or more ledgers; those of place 1 are compared.
        studies: the studies by name.
        suite: name of the suite.
        baseline: a variant (``study: variant`` where several studies have one of that name); by default the
            one whose settings the others take over, else the first of the first study.

    Raises:
        InputError: there is no such baseline, or nothing to compare it with.
    """
    chosen = trials[trials["place"] == 1]
    completed = chosen[chosen["state"] == "completed"].dropna(subset=["test_top1"])
    several = completed["study"].nunique() > 1
    label = completed["variant"].astype(object)
    if several:
        label = completed["study"].astype(object) + ": " + label
    completed = completed.assign(label=label, accuracy=100 * completed["test_top1"])
    labels = list(dict.fromkeys(completed["label"]))
    name = _baseline(baseline, labels, studies, several)
    runs = {
        str(who): {str(task): _by_seed(cell) for task, cell in part.groupby("task", sort=False)}
        for who, part in completed.groupby("label")
    }
    hashes = {
        (str(who), str(task)): set(part["data_hash"].dropna())
        for (who, task), part in completed.groupby(["label", "task"])
    }
    caveats, found = differing(completed), []
    for other in labels:
        if other == name:
            continue
        tasks = [t for t in runs[name] if t in runs[other]]
        differ = [t for t in tasks if hashes[name, t] != hashes[other, t]]
        if differ:
            caveats.append(f"{other}: data of {', '.join(differ)} differ from {name}'s; not compared there.")
        pairs = {
            task: shared
            for task in tasks
            if task not in differ and (shared := sorted(set(runs[name][task]) & set(runs[other][task])))
        }
        if not pairs:
            caveats.append(f"{other}: no task and seed in common with {name}; not compared.")
            continue
        found.append(_compare(other, runs[other], runs[name], pairs))
    corrected = holm([comparison.p for comparison in found])
    notes = {str(who): str(part["reason"].iloc[0]) for who, part in completed.groupby("label")}
    found = [
        Comparison(**{**vars(comparison), "p_holm": p, "note": notes[comparison.variant]})
        for comparison, p in zip(found, corrected, strict=True)
    ]
    means = {who: {t: statistics.fmean(s.values()) for t, s in tasks.items()} for who, tasks in runs.items()}
    ranks, ranked_tasks = average_ranks(means)
    return Ablation(suite, name, found, ranks, ranked_tasks, caveats + _caveats(found))


def _by_seed(cell: pd.DataFrame) -> dict[int, float]:
    return dict(zip(map(int, cell["seed"]), map(float, cell["accuracy"]), strict=True))


def _baseline(asked: str | None, labels: list[str], studies: Mapping[str, Study], several: bool) -> str:
    if len(labels) < 2:
        raise InputError(
            f"ablation: expected at least two variants with completed final trials; found {len(labels)}"
        )
    if asked is not None:
        if asked not in labels:
            raise InputError(f"--baseline: expected one of {', '.join(labels)}; found {asked!r}")
        return asked
    for study in studies.values():
        sources = [v.settings_from for v in study.variants.values() if v.settings_from]
        for source in [*sources, *study.variants]:
            label = f"{study.name}: {source}" if several else source
            if label in labels:
                return label
    return labels[0]


def _compare(
    name: str,
    ours: dict[str, dict[int, float]],
    theirs: dict[str, dict[int, float]],
    pairs: dict[str, list[int]],
) -> Comparison:
    gained = {t: np.array([ours[t][s] - theirs[t][s] for s in seeds]) for t, seeds in pairs.items()}
    differences = list(gained.values())
    by_task = {task: float(values.mean()) for task, values in gained.items()}
    rounded = [round(value, 9) for value in by_task.values()]  # equal accuracies leave 1e-15, not 0
    several = min(map(len, differences)) > 1
    low, high = bootstrap_interval(differences) if several else (None, None)
    noise = half_width(differences) if several else None
    mean = statistics.fmean(rounded)
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
        p=wilcoxon(rounded),
        p_holm=math.nan,
        by_task=by_task,
        lacking=tuple(task for task in theirs if task not in pairs),
    )


def _caveats(found: Sequence[Comparison]) -> list[str]:
    lines = []
    for c in found:
        if c.lacking:
            there, lacking = f"{c.tasks} of {c.tasks + len(c.lacking)}", ", ".join(c.lacking)
            lines.append(f"{c.variant}: compared on {there} tasks (not {lacking}).")
    few = max((c.tasks for c in found), default=0)
    if found and 2.0 ** (1 - few) >= LEVEL:
        lines.append(
            f"With {few} tasks Wilcoxon's p cannot be below {2.0 ** (1 - few):.3g}: the verdict rests on the "
            "interval over seeds, and speaks of these tasks alone."
        )
    if any(c.noise is None for c in found):
        lines.append("With one seed on a task there is no interval over seeds.")
    return lines


def read_ablation(folders: Sequence[Path], baseline: str | None = None) -> Ablation:
    """Compare the variants of the studies in these folders; of the ledgers, only what it needs is read.

    Raises:
        InputError: the folders are no studies, or there is nothing to compare.
    """
    studies = studies_of(folders)
    finals = read_finals(folders, studies, COLUMNS)
    return ablation(finals, studies, common_suite(studies, folders).name, baseline)


def _baseline_rank(found: Ablation) -> list[str]:
    if not found.ranks:
        return []
    rank, number = found.ranks[found.baseline], len(found.ranks)
    return [
        f"Average rank of {found.baseline}: {rank:.3g} of {number} variants, over {found.ranked_tasks} tasks."
    ]


def as_table(found: Ablation) -> Table:
    """The comparisons as a table, the largest difference first."""
    ordered = sorted(found.comparisons, key=lambda c: -c.difference)
    return Table(
        title=f"Test accuracy against {found.baseline}, suite {found.suite} (points, paired)",
        columns=[
            Column("variant"),
            Column("difference", "difference"),
            Column("95 % from", "difference"),
            Column("to", "difference"),
            Column("± noise", "number"),
            Column("P(improvement)", "number"),
            Column("p (Wilcoxon)", "p"),
            Column("p (Holm)", "p"),
            Column("average rank", "number"),
            Column("tasks", "count"),
            Column("pairs", "count"),
            Column("verdict"),
        ],
        rows=[
            {
                "variant": c.variant,
                "difference": c.difference,
                "95 % from": c.low,
                "to": c.high,
                "± noise": c.noise,
                "P(improvement)": c.improvement,
                "p (Wilcoxon)": c.p,
                "p (Holm)": c.p_holm,
                "average rank": found.ranks.get(c.variant),
                "tasks": c.tasks,
                "pairs": c.pairs,
                "verdict": c.verdict,
            }
            for c in ordered
        ],
        notes=[
            *_baseline_rank(found),
            *(f"{c.variant}: {c.note}." for c in ordered if c.note.startswith("settings found")),
            *found.caveats,
        ],
    )

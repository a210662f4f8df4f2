"""The leaderboard: test accuracy of the final stage, by variant and task."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.load import common_suite, hyperparameter_columns, studies_of
from analysis.results import CELL, read_finals
from analysis.sameness import MADE_WITH, differing
from analysis.tables import Estimate
from analysis.tuning import of_tuning
from wst.data.tasks import GROUPS, Suite
from wst.errors import InputError
from wst.ledger.reads import TaskReads, count_reads
from wst.planning.ranking import DIGITS
from wst.records import Tuning
from wst.study import Study
from wst.suggest import one_of

COLUMNS = (
    "study",
    "trial_id",
    "task",
    "variant",
    "number",
    "seed",
    "reason",
    "state",
    "method",
    *MADE_WITH,
    "test_top1",
    "trainable_parameters",
    "head_parameters",
    "train_seconds",
    "peak_memory",
    "data_hash",
    "test_overlap",
)
"""Columns of ``trials`` that the leaderboard needs."""


@dataclass(frozen=True)
class Score:
    """One variant on one task, over the seeds that completed.

    Attributes:
        by_seed: test accuracy in per cent.
        trials: ids of the trials behind it.
        planned: seeds that the study asked for.
        trainable: trainable parameters without the head.
        head: parameters of the head.
        seconds: mean wall seconds of training.
        memory: highest peak memory in bytes; None where it was not measured.
        settings: hyperparameters.
        front: the other members of the cell's front, by falling accuracy on val, in a study of several
            objectives; they count in no average.
        test_overlap: share of the test images that are also in train or val; None where it was not measured.
    """

    by_seed: dict[int, float]
    trials: tuple[str, ...] = ()
    planned: int = 1
    trainable: float | None = None
    head: float | None = None
    seconds: float | None = None
    memory: float | None = None
    data_hash: str = ""
    test_overlap: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    front: tuple[Score, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over seeds in per cent."""
        return statistics.fmean(self.by_seed.values())

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over seeds; None with a single seed."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None


@dataclass(frozen=True)
class Row:
    """One variant of one study, or one published method.

    Attributes:
        scores: by task; a task without a completed final trial is missing.
        expected: tasks of the leaderboard that this row is on.
        stages: stages of the study and how many trials a cell they have, in words.
        note: where the settings come from, when not from a search of this variant.
        source: where a published row was printed; empty for our own.
        printed_mean: a published mean of the group means whose tasks were not printed.
    """

    study: str
    variant: str
    method: str
    scores: dict[str, Score]
    expected: tuple[str, ...]
    stages: str = ""
    normalisation: str = ""
    note: str = ""
    source: str = ""
    printed_mean: float | None = None
    printed_parameters: float | None = None

    @property
    def complete(self) -> bool:
        """True when every task has a score."""
        return set(self.expected) <= set(self.scores)

    def average(self, tasks: Sequence[str]) -> Estimate | None:
        """Mean over tasks in per cent; None while one is missing.

        The deviation is that of the mean: over the seeds that every one of the tasks has.
        """
        if not tasks or not set(tasks) <= set(self.scores):
            return None
        shared = set.intersection(*(set(self.scores[task].by_seed) for task in tasks))
        means = [
            statistics.fmean(self.scores[task].by_seed[seed] for task in tasks) for seed in sorted(shared)
        ]
        spread = statistics.stdev(means) if len(means) > 1 else None
        return Estimate(statistics.fmean(self.scores[task].mean for task in tasks), spread)

    def group_tasks(self, suite: Suite, group: str) -> list[str]:
        """Tasks of a group that this row should have."""
        return [task.name for task in suite.tasks if task.group == group and task.name in self.expected]

    def mean_of_tasks(self) -> Estimate | None:
        """Mean over tasks; None while a task is missing."""
        return self.average(self.expected)

    def mean_of_groups(self, suite: Suite) -> Estimate | None:
        """Mean of the group means, as most papers print it; None while a task is missing."""
        if self.printed_mean is not None:
            return Estimate(self.printed_mean)
        if not self.complete or not self.expected:
            return None
        groups = [tasks for group in GROUPS if (tasks := self.group_tasks(suite, group))]
        shared = set.intersection(*(set(self.scores[task].by_seed) for task in self.expected))
        by_seed = [
            statistics.fmean(
                statistics.fmean(self.scores[task].by_seed[seed] for task in tasks) for tasks in groups
            )
            for seed in sorted(shared)
        ]
        spread = statistics.stdev(by_seed) if len(by_seed) > 1 else None
        means = [statistics.fmean(self.scores[task].mean for task in tasks) for tasks in groups]
        return Estimate(statistics.fmean(means), spread)

    def seeds(self) -> str:
        """Seeds a task: ``3``, ``1-3`` where tasks differ, ``2-3 of 3`` where some did not complete."""
        if self.source:
            return ""
        counts = sorted({len(score.by_seed) for score in self.scores.values()})
        planned = max((score.planned for score in self.scores.values()), default=0)
        words = "-".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "0"
        return words if counts and counts[0] >= planned else f"{words} of {planned}"

    def trainable(self) -> float | None:
        """Trainable parameters without the head, mean over tasks."""
        return self.printed_parameters if self.source else self._mean_over_tasks("trainable")

    def head(self) -> float | None:
        """Parameters of the head, mean over tasks."""
        return self._mean_over_tasks("head")

    def _mean_over_tasks(self, what: str) -> float | None:
        known = [value for s in self.scores.values() if (value := getattr(s, what)) is not None]
        return statistics.fmean(known) if known else None

    def settings(self, tasks: Sequence[str] | None = None) -> str:
        """Hyperparameters in words; where tasks differ, from the smallest to the largest."""
        chosen = [s.settings for t, s in self.scores.items() if tasks is None or t in tasks]
        words = []
        for name in dict.fromkeys(name for settings in chosen for name in settings):
            values = sorted({settings[name] for settings in chosen if name in settings}, key=_sortable)
            ends = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in (values[0], values[-1])]
            words.append(f"{name} {' to '.join(dict.fromkeys(ends))}")
        return ", ".join(words)

    def readout(self) -> str:
        """What the head reads: a setting of the method, or ``paper`` for what the method does unasked."""
        if self.source:
            return ""
        return " and ".join(sorted({str(s.settings.get("readout", "paper")) for s in self.scores.values()}))

    def data(self) -> str:
        """Eight digits that are equal for rows on equal data of equal tasks."""
        hashes = sorted((task, score.data_hash) for task, score in self.scores.items())
        return "" if self.source else hashlib.sha256(repr(hashes).encode()).hexdigest()[:8]

    def protocol(self) -> str:
        """How the numbers came about, in one line."""
        if self.source:
            return f"published ({self.source}), selected on test or unknown, not re-run here"
        return f"{self.stages}; {self.seeds()} seeds; data {self.data()}; {self.normalisation}"


@dataclass(frozen=True)
class Leaderboard:
    """Rows, best first, and what they are on.

    Attributes:
        failed: final trials that failed, of those that count.
        put_aside: final trials of settings that the search has put aside since, by row and task.
        reads: how often each task's test images have been read, by these studies and by others.
        differing: a line on what the studies were made with, where that differs.
        several: whether they are of several studies.
    """

    suite: Suite
    tasks: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    failed: int = 0
    put_aside: dict[str, dict[str, int]] = field(default_factory=dict)
    reads: Mapping[str, TaskReads] = field(default_factory=dict)
    differing: Sequence[str] = ()
    several: bool = False

    def readers(self, task: str) -> dict[str, tuple[str, ...]]:
        """The trials that read a task's test split, each as often as it did, by row."""
        return {_label(*who, self.several): ids for who, ids in self.reads[task].by_variant.items()}

    def different_data(self) -> dict[str, list[str]]:
        """Tasks whose images differ between rows, with the studies in question."""
        different = {}
        for task in self.tasks:
            found = {row.scores[task].data_hash: row.study for row in self.rows if _measured(row, task)}
            if len(found) > 1:
                different[task] = sorted(set(found.values()))
        return different

    def overlaps(self) -> dict[str, float]:
        """Tasks whose test images are partly those of train or val, with the share, which rows agree on
        where their data do."""
        found = {}
        for task in self.tasks:
            shares = [row.scores[task].test_overlap for row in self.rows if _measured(row, task)]
            largest = max((share for share in shares if share), default=0.0)
            if largest:
                found[task] = largest
        return found

    def data_differ(self, one: str, other: str) -> bool:
        """True where two studies share a task but not its images."""
        return any({one, other} <= set(who) for who in self.different_data().values())


def _measured(row: Row, task: str) -> bool:
    return task in row.scores and not row.source


def leaderboard(
    trials: pd.DataFrame,
    suite: Suite,
    studies: Mapping[str, Study],
    tasks: Sequence[str] = (),
    reads: Mapping[str, TaskReads] = MappingProxyType({}),
) -> Leaderboard:
    """Compute the leaderboard.

    Averages are over the tasks that any of the studies asked for, or over ``tasks``; a row that lacks one
    of them gets none.

    Args:
        trials: :data:`COLUMNS`, ``place`` (:func:`analysis.results.places`), and ``hp_*`` if they are to be
            shown, of the final trials of one or more ledgers.
        suite: the suite that they are on.
        studies: the studies by name.
        tasks: these tasks alone.
        reads: how often each task's test images have been read.

    Raises:
        InputError: a task that no study asked for.
    """
    asked = {task for study in studies.values() for task in study.tasks}
    for task in tasks:
        if task not in asked:
            raise InputError(f"task: {one_of(task, sorted(asked))}")
    order = tuple(task.name for task in suite.tasks if task.name in (set(tasks) or asked))
    trials = trials[trials["task"].isin(order)]
    counting = trials[trials["place"] > 0]
    completed = counting[counting["state"] == "completed"]
    rows = [
        _row(str(study), str(variant), part, studies[str(study)], order)
        for (study, variant), part in completed.groupby(["study", "variant"], sort=False)
    ]
    return Leaderboard(
        suite,
        order,
        ranked(rows, suite),
        failed=int((counting["state"] == "failed").sum()),
        put_aside=_put_aside(trials[trials["place"] == 0], len(studies) > 1),
        reads={task: reads[task] for task in order if task in reads},
        differing=differing(completed),
        several=len(studies) > 1,
    )


def _put_aside(trials: pd.DataFrame, several: bool) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (study, task, variant), ids in trials.groupby(CELL, sort=False)["trial_id"]:
        found.setdefault(_label(study, variant, several), {})[str(task)] = len(ids)
    return found


def _label(study: object, variant: object, several: bool) -> str:
    return f"{study}: {variant}" if several else str(variant)


def ranked(rows: list[Row], suite: Suite) -> list[Row]:
    """Best mean of groups first; ties go to fewer parameters, then to the name; incomplete rows last."""

    def rank(row: Row) -> tuple[float, float, str]:
        average = row.mean_of_groups(suite)
        return -round(average.mean, DIGITS) if average else 1.0, row.trainable() or 0.0, row.variant

    return sorted(rows, key=rank)


def _row(name: str, variant: str, part: pd.DataFrame, study: Study, order: tuple[str, ...]) -> Row:
    scores = {}
    for task, cell in part.groupby("task", sort=False):
        by_place = {place: _score(seeds, study) for place, seeds in cell.groupby("place")}
        if 1 in by_place:
            members = tuple(score for place, score in by_place.items() if place != 1)
            scores[str(task)] = replace(by_place[1], front=members)
    notes = [str(reason) for reason in part["reason"].unique() if str(reason).startswith("settings found")]
    return Row(
        study=name,
        variant=variant,
        method=str(part["method"].iloc[0]),
        scores=scores,
        expected=order,
        stages=_stages(study, variant),
        normalisation=" and ".join(sorted({*map(_short, part["normalisation"].dropna().unique())})),
        note=notes[0] if notes else "",
    )


def _score(seeds: pd.DataFrame, study: Study) -> Score:
    return Score(
        by_seed={int(s): 100 * float(v) for s, v in zip(seeds["seed"], seeds["test_top1"], strict=True)},
        trials=tuple(seeds["trial_id"]),
        planned=study.final.seeds if study.final else len(seeds),
        trainable=_known(seeds["trainable_parameters"].mean()),
        head=_known(seeds["head_parameters"].mean()),
        seconds=_known(seeds["train_seconds"].mean()),
        memory=_known(seeds["peak_memory"].max()),
        settings={
            str(name).removeprefix("hp_"): value
            for name, value in seeds.iloc[0].items()
            if str(name).startswith("hp_") and (isinstance(value, tuple) or not pd.isna(value))
        },
        test_overlap=_known(seeds["test_overlap"].max()),
        data_hash="+".join(sorted(map(str, seeds["data_hash"].dropna().unique()))),
    )


def _sortable(value: Any) -> tuple[bool, bool, Any]:
    return isinstance(value, str), isinstance(value, tuple), value


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _short(normalisation: str) -> str:
    """Mean and standard deviation with one number in the place of three equal ones."""
    words = []
    for word in str(normalisation).split():
        channels = word.split("/")
        words.append(channels[0] if len(set(channels)) == 1 else word)
    return " ".join(words)


def _stages(study: Study, variant: str) -> str:
    settings = study.variants.get(variant)
    if settings is None:
        return "final"
    if settings.settings_from is not None:
        shared = "shared " if study.variants[settings.settings_from].shared else ""
        return f"{shared}settings of {settings.settings_from}, final"
    if settings.per_task is not None:
        return "settings by task, final"
    if study.search is None or settings.space is None:
        return "fixed settings, final"
    confirm = (
        f"best {study.confirm.top} confirmed over {study.confirm.seeds} seeds, " if study.confirm else ""
    )
    shared = f" shared by {len(study.tasks)} tasks" if settings.shared else ""
    return f"search of {study.search_trials(variant)}{shared}, {confirm}final"


def read_leaderboard(
    folders: Sequence[Path], tasks: Sequence[str] = (), tuning: Tuning | None = None
) -> Leaderboard:
    """The leaderboard of the studies in these folders; of the ledgers, only what it needs is read.

    Args:
        folders: output folders of studies.
        tasks: these tasks alone; all by default.
        tuning: only variants whose settings come about in this way.

    Raises:
        InputError: the folders are no studies, or of different suites.
    """
    studies = studies_of(folders)
    finals = read_finals(folders, studies, [*COLUMNS, *hyperparameter_columns(folders)])
    finals = of_tuning(finals, studies, tuning)
    return leaderboard(finals, common_suite(studies, folders), studies, tasks, count_reads(folders))

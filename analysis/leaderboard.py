"""The leaderboard: test accuracy of the final stage, by variant and task."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from analysis.load import common_suite, load, studies_of
from analysis.tables import Estimate
from wst.data.tasks import GROUPS, Suite
from wst.errors import InputError
from wst.study import Study

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
    "normalisation",
    "test_top1",
    "trainable_parameters",
    "head_parameters",
    "train_seconds",
    "peak_memory",
    "data_hash",
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
    """

    by_seed: dict[int, float]
    trials: tuple[str, ...] = ()
    planned: int = 1
    trainable: float | None = None
    head: float | None = None
    seconds: float | None = None
    memory: float | None = None
    data_hash: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

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
    """Rows, best first, and what they are on."""

    suite: Suite
    tasks: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    failed: int = 0

    def caveats(self) -> list[str]:
        """Lines to show under the table."""
        lines = [self.suite.caveat] if self.suite.caveat else []
        if len(self.tasks) < len(self.suite.tasks):
            lines.append(f"{len(self.tasks)} of the suite's {len(self.suite.tasks)} tasks: not its average.")
        lines += [
            f"{row.variant}: {row.note}; not tuned itself."
            for row in self.rows
            if row.note and not row.source
        ]
        for row in self.rows:
            if not row.complete and row.printed_mean is None:
                lacking = [task for task in row.expected if task not in row.scores]
                lines.append(
                    f"{row.variant}: incomplete, {len(row.scores)} of {len(row.expected)} tasks "
                    f"(no {', '.join(lacking)}): averages over them are left out."
                )
            short = [task for task, score in row.scores.items() if len(score.by_seed) < score.planned]
            if short and not row.source:
                lines.append(f"{row.variant}: {row.seeds()} seeds completed on {', '.join(short)}.")
        lines += [
            f"Data of {task} differ between {' and '.join(who)}: these numbers do not compare."
            for task, who in self.different_data().items()
        ]
        if self.failed:
            lines.append(f"{self.failed} final trials failed; see error_text in the ledger.")
        if any(row.source for row in self.rows):
            lines.append(
                "† published: selected on test or unknown, not re-run here, never ranked against our rows."
            )
        return lines

    def different_data(self) -> dict[str, list[str]]:
        """Tasks whose images differ between rows, with the studies in question."""
        different = {}
        for task in self.tasks:
            found = {row.scores[task].data_hash: row.study for row in self.rows if _measured(row, task)}
            if len(found) > 1:
                different[task] = sorted(set(found.values()))
        return different

    def data_differ(self, one: str, other: str) -> bool:
        """True where two studies share a task but not its images."""
        return any({one, other} <= set(who) for who in self.different_data().values())


def _measured(row: Row, task: str) -> bool:
    return task in row.scores and not row.source


def leaderboard(
    trials: pd.DataFrame, suite: Suite, studies: Mapping[str, Study], tasks: Sequence[str] = ()
) -> Leaderboard:
    """Compute the leaderboard.

    Averages are over the tasks that any of the studies asked for, or over ``tasks``; a row that lacks one
    of them gets none.

    Args:
        trials: :data:`COLUMNS`, and ``hp_*`` if they are to be shown, of the final trials of one or more
            ledgers.
        suite: the suite that they are on.
        studies: the studies by name.
        tasks: these tasks alone.

    Raises:
        InputError: a task that no study asked for.
    """
    asked = {task for study in studies.values() for task in study.tasks}
    for task in tasks:
        if task not in asked:
            raise InputError(f"--task: expected one of {', '.join(sorted(asked))}; found {task!r}")
    order = tuple(task.name for task in suite.tasks if task.name in (set(tasks) or asked))
    trials = trials[trials["task"].isin(order)]
    completed = trials[trials["state"] == "completed"]
    rows = [
        _row(str(study), str(variant), part, studies[str(study)], order)
        for (study, variant), part in completed.groupby(["study", "variant"], sort=False)
    ]
    return Leaderboard(suite, order, ranked(rows, suite), failed=int((trials["state"] == "failed").sum()))


def ranked(rows: list[Row], suite: Suite) -> list[Row]:
    """Best mean of groups first; ties go to fewer parameters, then to the name; incomplete rows last."""

    def rank(row: Row) -> tuple[float, float, str]:
        average = row.mean_of_groups(suite)
        return -round(average.mean, 9) if average else 1.0, row.trainable() or 0.0, row.variant

    return sorted(rows, key=rank)


def _row(name: str, variant: str, part: pd.DataFrame, study: Study, order: tuple[str, ...]) -> Row:
    scores = {}
    for task, seeds in part.groupby("task", sort=False):
        memory = seeds["peak_memory"].max()
        scores[str(task)] = Score(
            by_seed={int(s): 100 * float(v) for s, v in zip(seeds["seed"], seeds["test_top1"], strict=True)},
            trials=tuple(seeds["trial_id"]),
            planned=study.final.seeds if study.final else len(seeds),
            trainable=_known(seeds["trainable_parameters"].mean()),
            head=_known(seeds["head_parameters"].mean()),
            seconds=_known(seeds["train_seconds"].mean()),
            memory=_known(memory),
            settings={
                str(name).removeprefix("hp_"): value
                for name, value in seeds.iloc[0].items()
                if str(name).startswith("hp_") and not pd.isna(value)
            },
            data_hash="+".join(sorted(map(str, seeds["data_hash"].dropna().unique()))),
        )
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


def _sortable(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


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
        return f"settings of {settings.settings_from}, final"
    if settings.per_task is not None:
        return "settings by task, final"
    if study.search is None or settings.space is None:
        return "fixed settings, final"
    return f"search of {study.search.trials}, final"


def read_leaderboard(folders: Sequence[Path], tasks: Sequence[str] = ()) -> Leaderboard:
    """The leaderboard of the studies in these folders; of the ledgers, only what it needs is read.

    Raises:
        InputError: the folders are no studies, or of different suites.
    """
    studies = studies_of(folders)
    names = sorted({f"hp_{name}" for study in studies.values() for name in study.hyperparameter_types()})
    finals = load(folders, columns=[*COLUMNS, *names], where=pc.field("stage") == "final")
    return leaderboard(finals, common_suite(studies), studies, tasks)

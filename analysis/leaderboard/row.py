"""What a row of the leaderboard is: a variant's scores, their averages, and how they came about."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.sameness import Aspect
from analysis.tables import Estimate, Rounded, settings_in_words
from wst.data.tasks import GROUPS, Suite


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
        made: what it was made with, where our rows differ.
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
    made: Mapping[Aspect, str] = field(default_factory=dict)

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

    def settings(self, tasks: Sequence[str] | None = None) -> Rounded:
        """Hyperparameters in words; where tasks differ, from the smallest to the largest."""
        chosen = [s.settings for t, s in self.scores.items() if tasks is None or t in tasks]
        ends = {}
        for name in dict.fromkeys(name for settings in chosen for name in settings):
            values = sorted({settings[name] for settings in chosen if name in settings}, key=_sortable)
            ends[name] = values[0], values[-1]
        return settings_in_words(ends)

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


def _sortable(value: Any) -> tuple[bool, bool, Any]:
    return isinstance(value, str), isinstance(value, tuple), value

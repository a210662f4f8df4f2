"""The leaderboard: test accuracy of the final stage, by variant and task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from analysis.leaderboard.row import Row, Score
from analysis.load import common_suite, hyperparameter_columns, studies_of
from analysis.results import CELL, read_finals
from analysis.sameness import MADE_WITH, Made, made_of
from analysis.tuning import of_tuning
from wst.data.tasks import Suite
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
    "test_overlap",
)
"""Columns of ``trials`` that the leaderboard needs."""


@dataclass(frozen=True)
class Leaderboard:
    """Rows, best first, and what they are on.

    Attributes:
        failed: final trials that failed, of those that count.
        put_aside: final trials of settings that the search has put aside since, by row and task.
        reads: how often each task's test images have been read, by these studies and by others.
        made: what the rows were made with.
        several: whether they are of several studies.
    """

    suite: Suite
    tasks: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    failed: int = 0
    put_aside: dict[str, dict[str, int]] = field(default_factory=dict)
    reads: Mapping[str, TaskReads] = field(default_factory=dict)
    made: Made = field(default_factory=Made)
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
    several = len(studies) > 1
    labels = [_label(*who, several) for who in zip(completed["study"], completed["variant"], strict=True)]
    made = made_of(completed, pd.Series(labels, completed.index, dtype=object), studies)
    rows = [
        replace(
            _row(str(study), str(variant), part, studies[str(study)], order),
            made={aspect: made.cell(_label(study, variant, several), aspect) for aspect in made.differing},
        )
        for (study, variant), part in completed.groupby(["study", "variant"], sort=False)
    ]
    return Leaderboard(
        suite,
        order,
        ranked(rows, suite),
        failed=int((counting["state"] == "failed").sum()),
        put_aside=_put_aside(trials[trials["place"] == 0], several),
        reads={task: reads[task] for task in order if task in reads},
        made=made,
        several=several,
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

"""The leaderboard: test accuracy of the final stage, by variant and task."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from wst.data.tasks import GROUPS, Suite


@dataclass(frozen=True)
class Score:
    """Test accuracy of one variant on one task, in per cent over seeds."""

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True)
class Row:
    """One variant of one study.

    Attributes:
        scores: by task; a task without a completed final trial is missing.
        expected: tasks that the study asked for.
        trainable: trainable parameters without the head.
        head: parameters of the head, mean over tasks.
        note: where the settings come from, when not from a search of this variant.
    """

    study: str
    variant: str
    method: str
    scores: dict[str, Score]
    expected: tuple[str, ...]
    trainable: int
    head: float
    note: str = ""

    @property
    def complete(self) -> bool:
        """True when every task that the study asked for has a score."""
        return set(self.expected) <= set(self.scores)

    def mean_of_tasks(self) -> float | None:
        """Mean over tasks in per cent; None while a task is missing."""
        return statistics.fmean(self.scores[t].mean for t in self.expected) if self.complete else None

    def group_means(self, suite: Suite) -> dict[str, float]:
        """Mean of every group whose tasks are all there, in per cent."""
        means: dict[str, float] = {}
        for group in GROUPS:
            tasks = [t.name for t in suite.tasks if t.group == group and t.name in self.expected]
            if tasks and all(task in self.scores for task in tasks):
                means[group] = statistics.fmean(self.scores[task].mean for task in tasks)
        return means

    def mean_of_groups(self, suite: Suite) -> float | None:
        """Mean of the group means in per cent, as most papers print it; None while a task is missing."""
        return statistics.fmean(self.group_means(suite).values()) if self.complete else None

    def deviation(self) -> float | None:
        """Standard deviation over seeds, mean over tasks; None with a single seed."""
        known = [s.deviation for s in self.scores.values() if s.deviation is not None]
        return statistics.fmean(known) if known else None

    def seeds(self) -> str:
        """Seeds a task: ``3``, or ``1-3`` where tasks differ."""
        counts = sorted({score.seeds for score in self.scores.values()})
        return "-".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "0"


@dataclass(frozen=True)
class Leaderboard:
    """Rows, best first, and the suite that they are on."""

    suite: Suite
    tasks: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    failed: int = 0

    def caveats(self) -> list[str]:
        """Lines to show under the table."""
        lines = [self.suite.caveat] if self.suite.caveat else []
        lines += [f"{row.variant}: {row.note}; not tuned itself." for row in self.rows if row.note]
        lines += [
            f"{row.variant}: incomplete, {len(row.scores)} of {len(row.expected)} tasks."
            for row in self.rows
            if not row.complete
        ]
        if self.failed:
            lines.append(f"{self.failed} final trials failed; see error_text in the ledger.")
        return lines


def leaderboard(trials: pd.DataFrame, suite: Suite, studies: dict[str, tuple[str, ...]]) -> Leaderboard:
    """Compute the leaderboard.

    Args:
        trials: the ``trials`` table of one or more ledgers.
        suite: the suite they are on.
        studies: tasks that each study asked for.
    """
    finals = trials[trials["stage"] == "final"]
    completed = finals[finals["state"] == "completed"]
    rows = []
    for (study, variant), part in completed.groupby(["study", "variant"], sort=False):
        scores = {}
        for task, seeds in part.groupby("task", sort=False):
            accuracy = 100 * seeds["test_top1"]
            deviation = float(accuracy.std(ddof=1)) if len(accuracy) > 1 else None
            scores[str(task)] = Score(float(accuracy.mean()), deviation, len(accuracy))
        notes = [r for r in part["reason"].unique() if r.startswith("settings found")]
        rows.append(
            Row(
                study=str(study),
                variant=str(variant),
                method=str(part["method"].iloc[0]),
                scores=scores,
                expected=studies[str(study)],
                trainable=int(part["trainable_parameters"].iloc[0]),
                head=float(part.groupby("task")["head_parameters"].first().mean()),
                note=notes[0] if notes else "",
            )
        )
    rows.sort(key=lambda row: (-(row.mean_of_groups(suite) or -1.0), row.trainable, row.variant))
    asked = {task for tasks in studies.values() for task in tasks}
    order = tuple(task.name for task in suite.tasks if task.name in asked)
    return Leaderboard(suite, order, rows, failed=int((finals["state"] == "failed").sum()))


Cell = str | float | int | None


def _task_mean(row: Row, task: str) -> Cell:
    return row.scores[task].mean if task in row.scores else None


def _group_mean(row: Row, suite: Suite, group: str) -> Cell:
    return row.group_means(suite).get(group)


def columns(board: Leaderboard) -> dict[str, Callable[[Row], Cell]]:
    """The table's columns, in order: a heading and how a row fills it."""
    suite = board.suite
    found: dict[str, Callable[[Row], Cell]] = {"variant": lambda row: row.variant}
    if len({row.study for row in board.rows}) > 1:
        found["study"] = lambda row: row.study
    for task in board.tasks:
        found[task] = partial(_task_mean, task=task)
    for group in _groups_shown(board):
        found[group] = partial(_group_mean, suite=suite, group=group)
    found["mean of groups"] = lambda row: row.mean_of_groups(suite)
    found["mean of tasks"] = Row.mean_of_tasks
    found["std over seeds"] = Row.deviation
    found["seeds"] = Row.seeds
    found["trainable"] = lambda row: row.trainable
    found["head"] = lambda row: round(row.head)
    return found


_WHOLE = ("trainable", "head")


def as_records(board: Leaderboard) -> list[dict[str, Cell]]:
    """The table as a list of rows, for JSON."""
    registry = columns(board)
    return [{name: fill(row) for name, fill in registry.items()} for row in board.rows]


def text_cell(name: str, value: Cell) -> str:
    """A cell's text: accuracies with one decimal, counts with separators, a dash for what is missing."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,}" if name in _WHOLE else f"{value:.1f}"


def render(board: Leaderboard) -> Table:
    """The table for a terminal: a column a variant, best first, a row a task or figure, the best in bold.

    The field prints tasks as columns; nineteen of them do not fit a terminal, and variants usually do.
    """
    registry, records = columns(board), as_records(board)
    table = Table(
        title=f"Test accuracy (%), suite {board.suite.name}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("")
    for row in board.rows:
        table.add_column(row.variant, justify="right")
    figures = ("std over seeds", "seeds", *_WHOLE)
    for name in list(registry)[1:]:
        values = [record[name] for record in records]
        known = [float(v) for v in values if isinstance(v, int | float)]
        best = max(known, default=None) if name not in figures else None
        if name in (_groups_shown(board)[0], "mean of groups", "std over seeds"):
            table.add_section()
        texts = [
            Text(text_cell(name, v), style="bold" if best is not None and v == best else "") for v in values
        ]
        table.add_row(name, *texts)
    return table


def _groups_shown(board: Leaderboard) -> list[str]:
    return [g for g in GROUPS if any(t.group == g for t in board.suite.tasks if t.name in board.tasks)]


def markdown(board: Leaderboard) -> str:
    """The table in Markdown, caveats below it."""
    registry, records = columns(board), as_records(board)
    lines = [
        "| " + " | ".join(registry) + " |",
        "|" + "|".join(" --- " if name in ("variant", "study") else " ---: " for name in registry) + "|",
        *("| " + " | ".join(text_cell(n, v) for n, v in record.items()) + " |" for record in records),
    ]
    return "\n".join([*lines, "", *board.caveats()])

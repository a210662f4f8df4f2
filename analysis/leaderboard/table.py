"""The leaderboard as a table: its columns, one registry entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from analysis.latex import MEAN
from analysis.leaderboard.board import Leaderboard, read_leaderboard
from analysis.leaderboard.notes import caveats, front_members
from analysis.leaderboard.row import Row
from analysis.sameness import Aspect
from analysis.tables import Cell, Column, Estimate, Kind, Table, flat_rows
from wst.data.tasks import GROUPS, Suite
from wst.errors import InputError

Fill = Callable[[Row], Cell]


def _task_cell(row: Row, task: str) -> Cell:
    score = row.scores.get(task)
    return Estimate(score.mean, score.deviation) if score else None


def _group_cell(row: Row, suite: Suite, group: str) -> Cell:
    return row.average(row.group_tasks(suite, group))


def _made_with(row: Row, aspect: Aspect) -> Cell:
    return row.made.get(aspect, "")


def registry(board: Leaderboard) -> list[tuple[Column, Fill]]:
    """The table's columns, in order, each with how a row fills it.  A new column is one entry here."""
    suite, tasks = board.suite, board.tasks
    unlike = [aspect for aspect in board.made.differing if aspect not in ("normalisation", "data")]
    several = len({row.study for row in board.rows}) > 1
    group_of = {task.name: task.group for task in suite.tasks if task.name in tasks}
    groups = [group for group in GROUPS if group in group_of.values()]
    readouts = {row.readout() for row in board.rows if not row.source}
    alone = [group for group in groups if list(group_of.values()).count(group) == 1]

    def percent(name: str, over: str, section: bool = False, aside: bool = False) -> Column:
        return Column(name, "percent", best=True, section=section, over=over, aside=aside)

    def plain(name: str, kind: Kind = "text", section: bool = False, aside: bool = False) -> Column:
        return Column(name, kind, section=section, aside=aside)

    def protocol(name: str, section: bool = False) -> Column:
        return plain(name, section=section, aside=name not in board.made.differing)

    return [
        (plain("variant"), lambda row: row.variant + (" †" if row.source else "")),
        *([(plain("study", aside=not board.several), lambda row: row.study)] if several else []),
        *((percent(task, group_of[task]), partial(_task_cell, task=task)) for task in tasks),
        *(
            (
                percent(group, MEAN, section=group == groups[0], aside=group in alone),
                partial(_group_cell, suite=suite, group=group),
            )
            for group in groups
        ),
        (percent("mean of groups", MEAN, section=True), lambda row: row.mean_of_groups(suite)),
        (percent("mean of tasks", MEAN), Row.mean_of_tasks),
        (plain("trainable", "count", section=True), Row.trainable),
        (plain("head", "count", aside=True), Row.head),
        (protocol("seeds"), Row.seeds),
        (protocol("stages", section=True), lambda row: row.stages),
        (protocol("data"), Row.data),
        (protocol("normalisation"), lambda row: row.normalisation),
        (plain("readout", aside=len(readouts) < 2), Row.readout),
        *((plain(aspect), partial(_made_with, aspect=aspect)) for aspect in unlike),
        (protocol("settings"), Row.settings),
    ]


def as_table(board: Leaderboard) -> Table:
    """The leaderboard as a table: a row a variant, tasks as columns, the best of our own in bold.

    ± is the standard deviation over seeds; that of an average is the deviation of the average itself.
    """
    entries = registry(board)
    if any(row.source for row in board.rows):
        entries.append((Column("protocol", aside=True), Row.protocol))
    return Table(
        title=f"Test accuracy (%), suite {board.suite.name}",
        columns=[column for column, _ in entries],
        rows=[{column.name: fill(row) for column, fill in entries} for row in board.rows],
        notes=[*caveats(board), *front_members(board)],
        unranked=frozenset(i for i, row in enumerate(board.rows) if row.source),
        keys=1 + any(column.name == "study" for column, _ in entries),
    )


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The leaderboard of the study in a folder as plain rows; none where nothing was tested."""
    try:
        return flat_rows(as_table(read_leaderboard([folder])))
    except InputError:
        return []


def without_settings(board: Leaderboard) -> Table:
    """The leaderboard for a terminal, whose columns are too narrow for the hyperparameters."""
    table = as_table(board)
    return replace(table, columns=[column for column in table.columns if column.name != "settings"])


_MOST_TASKS = 6
"""Columns for tasks in a terminal."""


def accuracies(board: Leaderboard) -> Table:
    """The leaderboard of many variants for a terminal: a row each, with tasks or groups and an average."""
    table = as_table(board)
    tasks = board.tasks if len(board.tasks) <= _MOST_TASKS else GROUPS
    kept = ("variant", "study", *tasks, "mean of groups", "trainable", *board.made.differing)
    return replace(table, columns=[column for column in table.columns if column.name in kept])


def averages_table(board: Leaderboard) -> Table:
    """Our rows and published ones with their averages alone, which fits a terminal."""
    table = as_table(board)
    kept = ("variant", *GROUPS, "mean of groups", "mean of tasks", "trainable", "protocol")
    columns = [column for column in table.columns if column.name in kept]
    return replace(table, title="Beside published results (%)", columns=columns, keys=1)


def trial_ids(board: Leaderboard) -> dict[str, dict[str, list[str]]]:
    """The trials behind every number: by row (``study/variant``) and task."""
    return {
        f"{row.study}/{row.variant}": {task: list(score.trials) for task, score in row.scores.items()}
        for row in board.rows
        if not row.source
    }


def reads_by_task(board: Leaderboard) -> dict[str, dict[str, list[str]]]:
    """The trials that read each task's test split, by task and variant, each as often as it did and whether
    or not it counts."""
    return {
        task: {label: list(ids) for label, ids in board.readers(task).items()}
        for task, reads in board.reads.items()
        if reads.own
    }


def reads_by_others(board: Leaderboard) -> dict[str, int | None]:
    """How often each task's test images were read by all others on this machine; None where not known."""
    return {task: reads.others for task, reads in board.reads.items()}

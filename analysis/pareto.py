"""Accuracy against what it costs: the points and their front, as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from analysis.leaderboard.board import Leaderboard
from analysis.leaderboard.notes import caveats
from analysis.leaderboard.row import Row
from analysis.sameness import Aspect
from analysis.tables import Column, Estimate, Rounded, Table
from wst.data.tasks import GROUPS
from wst.errors import InputError
from wst.planning.ranking import on_front
from wst.suggest import one_of

Cost = Literal["parameters", "seconds", "memory"]
COSTS: dict[Cost, str] = {
    "parameters": "trainable parameters without the head",
    "seconds": "training seconds of one final trial, mean over tasks",
    "memory": "peak memory (bytes), highest of the tasks",
}
"""What accuracy is set against, and its name on the axis."""


@dataclass(frozen=True)
class Point:
    """One variant, or with ``#2`` and so on a further member of its fronts.

    Attributes:
        cost: on the scale that was asked for.
        accuracy: in per cent.
        deviation: standard deviation of that accuracy over seeds; None with one seed.
        on_front: True when no other of our points has as little or less cost and as high or higher
            accuracy, one of the two strictly.  Published points are never on it.
        settings: hyperparameters in words.
        published: where the point was printed, for results that were not run here; else empty.
        made: what it was made with, where that differs among the points.
    """

    label: str
    cost: float
    accuracy: float
    deviation: float | None
    on_front: bool
    settings: Rounded
    note: str = ""
    published: str = ""
    made: Mapping[Aspect, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Front:
    """Points by cost, and what they are about."""

    suite: str
    over: str
    against: Cost
    points: list[Point]
    left_out: list[str]
    caveats: list[str]

    @property
    def y_label(self) -> str:
        """What the accuracy is."""
        return f"test accuracy, {self.over} (%)"

    @property
    def x_label(self) -> str:
        """What the cost is."""
        return COSTS[self.against]


def choices(board: Leaderboard) -> list[str]:
    """What a front can be over: both averages, the groups, and the tasks."""
    groups = [g for g in GROUPS if any(t.group == g for t in board.suite.tasks if t.name in board.tasks)]
    return ["mean of groups", "mean of tasks", *groups, *board.tasks]


def front(board: Leaderboard, over: str = "mean of groups", against: Cost = "parameters") -> Front:
    """One point a row that has the accuracy and the cost; points that tie in both are all on the front.

    The further members of a row's fronts, in a study of several objectives, are points of their own.

    Args:
        board: our rows, and published ones if they are to be drawn.
        over: one of :func:`choices`.
        against: what accuracy is set against.

    Raises:
        InputError: there is no such task or group, or no row of ours has both numbers.
    """
    if over not in choices(board):
        raise InputError(f"over: {one_of(over, choices(board))}")
    several = len({row.study for row in board.rows if not row.source}) > 1
    measured, left_out = [], []
    drawn = [member for row in board.rows for member in _members(row, _tasks(row, board, over))]
    for row in drawn:
        accuracy, cost = _accuracy(row, board, over), _cost(row, board, over, against)
        label = f"{row.study}: {row.variant}" if several and not row.source else row.variant
        if accuracy is None or cost is None:
            if not row.source:
                left_out.append(label)
        else:
            measured.append((row, label, cost, accuracy))
    ours = [place for place, (row, *_) in enumerate(measured) if not row.source]
    if not ours:
        raise InputError(f"pareto: expected a variant whose final trials are complete for {over}; found none")
    costs, accuracies = np.array([(cost, accuracy.mean) for _, _, cost, accuracy in measured])[ours].T
    # Here equal points all stay: each is a variant that somebody may ask after.
    leading = {ours[i] for i in np.flatnonzero(on_front(accuracies, costs[:, None], keep_equals=True))}
    points = [
        Point(
            label,
            cost,
            accuracy.mean,
            accuracy.deviation,
            on_front=place in leading,
            settings=row.settings(_tasks(row, board, over)),
            note=row.note,
            published=row.source,
            made=row.made,
        )
        for place, (row, label, cost, accuracy) in enumerate(measured)
    ]
    points.sort(key=lambda point: (point.cost, point.accuracy, point.label))
    return Front(board.suite.name, over, against, points, left_out, _notes(board))


def _members(row: Row, tasks: Sequence[str]) -> list[Row]:
    """The row, and one for each further place on the fronts of its cells, by falling accuracy on val.

    Over several tasks the last member of a shorter front stands in.
    """
    fronts = {task: (s, *s.front) for task, s in row.scores.items() if task in tasks}
    longest = max(map(len, fronts.values()), default=1)
    return [row] + [
        replace(
            row,
            variant=f"{row.variant} #{place}",
            scores={task: front[min(place, len(front)) - 1] for task, front in fronts.items()},
        )
        for place in range(2, longest + 1)
    ]


def _notes(board: Leaderboard) -> list[str]:
    lines = caveats(board)
    if any(score.front for row in board.rows for score in row.scores.values()):
        lines.append(
            "#2 and so on: further members of a task's front, by falling accuracy on val; in a mean over "
            "tasks the last one stands in for a shorter front."
        )
    return lines


def _accuracy(row: Row, board: Leaderboard, over: str) -> Estimate | None:
    if over == "mean of groups":
        return row.mean_of_groups(board.suite)
    if over == "mean of tasks":
        return row.mean_of_tasks()
    return row.average(_tasks(row, board, over))


def _tasks(row: Row, board: Leaderboard, over: str) -> list[str]:
    if over in board.tasks:
        return [over]
    return row.group_tasks(board.suite, over) if over in GROUPS else list(row.expected)


def _cost(row: Row, board: Leaderboard, over: str, against: Cost) -> float | None:
    if row.source:
        return row.trainable() if against == "parameters" else None
    scores = [row.scores[task] for task in _tasks(row, board, over) if task in row.scores]
    field = {"parameters": "trainable", "seconds": "seconds", "memory": "memory"}[against]
    known: list[float] = [value for score in scores if (value := getattr(score, field)) is not None]
    if not known:
        return None
    return max(known) if against == "memory" else sum(known) / len(known)


def as_table(found: Front) -> Table:
    """The points as a table."""
    unlike = list(dict.fromkeys(aspect for point in found.points for aspect in point.made))
    kind = {"parameters": "count", "seconds": "seconds", "memory": "bytes"}[found.against]
    rows: list[dict[str, Any]] = [
        {
            "variant": point.label + (" †" if point.published else ""),
            found.against: point.cost,
            "accuracy": Estimate(point.accuracy, point.deviation),
            "on the front": "" if point.published else point.on_front,
            **{aspect: point.made.get(aspect, "") for aspect in unlike},
            "settings": point.settings,
            "note": point.published or point.note,
        }
        for point in found.points
    ]
    notes = [f"{label}: not drawn, incomplete." for label in found.left_out]
    return Table(
        title=f"Test accuracy, {found.over}, against {found.x_label}, suite {found.suite}",
        columns=[
            Column("variant"),
            Column(found.against, kind),  # type: ignore[arg-type]
            Column("accuracy", "percent", best=True),
            Column("on the front"),
            *(Column(aspect) for aspect in unlike),
            Column("settings", aside=True),
            Column("note", aside=True),
        ],
        rows=rows,
        notes=[*notes, *found.caveats],
        unranked=frozenset(i for i, point in enumerate(found.points) if point.published),
    )

"""Published VTAB-1K results as data, to stand beside our own and never to be mistaken for them.

``literature/vtab1k.csv`` has results by task, ``literature/averages.csv`` methods of which only an average
was printed, ``literature/printed_averages.csv`` averages that were printed beside results by task.  Each
line names its source.  None was re-run here, and how the printed checkpoint was selected is often unknown:
several of the released code bases score on the test split while they train.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd

from analysis.leaderboard.board import Leaderboard, ranked
from analysis.leaderboard.row import Row, Score
from wst.data.suites import find_suite
from wst.errors import InputError

_FOLDER = Path(__file__).parent / "literature"
SUITE = "vtab1k"


@cache
def _read(name: str) -> pd.DataFrame:
    return pd.read_csv(_FOLDER / f"{name}.csv")


def results() -> pd.DataFrame:
    """Results by task: method, backbone, pretraining, params_millions, task, accuracy (%), source."""
    return _read("vtab1k").copy()


def averages() -> pd.DataFrame:
    """Methods of which only an average is known: method, params_millions, average (%), its kind, source."""
    return _read("averages").copy()


def rows(tasks: tuple[str, ...]) -> list[Row]:
    """Published methods as leaderboard rows on the given VTAB-1K tasks, averaged as our own are.

    Methods of which only an average was printed are there when all 19 tasks are asked for.
    """
    found = []
    for (method, pretraining), part in results().groupby(["method", "pretraining"], sort=False):
        accuracy = dict(zip(part["task"], part["accuracy"], strict=True))
        parameters = part["params_millions"].iloc[0]
        found.append(
            Row(
                study="published",
                variant=str(method),
                method=str(method),
                scores={task: Score({0: float(accuracy[task])}) for task in tasks if task in accuracy},
                expected=tasks,
                note=str(pretraining),
                source=str(part["source"].iloc[0]),
                printed_parameters=None if pd.isna(parameters) else 1e6 * float(parameters),
            )
        )
    if len(tasks) == len(find_suite(SUITE).tasks):
        for line in averages().to_dict("records"):
            parameters = line["params_millions"]
            found.append(
                Row(
                    study="published",
                    variant=str(line["method"]),
                    method=str(line["method"]),
                    scores={},
                    expected=tasks,
                    note=str(line["average_kind"]),
                    source=str(line["source"]),
                    printed_mean=float(line["average"]),
                    printed_parameters=None if pd.isna(parameters) else 1e6 * float(parameters),
                )
            )
    return found


def with_published(board: Leaderboard) -> Leaderboard:
    """The leaderboard with published rows among our own, marked.

    Raises:
        InputError: the suite is not VTAB-1K.
    """
    if board.suite.name != SUITE:
        raise InputError(
            f"--literature: expected a study on suite {SUITE!r}, on which the published results are; "
            f"found {board.suite.name!r}"
        )
    return replace(board, rows=ranked([*board.rows, *rows(board.tasks)], board.suite))


@dataclass(frozen=True)
class Recomputed:
    """A printed average beside the one that follows from the printed results by task, in per cent."""

    method: str
    printed: float | None
    recomputed: float
    verdict: str


_WHY_NOT = {
    "LoRA": "its 19 values are V-PETL Bench's; the average is NOAH's, whose own 19 values may differ",
}


def recomputed_averages(tolerance: float = 0.05) -> list[Recomputed]:
    """Every method's mean of the group means against the printed average.

    The verdict is ``agrees`` within the tolerance, or says why not.
    """
    suite = find_suite(SUITE)
    printed = _read("printed_averages").set_index("method")["average"].to_dict()
    found = []
    for row in rows(tuple(task.name for task in suite.tasks)):
        average = row.mean_of_groups(suite)
        if row.printed_mean is not None:
            found.append(
                Recomputed(row.variant, row.printed_mean, row.printed_mean, "tasks were not printed")
            )
            continue
        if average is None:
            raise InputError(f"{row.variant}: expected all 19 tasks; found {len(row.scores)}")
        known = printed.get(row.variant)
        if known is None:
            verdict = "no printed average on record"
        elif abs(known - average.mean) <= tolerance:
            verdict = "agrees"
        else:
            verdict = _WHY_NOT.get(row.variant, "differs, and the reason is not known")
        found.append(Recomputed(row.variant, known, average.mean, verdict))
    return found

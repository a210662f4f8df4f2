"""Methods with their tuned, shared and untuned settings side by side: what tuning is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from analysis.comparison import COLUMNS as RUNS
from analysis.comparison import Runs, compare, runs_of
from analysis.leaderboard.board import COLUMNS, Leaderboard, leaderboard
from analysis.leaderboard.notes import caveats
from analysis.leaderboard.row import Row
from analysis.load import common_suite, hyperparameter_columns, studies_of
from analysis.results import read_finals
from analysis.tables import Cell, Column, Table
from analysis.tuning import counterparts
from wst.errors import InputError
from wst.ledger.reads import count_reads
from wst.records import Tuning
from wst.study import Study


def read_side_by_side(folders: Sequence[Path], tasks: Sequence[str] = ()) -> Table:
    """The table of the studies in these folders.

    Raises:
        InputError: the folders are no studies, or no two variants differ in their tuning alone.
    """
    studies = studies_of(folders)
    names = dict.fromkeys([*COLUMNS, *RUNS, *hyperparameter_columns(folders)])
    finals = read_finals(folders, studies, list(names))
    suite = common_suite(studies, folders)
    board = leaderboard(finals, suite, studies, tasks, count_reads(folders))
    return side_by_side(board, runs_of(finals[finals["task"].isin(board.tasks)], studies), studies)


def side_by_side(board: Leaderboard, runs: Runs, studies: Mapping[str, Study]) -> Table:
    """A row a method, in the leaderboard's order: mean of groups by how the settings were found.

    The differences are means over tasks, paired by task and seed as ``wst ablation`` has them.

    Raises:
        InputError: no two variants differ in their tuning alone.
    """
    rows = {(row.study, row.variant): row for row in board.rows}
    methods = [
        {kind: rows[name, variant] for kind, variant in names.items() if (name, variant) in rows}
        for name, study in studies.items()
        for names in counterparts(study)
    ]
    methods = [found for found in methods if len(found) > 1]
    if not methods:
        raise InputError(
            "--side-by-side: expected variants with final trials that differ only in whether their settings "
            "are tuned for each task, shared, or not tuned; found none"
        )
    methods.sort(key=lambda found: min(board.rows.index(row) for row in found.values()))
    kinds = [kind for kind in get_args(Tuning) if any(kind in found for found in methods)]
    first, others = kinds[0], kinds[1:]
    unlike = [aspect for aspect in board.made.differing if aspect != "budget"]  # which the columns are about
    percent = [Column(kind, "percent", best=True) for kind in kinds]
    gains = [(Column(f"over {kind}", "difference"), Column(f"verdict on {kind}")) for kind in others]
    return Table(
        title=f"Test accuracy (%), mean of groups, by how settings were found, suite {board.suite.name}",
        columns=[
            Column("method"),
            *percent,
            *(column for both in gains for column in both),
            *(Column(f"{kind} trainable", "count") for kind in kinds),
            Column("readout"),
            *(Column(aspect) for aspect in unlike),
        ],
        rows=[_filled(found, board, runs, first, others) for found in methods],
        notes=[
            "tuned: a search for each task; shared: one search for all tasks; untuned: no search of its own.",
            f"over: points by which {first} settings are above those, mean over tasks, paired by seed.",
            *caveats(board),
        ],
    )


def _filled(
    found: Mapping[Tuning, Row], board: Leaderboard, runs: Runs, first: Tuning, others: Sequence[Tuning]
) -> dict[str, Cell]:
    filled: dict[str, Cell] = {
        "method": next(found[kind].variant for kind in (first, *others) if kind in found),
        "readout": " and ".join(sorted({row.readout() for row in found.values()})),
        **{
            aspect: " and ".join(dict.fromkeys(row.made[aspect] for row in found.values()))
            for aspect in board.made.differing
        },
    }
    for kind in (first, *others):
        filled[f"{kind} trainable"] = found[kind].trainable() if kind in found else None
        filled[kind] = found[kind].mean_of_groups(board.suite) if kind in found else None
    for kind in others:
        comparison = None
        if first in found and kind in found:
            comparison, _ = compare(
                runs, _label(found[first], runs), _label(found[kind], runs), across=["budget"]
            )
        filled[f"over {kind}"] = comparison.difference if comparison else None
        filled[f"verdict on {kind}"] = comparison.verdict if comparison else None
    return filled


def _label(row: Row, runs: Runs) -> str:
    return row.variant if row.variant in runs.accuracies else f"{row.study}: {row.variant}"

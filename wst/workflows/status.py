"""How far a study is: trials by cell, stage and state, the best so far, what is left, what read test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from wst.data.check.overlap import overlap_note
from wst.ledger import history, resolved_study
from wst.ledger.reads import TaskReads, count_reads, read_lines, read_log
from wst.planning.cell import STAGES
from wst.planning.planner import Planner
from wst.records import Outcome

_Measured = Literal["val", "test"]


def overlap_notes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What to say under the table of images that are in two splits, a line a task and split."""
    lines = [
        overlap_note(split, row["task"], row[f"{split} overlap"])
        for row in rows
        for split in get_args(_Measured)
        if row[f"{split} overlap"]
    ]
    return list(dict.fromkeys(lines))


def _overlaps(outcomes: Iterable[Outcome]) -> dict[str, float | None]:
    """The largest share that a cell's trials have measured."""
    val: list[float] = []
    test: list[float] = []
    for outcome in outcomes:
        val += [] if outcome.val_overlap is None else [outcome.val_overlap]
        test += [] if outcome.test_overlap is None else [outcome.test_overlap]
    return {"val overlap": max(val, default=None), "test overlap": max(test, default=None)}


def status_rows(folder: Path) -> list[dict[str, Any]]:
    """One row a cell; a stage that the study lacks is "-".

    ``test reads`` are this study's for the cell, ``test read by`` the trials that did, each as often as it
    did; ``test reads of the task`` counts its test images, by this study and by all others on this machine.

    Raises:
        InputError: the folder holds no study, or a damaged one.
    """
    planner = Planner(resolved_study(folder), *history(folder), look_only=True)
    counted = count_reads([folder])
    rows: list[dict[str, Any]] = []
    for cell in planner.cells.values():
        best = cell.best
        task = counted.get(cell.task, TaskReads())
        reads = task.by_variant.get((planner.study.name, cell.variant), ())
        stages = {s: f"{cell.count(s)}/{cell.planned(s)}" for s in STAGES if cell.planned(s)}
        rows.append(
            {
                "task": cell.task,
                "variant": cell.variant,
                **{stage: stages.get(stage, "-") for stage in STAGES},
                **{state: sum(cell.count(s, state) for s in STAGES) for state in ("pruned", "failed")},
                "begun": sum((i.task, i.variant) == (cell.task, cell.variant) for i in planner.interrupted),
                "left": cell.remaining,
                "test reads": len(reads),
                "test read by": list(reads),
                "test reads of the task": task.as_json(),
                "val": best.val_top1 if best else None,
                **_overlaps(trial.outcome for trials in cell.ended.values() for trial in trials),
                "best settings": best.trial.intent.hyperparameters if best else None,
            }
        )
    return rows


def status_lines(folder: Path) -> list[str]:
    """Lines on reads of test splits, tasks with equal numbers in one; none where nothing is known of any.

    Raises:
        InputError: as :func:`status_rows`.
    """
    log = read_log()
    known = {
        task: reads
        for task, reads in count_reads([folder], log).items()
        if reads.own or reads.others is not None
    }
    return [*read_lines(known), *filter(None, [log.caveat])]

"""How far a study is: trials by cell, stage and state, the best so far, what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wst.ledger import history, resolved_study
from wst.planning.cell import STAGES
from wst.planning.planner import Planner


def status_rows(folder: Path) -> list[dict[str, Any]]:
    """One row a cell; a stage that the study lacks is "-".

    Raises:
        InputError: the folder holds no study.
    """
    planner = Planner(resolved_study(folder), *history(folder))
    rows: list[dict[str, Any]] = []
    for cell in planner.cells.values():
        best = cell.best
        reads = [t.intent.trial_id for t in cell.ended["final"] if t.outcome.test_images is not None]
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
                "test read by": reads,
                "val": best.val_top1 if best else None,
                "best settings": best.trial.intent.hyperparameters if best else None,
            }
        )
    return rows

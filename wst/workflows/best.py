"""What a study's searches chose: as rows, and as a study that starts at its final stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wst.errors import InputError
from wst.ledger import history, resolved_study
from wst.planning.planner import Planner
from wst.study import Study


def chosen_settings(folder: Path) -> list[dict[str, Any]]:
    """The settings that go into each cell's final stage, one row each: several where there is a front.

    ``val_top1`` is what they were chosen by; of settings that all tasks share (``shared``), the mean over
    these.

    Raises:
        InputError: the folder holds no study, or no search in it has ended.
    """
    planner = Planner(resolved_study(folder), *history(folder), look_only=True)
    rows = []
    for cell in planner.cells.values():
        for settings, candidate in cell.chosen:
            rows.append(
                {
                    "task": cell.task,
                    "variant": cell.variant,
                    "val_top1": candidate.val_top1 if candidate else None,
                    "settings": settings,
                    "trial_id": candidate.trial.intent.trial_id if candidate else None,
                    "shared": cell.shared,
                }
            )
    if not rows:
        raise InputError(
            f"{folder}: expected a cell whose search has ended with a completed trial; found none"
        )
    return rows


def study_without_search(folder: Path) -> str:
    """A study file with the chosen settings by task, whose only stage is the final one.

    Where a cell has a front, each of its members is a variant of its own, numbered by falling accuracy.

    Raises:
        InputError: a cell's search has not ended, or ended without a completed trial.
    """
    study, rows = resolved_study(folder), chosen_settings(folder)
    variants: dict[str, Any] = {}
    for name, variant in study.variants.items():
        by_task = {
            task: [row["settings"] for row in rows if (row["task"], row["variant"]) == (task, name)]
            for task in study.tasks
        }
        for task, found in by_task.items():
            if not found:
                raise InputError(
                    f"{folder}: expected chosen settings for every cell; found none for {task}, {name} "
                    "(see wst status)"
                )
        for place in range(max(map(len, by_task.values()))):
            # A front may be shorter for one task than for another: its last member stands in.
            table = {task: found[min(place, len(found) - 1)] for task, found in by_task.items()}
            member = name if place == 0 else f"{name}-front-{place + 1}"
            variants[member] = {
                "method": variant.method,
                "method_hash": variant.method_hash,
                "per_task": table,
            }
    data = study.model_dump(mode="json") | {
        "name": f"{study.name}-best",
        "variants": variants,
        "search": None,
        "confirm": None,
        "final": study.final.model_dump() if study.final else {},
    }
    return Study.model_validate(data).to_yaml()

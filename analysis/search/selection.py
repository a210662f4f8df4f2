"""How sure the choice of a cell's settings was, and what a surer one would have brought."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from analysis.results import best_first, shares
from analysis.search.trials import run_trials
from analysis.tables import Column, Table
from wst.data.tasks import Suite
from wst.study import Study


@dataclass(frozen=True)
class Selection:
    """How sure the choice of one cell's settings was.

    Attributes:
        completed: completed search trials.
        best: highest validation accuracy among them, in per cent.
        tied: how many have exactly that accuracy.
        within: how many lie within one standard error of it; the error is the binomial one of the best
            accuracy on that many validation images.  None where their number is not known, as is
            ``standard_error``.
        standard_error: in per cent.
        candidates: settings that were compared over several seeds after the search.
        regret: accuracy of the best of the candidates less that of the one that the search ranked first, in
            per cent; None with a single candidate.
        measured_on: what the candidates were compared on.
    """

    study: str
    variant: str
    task: str
    completed: int
    best: float
    tied: int
    within: int | None
    standard_error: float | None
    candidates: int
    regret: float | None
    measured_on: str


def selections(
    search: pd.DataFrame,
    later: pd.DataFrame,
    suite: Suite,
    studies: Mapping[str, Study] = MappingProxyType({}),
) -> list[Selection]:
    """One row a cell with a completed search trial that chose its settings by itself.

    Settings that the search came upon again count once.

    Args:
        search, later: as :func:`analysis.search.trials.read_search` gives them.
        suite: gives the number of validation images; 0 when it is not known.
        studies: the studies by name; their variants whose settings all tasks share are left out.
    """
    completed = run_trials(search)
    completed = completed[(completed["state"] == "completed") & completed["val_top1_last"].notna()]
    descendants = later[later["parent"].notna()]
    by_cell = dict(iter(descendants.groupby(["study", "variant", "task"])))
    found = []
    for (study, variant, task), part in completed.groupby(["study", "variant", "task"], sort=False):
        if str(study) in studies and shares(studies[str(study)], str(variant)):
            continue
        accuracy = part["val_top1_last"]
        best = float(accuracy.max())
        images = suite.task(str(task)).val
        error = math.sqrt(best * (1 - best) / images) if images else None
        number, regret, where = _regret(part, by_cell.get((study, variant, task)))
        found.append(
            Selection(
                *(str(study), str(variant), str(task)),
                completed=len(part),
                best=100 * best,
                tied=int((accuracy >= best - 1e-9).sum()),
                within=None if error is None else int((accuracy >= best - error - 1e-9).sum()),
                standard_error=None if error is None else 100 * error,
                candidates=number,
                regret=regret,
                measured_on=where,
            )
        )
    return found


def _regret(search: pd.DataFrame, later: pd.DataFrame | None) -> tuple[int, float | None, str]:
    """Candidates, regret and its measure: test in final or val in confirm, where more candidates were.

    Settings with a failed confirming trial are no candidates.
    """
    if later is None:
        return 0, None, ""
    best: tuple[int, float | None, str] = (int(later["parent"].nunique()), None, "")
    most = 1
    for stage, measure in (("final", "test_top1"), ("confirm", "val_top1_last")):
        part = later[later["stage"] == stage]
        if stage == "confirm":
            part = part[~part["parent"].isin(part.loc[part["state"] != "completed", "parent"])]
        part = part[(part["state"] == "completed") & part[measure].notna()]
        means = (100 * part[measure]).groupby(part["parent"]).mean().to_dict()
        retrained = search[search["trial_id"].isin(list(means))]
        ranked = best_first(retrained.assign(accuracy=retrained["val_top1_last"]))
        if len(ranked) > most:
            most, chosen = len(ranked), means[ranked["trial_id"].iloc[0]]
            regret = float(max(means[trial_id] for trial_id in ranked["trial_id"]) - chosen)
            best = (most, regret, f"{measure.split('_')[0]}, stage {stage}")
    return best


def selection_table(found: list[Selection]) -> Table:
    """The selections as a table."""
    return Table(
        title="How sure the choice on val was",
        columns=[
            *(Column("variant"), Column("study"), Column("task"), Column("completed trials", "count")),
            *(Column("best val", "percent"), Column("standard error", "percent")),
            *(Column("tied for the best", "count"), Column("within one standard error", "count")),
            *(Column("candidates", "count"), Column("regret", "percent"), Column("regret measured on")),
        ],
        rows=[
            {
                "variant": s.variant,
                "study": s.study,
                "task": s.task,
                "completed trials": s.completed,
                "best val": s.best,
                "standard error": s.standard_error,
                "tied for the best": s.tied,
                "within one standard error": s.within,
                "candidates": s.candidates,
                "regret": s.regret,
                "regret measured on": s.measured_on,
            }
            for s in found
        ],
        notes=["Regret needs several candidates a cell after the search; with one it is not known."]
        if any(s.regret is None for s in found)
        else [],
        keys=3,
    )

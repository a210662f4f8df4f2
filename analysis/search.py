"""How the searches went: best so far, what selection cost, and how far validation can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from analysis.finals import EARLIER_COLUMNS, cells_of_several, places, tie_values
from analysis.load import load
from analysis.tables import Column, Table
from wst.data.tasks import Suite
from wst.study import Study


@dataclass(frozen=True)
class SearchCurve:
    """Best validation accuracy so far of one cell, against what had been spent.

    Trials that were not run, of settings that came again or are above a ceiling, are not in it.

    Attributes:
        trials, epochs, seconds: spent up to and with each trial, in the order of the asks.
        best: highest val200 accuracy after the last epoch of the completed trials so far, in per cent; NaN
            before the first.
    """

    study: str
    variant: str
    task: str
    trials: list[int]
    epochs: list[int]
    seconds: list[float]
    best: list[float]


def search_curves(trials: pd.DataFrame) -> list[SearchCurve]:
    """One curve a cell that was searched."""
    curves = []
    for (study, variant, task), part in run_trials(trials).groupby(["study", "variant", "task"], sort=False):
        part = part.sort_values("number")
        value = (100 * part["val_top1_last"]).where(part["state"] == "completed").astype(float)
        curves.append(
            SearchCurve(
                *(str(study), str(variant), str(task)),
                trials=list(range(1, len(part) + 1)),
                epochs=part["epochs"].fillna(0).cumsum().astype(int).tolist(),
                seconds=part["wall_seconds"].fillna(0).cumsum().tolist(),
                best=np.fmax.accumulate(value.to_numpy()).tolist(),
            )
        )
    return curves


def run_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Those of the trials that were run: not settings that came again, nor those above a ceiling."""
    return trials[trials["attempts"] != 0]


@dataclass(frozen=True)
class Selection:
    """How sure the choice of one cell's settings was.

    Attributes:
        completed: completed search trials.
        best: highest val200 accuracy among them, in per cent.
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


def selections(search: pd.DataFrame, later: pd.DataFrame, suite: Suite) -> list[Selection]:
    """One row a cell with a completed search trial.

    Settings that the search came upon again count once.

    Args:
        search, later: as :func:`read_search` gives them.
        suite: gives the number of validation images; 0 when it is not known.
    """
    completed = run_trials(search)
    completed = completed[(completed["state"] == "completed") & completed["val_top1_last"].notna()]
    descendants = later[later["parent"].notna()]
    by_cell = dict(iter(descendants.groupby(["study", "variant", "task"])))
    found = []
    for (study, variant, task), part in completed.groupby(["study", "variant", "task"], sort=False):
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
    """Candidates, regret and its measure: test in final or val200 in confirm, where more candidates were.

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
        ranked = search[search["trial_id"].isin(list(means))].sort_values(
            ["val_top1_last", "tie", "number"], ascending=[False, True, True]
        )
        if len(ranked) > most:
            most, chosen = len(ranked), means[ranked["trial_id"].iloc[0]]
            regret = float(max(means[trial_id] for trial_id in ranked["trial_id"]) - chosen)
            best = (most, regret, f"{measure.split('_')[0]}, stage {stage}")
    return best


def selection_table(found: list[Selection]) -> Table:
    """The selections as a table."""
    return Table(
        title="How sure the choice on val200 was",
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
    )


@dataclass(frozen=True)
class Agreement:
    """How validation accuracy of the chosen settings goes with their test accuracy.

    Validation is what they were chosen by: the mean over the confirming seeds, or the search without these.

    Attributes:
        pairs: (task, variant, val in per cent, test in per cent) of every cell that was searched and
            finished; of all members of its front.
        within_tasks: Pearson's correlation of deviations from each task's mean, so that tasks being easy
            or hard does not count; None with fewer than three cells left to say anything.
        over_all: Spearman's rank correlation over all cells.
        optimism: mean of validation less test, in points.
    """

    pairs: list[tuple[str, str, float, float]]
    within_tasks: float | None
    over_all: float | None
    optimism: float | None


def agreement(search: pd.DataFrame, later: pd.DataFrame) -> Agreement:
    """Compare the chosen settings of each cell with their final trials.

    Args:
        search, later: as :func:`read_search` gives them.
    """
    completed = later[(later["stage"] == "final") & (later["state"] == "completed") & (later["place"] > 0)]
    completed = completed[completed["test_top1"].notna()]
    parents = search[search["trial_id"].isin(completed["parent"])]
    chosen = parents.set_index(["study", "trial_id"])["val_top1_last"].to_dict()
    confirm = later[later["stage"] == "confirm"]
    values = confirm["val_top1_last"].where(confirm["state"] == "completed")
    means = values.groupby([confirm["study"], confirm["parent"]]).agg(["mean", "count", "size"])
    chosen |= means.loc[means["count"] == means["size"], "mean"].to_dict()
    pairs = []
    for (study, variant, task, parent), part in completed.groupby(
        ["study", "variant", "task", "parent"], sort=False
    ):
        own = f"{task}.{variant}."
        value = chosen.get((study, parent)) if str(parent).startswith(own) else None
        if value is not None and not pd.isna(value):
            pairs.append((str(task), str(variant), 100 * float(value), 100 * float(part["test_top1"].mean())))
    val, test = np.array([p[2] for p in pairs]), np.array([p[3] for p in pairs])
    spearman = float(stats.spearmanr(val, test).statistic) if _varies(val, test) else None
    tasks: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        tasks.setdefault(pair[0], []).append(i)
    several = [rows for rows in tasks.values() if len(rows) > 1]
    centred = [
        np.concatenate([values[rows] - values[rows].mean() for rows in several]) if several else np.array([])
        for values in (val, test)
    ]
    within = float(stats.pearsonr(*centred).statistic) if _varies(*centred) else None
    gap = statistics.fmean(p[2] - p[3] for p in pairs) if pairs else None
    return Agreement(pairs, within, spearman, gap)


def in_words(found: Agreement) -> str:
    """The correlations and the gap, in two sentences."""

    def number(value: float | None) -> str:
        return "not known (too few cells)" if value is None else f"{value:.2f}"

    gap = ""
    if found.optimism is not None:
        gap = f" Validation is {found.optimism:+.1f} points above test on average."
    return (
        "Validation against test accuracy of the chosen settings: correlation within tasks (Pearson, "
        f"deviations from each task's mean) {number(found.within_tasks)}, over all cells (Spearman) "
        f"{number(found.over_all)}.{gap}"
    )


def read_search(folders: Sequence[Path], studies: Mapping[str, Study]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The search trials, and those of the later stages, with the columns that this analysis needs.

    Search trials have the column ``tie``, by which trials of equal accuracy are ranked, lower first; final
    trials ``place`` (:func:`analysis.finals.places`).

    Raises:
        InputError: as :func:`analysis.load.load`.
    """
    trials = load(folders, columns=search_columns(studies), where=pc.field("stage") == "search")
    trials["tie"] = tie_values(trials, trials["val_loss"], studies)
    later = load(folders, columns=[*EARLIER_COLUMNS, "test_top1"], where=pc.field("stage") != "search")
    finals = later[later["stage"] == "final"]
    needed = before_final(trials, later) if len(cells_of_several(finals)) else later.iloc[:0]
    later["place"] = places(finals, needed, studies).reindex(later.index)
    return trials, later


def before_final(search: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """:data:`analysis.finals.EARLIER_COLUMNS` of the trials of the search and of the confirm stage."""
    confirm = later[later["stage"] == "confirm"]
    parts = [part[list(EARLIER_COLUMNS)] for part in (search.assign(stage="search"), confirm) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else confirm[list(EARLIER_COLUMNS)]


def search_columns(studies: Mapping[str, Study]) -> list[str]:
    """Columns of ``trials`` that the analysis of a search needs."""
    names = sorted({f"hp_{name}" for study in studies.values() for name in study.hyperparameter_types()})
    return [
        *("study", "trial_id", "task", "variant", "number", "parent", "state", "epochs"),
        *("val_top1_last", "val_loss", "wall_seconds", "attempts", "trainable_parameters", "train_seconds"),
        *names,
    ]


def _varies(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return len(one) > 2 and bool(np.ptp(one) > 1e-9 and np.ptp(other) > 1e-9)

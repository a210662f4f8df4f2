"""How far validation can be trusted: accuracy of the chosen settings on val against that on test."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.results import CELL
from analysis.statistics import pearson, spearman


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
        search, later: as :func:`analysis.search.trials.read_search` gives them.
    """
    completed = later[(later["stage"] == "final") & (later["state"] == "completed") & (later["place"] > 0)]
    completed = completed[completed["test_top1"].notna()]
    # By cell as well: the settings of another variant were not chosen by this one's validation.
    parents = search[search["trial_id"].isin(completed["parent"])]
    chosen = parents.set_index([*CELL, "trial_id"])["val_top1_last"].to_dict()
    confirm = later[later["stage"] == "confirm"]
    values = confirm["val_top1_last"].where(confirm["state"] == "completed")
    means = values.groupby([confirm[name] for name in (*CELL, "parent")]).agg(["mean", "count", "size"])
    chosen |= means.loc[means["count"] == means["size"], "mean"].to_dict()
    pairs = []
    for (study, task, variant, parent), part in completed.groupby([*CELL, "parent"], sort=False):
        value = chosen.get((study, task, variant, parent))
        if value is not None and not pd.isna(value):
            pairs.append((str(task), str(variant), 100 * float(value), 100 * float(part["test_top1"].mean())))
    val, test = np.array([p[2] for p in pairs]), np.array([p[3] for p in pairs])
    by_rank = spearman(val, test) if _varies(val, test) else None
    tasks: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        tasks.setdefault(pair[0], []).append(i)
    several = [rows for rows in tasks.values() if len(rows) > 1]
    centred = [
        np.concatenate([values[rows] - values[rows].mean() for rows in several]) if several else np.array([])
        for values in (val, test)
    ]
    within = pearson(*centred) if _varies(*centred) else None
    gap = statistics.fmean(p[2] - p[3] for p in pairs) if pairs else None
    return Agreement(pairs, within, by_rank, gap)


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


def _varies(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return len(one) > 2 and bool(np.ptp(one) > 1e-9 and np.ptp(other) > 1e-9)

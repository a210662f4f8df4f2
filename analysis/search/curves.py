"""Best accuracy so far, against what a search had spent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.search.trials import run_trials


@dataclass(frozen=True)
class SearchCurve:
    """Best validation accuracy so far of one cell, against what had been spent.

    Trials that were not run, of settings that came again or are above a ceiling, are not in it.

    Attributes:
        trials, epochs, seconds: spent up to and with each trial, in the order of the asks.
        best: highest validation accuracy after the last epoch of the completed trials so far, in per cent;
            NaN before the first.
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

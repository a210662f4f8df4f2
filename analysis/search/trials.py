"""The trials of the searches and of what came after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from analysis.load import load
from analysis.results import EARLIER_COLUMNS, cells_of_several, places, tie_values
from wst.study import Study


def run_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Those of the trials that were run: not settings that came again, nor those above a ceiling."""
    return trials[trials["attempts"] != 0]


def read_search(folders: Sequence[Path], studies: Mapping[str, Study]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The search trials, and those of the later stages, with the columns that this analysis needs.

    Search trials have the column ``tie``, by which trials of equal accuracy are ranked, lower first; final
    trials ``place`` (:func:`analysis.results.places`).

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
    """:data:`analysis.results.EARLIER_COLUMNS` of the trials of the search and of the confirm stage."""
    confirm = later[later["stage"] == "confirm"]
    parts = [part[list(EARLIER_COLUMNS)] for part in (search.assign(stage="search"), confirm) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else confirm[list(EARLIER_COLUMNS)]


def search_columns(studies: Mapping[str, Study]) -> list[str]:
    """Columns of ``trials`` that the analysis of a search needs."""
    names = sorted({f"hp_{name}" for study in studies.values() for name in study.hyperparameters()})
    return [
        *("study", "trial_id", "task", "variant", "number", "parent", "state", "epochs"),
        *("val_top1_last", "val_loss", "wall_seconds", "attempts", "trainable_parameters", "train_seconds"),
        *names,
    ]

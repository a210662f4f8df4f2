"""The trials of the searches and of what came after them, as the other modules of this folder take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc

from analysis.load import hyperparameter_columns, load
from analysis.results import EARLIER_COLUMNS, cells_of_several, places, ties_of
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
    trials = load(folders, columns=search_columns(folders), where=pc.field("stage") == "search")
    trials = _by_place(trials)
    trials["tie"] = ties_of(trials, trials["val_loss"], studies)
    later = load(folders, columns=[*EARLIER_COLUMNS, "test_top1"], where=pc.field("stage") != "search")
    finals = later[later["stage"] == "final"]
    needed = before_final(trials, later) if len(cells_of_several(finals)) else later.iloc[:0]
    later["place"] = places(finals, needed, studies).reindex(later.index)
    return trials, later


def _by_place(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials with a column for each place of a hyperparameter that has several values, as spaces have it:
    ``hp_prompts[0]`` and so on."""
    found = {}
    for name in trials.columns[trials.columns.str.startswith("hp_")]:
        lists = trials[name][trials[name].map(lambda value: isinstance(value, tuple))]
        for place in range(max(map(len, lists), default=0)):
            one = lists.map(lambda value, place=place: value[place] if place < len(value) else None)
            found[f"{name}[{place}]"] = one.reindex(trials.index)
    return trials.assign(**found)


def before_final(search: pd.DataFrame, later: pd.DataFrame) -> pd.DataFrame:
    """:data:`analysis.results.EARLIER_COLUMNS` of the trials of the search and of the confirm stage."""
    confirm = later[later["stage"] == "confirm"]
    parts = [part[list(EARLIER_COLUMNS)] for part in (search.assign(stage="search"), confirm) if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else confirm[list(EARLIER_COLUMNS)]


def search_columns(folders: Sequence[Path]) -> list[str]:
    """Columns of ``trials`` that the analysis of a search needs."""
    return [
        *("study", "trial_id", "task", "variant", "number", "parent", "state", "epochs"),
        *("val_top1_last", "val_loss", "wall_seconds", "attempts", "trainable_parameters", "train_seconds"),
        *hyperparameter_columns(folders),
    ]

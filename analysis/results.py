"""Which final trials make up a cell's result, by the rule that the study chose its settings by.

A cell has final trials of several settings for one of two reasons.  A study of several objectives sends a
front of settings into the final stage.  And a study that was extended may have found better settings than
those that it had retrained; the final trials of the earlier winner stay in the ledger.

The rule is that of :mod:`wst.planning.ranking`, applied to frames of trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.load import load
from wst.planning.ranking import on_front, order, tie_values
from wst.study import Study

CELL = ["study", "task", "variant"]
EARLIER_COLUMNS = (
    *("study", "trial_id", "task", "variant", "stage", "number", "parent", "attempts", "state"),
    *("val_top1_last", "val_loss", "trainable_parameters", "train_seconds"),
)
"""Columns of the trials before the final stage that ranking their settings needs."""


def read_finals(
    folders: Sequence[Path], studies: Mapping[str, Study], columns: Sequence[str]
) -> pd.DataFrame:
    """All final trials, with the column ``place`` of :func:`places`.

    Trials of the earlier stages are read for cells with final trials of several settings only.

    Args:
        folders: output folders of the studies.
        studies: the studies by name.
        columns: columns of ``trials`` to read; those that name a cell and the settings come besides.

    Raises:
        InputError: as :func:`analysis.load.load`.
    """
    names = list(dict.fromkeys([*columns, *CELL, "parent"]))
    finals = load(folders, columns=names, where=pc.field("stage") == "final")
    several = cells_of_several(finals)
    earlier = pd.DataFrame(columns=list(EARLIER_COLUMNS))
    if len(several):
        tasks, variants = set(several["task"]), set(several["variant"])
        for study in studies.values():
            variants |= {source for v in variants if (source := _source(study, v)) is not None}
            if any(shares(study, variant) for variant in variants):
                tasks |= set(study.tasks)
        asked = pc.field("task").isin(sorted(tasks)) & pc.field("variant").isin(sorted(variants))
        earlier = load(folders, columns=EARLIER_COLUMNS, where=(pc.field("stage") != "final") & asked)
    return finals.assign(place=places(finals, earlier, studies))


def _source(study: Study, variant: str) -> str | None:
    return study.variants[variant].settings_from if variant in study.variants else None


def shares(study: Study, variant: str) -> bool:
    """Whether all tasks of a study share the settings that a variant's search finds."""
    return variant in study.variants and study.variants[variant].shared


def cells_of_several(finals: pd.DataFrame) -> pd.DataFrame:
    """Cell and parent of the settings of cells that have final trials of several."""
    settings = finals[[*CELL, "parent"]].drop_duplicates()
    return settings[settings.duplicated(CELL, keep=False)]


def places(finals: pd.DataFrame, earlier: pd.DataFrame, studies: Mapping[str, Study]) -> pd.Series[int]:
    """What each final trial is to its cell's result.

    1 for the settings that the study's own rule ranks first among those with final trials: they are the
    cell's result.  2 and more for the other members of a front, by falling accuracy.  0 for settings that
    the search has put aside since.

    Args:
        finals: trials of stage ``final``, with :data:`CELL` and ``parent``.
        earlier: :data:`EARLIER_COLUMNS` of the search and confirm trials, of cells with several settings in
            ``finals`` at least; of a variant whose settings tasks share, of all tasks.
        studies: the studies by name.
    """
    several = cells_of_several(finals)
    if several.empty:
        return pd.Series(1, index=finals.index, name="place")
    known = candidates(earlier, studies).drop(columns=["task", "variant"])
    found = several.merge(known, how="left", left_on=["study", "parent"], right_on=["study", "trial_id"])
    found["standing"] = found["standing"].fillna(_UNKNOWN)
    found = best_first(found)
    for (name, _, _), part in found.groupby(CELL, sort=False):
        leading = part[part["standing"] == part["standing"].min()]
        members = leading.index[on_front(leading["accuracy"], _costs(leading, studies[str(name)]))]
        found.loc[members, "place"] = range(1, len(members) + 1)
    found["place"] = found["place"].fillna(0)
    joined = finals[[*CELL, "parent"]].merge(found[[*CELL, "parent", "place"]], how="left")
    return pd.Series(joined["place"].fillna(1).to_numpy(dtype=int), index=finals.index, name="place")


def best_first(found: pd.DataFrame) -> pd.DataFrame:
    """Trials with ``accuracy``, ``tie`` and ``number`` in the order of the study's own rule."""
    return found.iloc[order(found["accuracy"], found["tie"], found["number"])]


_CHOSEN_FROM, NO_LONGER, _UNCONFIRMED, OUT, _UNKNOWN = range(5)
"""Standings: what the study chooses from now; confirmed once, and no longer among the best of the search; not
confirmed though others are; out, since a confirming trial failed; no completed search trial."""


def candidates(earlier: pd.DataFrame, studies: Mapping[str, Study]) -> pd.DataFrame:
    """The completed search trials with what the confirm stage made of them, ranked as the planner ranks them.

    Settings that a search came upon again count once, as the first trial that had them; those that tasks
    share count where they were completed on every task.

    Args:
        earlier: :data:`EARLIER_COLUMNS` of the search and confirm trials of one or more ledgers; of all tasks
            where these share settings.
        studies: the studies by name.

    Returns:
        A row a search trial, with its columns and ``rank`` (in the search of its cell, from 1), ``seeds``
        and ``failed`` (confirming trials, 0 without), ``confirmed`` and ``deviation`` (mean and standard
        deviation of their accuracy; NaN where one failed), ``accuracy`` (what the settings are chosen by),
        ``tie`` (what ties go by, lower first) and ``standing``, 0 for those that the study chooses from.
        Where tasks share settings, what these are chosen by are means over the tasks: ``accuracy``, ``tie``,
        ``rank``, ``standing``, and the columns of costs.
    """
    is_confirm = earlier["stage"] == "confirm"
    trained = (
        (earlier["state"] == "completed") & earlier["val_top1_last"].notna() & (earlier["attempts"] != 0)
    )
    found = earlier[~is_confirm & trained].drop(columns=["stage", "parent", "attempts", "state"])
    found = _of_every_task(found.reset_index(drop=True), studies)
    for name in _COSTS:
        found[name] = _over_tasks(found, found[name].astype(float).fillna(0))
    found["accuracy"] = _over_tasks(found, found["val_top1_last"])
    found["tie"] = ties_of(found, _over_tasks(found, found["val_loss"]), studies)
    found = best_first(found).reset_index(drop=True)
    found["rank"] = found.groupby(CELL, sort=False).cumcount() + 1
    goes_on = _goes_on(found, studies)

    found = found.merge(_confirmation(earlier[is_confirm]), how="left", on=["study", "trial_id"])
    found[["seeds", "failed"]] = found[["seeds", "failed"]].fillna(0).astype(int)
    found.loc[found["failed"] > 0, ["confirmed", "deviation"]] = np.nan
    out = _over_tasks(found, found["failed"]) > 0
    confirmed = ~out & (_over_tasks(found, found["seeds"] > 0) == 1)
    found["accuracy"] = found["accuracy"].where(~confirmed, _over_tasks(found, found["confirmed"]))
    loss = found["val_loss"].where(~confirmed, found["confirmed_loss"])
    found["tie"] = ties_of(found, _over_tasks(found, loss), studies)
    unasked = found["study"].map({name: study.confirm is None for name, study in studies.items()})
    found["standing"] = np.select(
        [out, goes_on & (confirmed | unasked), confirmed], [OUT, _CHOSEN_FROM, NO_LONGER], _UNCONFIRMED
    )
    return found.drop(columns=["confirmed_loss", "scope"])


_COSTS = ("trainable_parameters", "train_seconds")


def _of_every_task(found: pd.DataFrame, studies: Mapping[str, Study]) -> pd.DataFrame:
    """The trials, without those of shared settings that some task lacks; with ``scope``, which is the task of
    settings that are its own, and empty where tasks share them."""
    pairs = found[["study", "variant"]].drop_duplicates().itertuples(index=False, name=None)
    tasks = {pair: len(studies[pair[0]].tasks) for pair in pairs if shares(studies[pair[0]], pair[1])}
    needed = np.array([tasks.get(pair, 0) for pair in zip(found["study"], found["variant"], strict=True)])
    found = found.assign(scope=found["task"].where(needed == 0, ""))
    return found[found.groupby(_SETTINGS)["trial_id"].transform("size") >= needed]


_SETTINGS = ["study", "variant", "number", "scope"]
"""What the trials of the same settings have in common."""


def _over_tasks(found: pd.DataFrame, values: pd.Series[Any]) -> pd.Series[float]:
    """The mean over the tasks that share settings; each trial's own value where they do not."""
    return values.astype(float).groupby([found[name] for name in _SETTINGS]).transform("mean")


def _confirmation(confirm: pd.DataFrame) -> pd.DataFrame:
    """What the confirming trials say of each search trial."""
    by_parent = confirm.assign(failed=confirm["state"] != "completed").groupby(["study", "parent"])
    means = by_parent.agg(
        seeds=("trial_id", "size"),
        failed=("failed", "sum"),
        confirmed=("val_top1_last", "mean"),
        deviation=("val_top1_last", "std"),
        confirmed_loss=("val_loss", "mean"),
    )
    return means.reset_index().rename(columns={"parent": "trial_id"})


def ties_of(
    found: pd.DataFrame, losses: pd.Series[float], studies: Mapping[str, Study]
) -> NDArray[np.float64]:
    """What ties in accuracy go by in each trial's study, lower first."""
    values = np.zeros(len(found))
    for name, study in studies.items():
        own = (found["study"] == name).to_numpy()
        values[own] = tie_values(study.ties, losses[own], found["trainable_parameters"][own].fillna(0))
    return values


def _goes_on(ranked: pd.DataFrame, studies: Mapping[str, Study]) -> NDArray[np.bool_]:
    """Which trials of every search its confirm stage takes; all where the study has none."""
    goes_on = np.ones(len(ranked), dtype=bool)
    for name, study in studies.items():
        own = (ranked["study"] == name).to_numpy()
        if study.confirm is None or not own.any():
            continue
        if study.search is None or len(study.search.objectives) == 1:
            goes_on[own] = ranked["rank"].to_numpy()[own] <= study.confirm.top
            continue
        goes_on[own] = False
        for _, part in ranked[own].groupby(CELL, sort=False):
            members = np.flatnonzero(on_front(part["accuracy"], _costs(part, study)))[: study.confirm.top]
            goes_on[part.index[members]] = True
    return goes_on


def _costs(part: pd.DataFrame, study: Study) -> NDArray[np.float64]:
    """What a study minimises besides accuracy: (trials, costs)."""
    names = [name for name in (study.search.objectives if study.search else ()) if name != "val_top1"]
    return part[names].fillna(0).to_numpy(dtype=float)

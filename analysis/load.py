"""Ledgers as tidy data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from wst.data.suites import find_suite, is_gone, shipped_name, suites
from wst.data.tasks import Suite, Task
from wst.errors import InputError
from wst.ledger import read_table, resolved_study
from wst.ledger.reading import column_names
from wst.study import Study


def load(
    folders: Sequence[Path],
    table: str = "trials",
    columns: Sequence[str] | None = None,
    where: pc.Expression | None = None,
) -> pd.DataFrame:
    """One table (``trials``, ``epochs`` or ``intents``) of several studies, one below the other.

    A trial that an older version wrote down as completed though its loss is not a number has failed here, as
    it would now: what is not a number ranks nowhere.

    A hyperparameter that one study has and another has not is missing (NA) there.

    Args:
        folders: output folders of studies.
        table: the table.
        columns: read these columns alone; all by default.  One that no study has is missing everywhere.
        where: keep the rows for which this expression over columns holds; row groups that cannot hold one
            are not read.

    Raises:
        InputError: a folder is no study's, two folders hold studies of the same name, a ledger is of a
            newer schema, or a file in it is not whole.
    """
    names = studies_of(folders)
    asked = columns
    if table == "trials" and columns is not None and "state" in columns:
        asked = list(dict.fromkeys([*columns, *_MEASURED]))
    frames = [_frame(_judged(read_table(folder, table, asked, where))) for folder in folders]
    for folder, name, frame in zip(folders, names, frames, strict=True):
        others = set(frame["study"].unique()) - {name} if "study" in frame else set()
        if others:
            raise InputError(f"{folder}: expected rows of study {name!r}; found some of {min(others)!r}")
    filled = [frame for frame in frames if len(frame)]
    together = pd.concat(filled or frames, ignore_index=True)
    return together if columns is None else together.reindex(columns=list(columns))


_MEASURED = ("train_loss", "val_loss", "val_top1_last")


def _judged(table: pa.Table) -> pa.Table:
    """The rows, none of them completed with a loss or an accuracy that is no finite number."""
    if "state" not in table.schema.names:
        return table
    state = table["state"]
    for name in _MEASURED:
        if name in table.schema.names and pa.types.is_floating(table.schema.field(name).type):
            broken = pc.fill_null(pc.invert(pc.is_finite(table[name])), False)
            broken = pc.and_(broken, pc.equal(state, "completed"))
            state = pc.if_else(broken, "failed", state)
    place = table.schema.get_field_index("state")
    return table.set_column(place, table.schema.field("state"), state)


def _frame(table: pa.Table) -> pd.DataFrame:
    """As pandas has it, but with tuples for lists: these can be compared."""
    frame: pd.DataFrame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_list(field.type):
            frame[field.name] = frame[field.name].map(
                lambda values: tuple(values.tolist()), na_action="ignore"
            )
    return frame


def hyperparameter_columns(folders: Sequence[Path]) -> list[str]:
    """The columns ``hp_*`` of the studies' trials, by name.

    Raises:
        InputError: as :func:`wst.ledger.reading.column_names`.
    """
    return sorted({n for folder in folders for n in column_names(folder, "trials") if n.startswith("hp_")})


def studies_of(folders: Sequence[Path]) -> dict[str, Study]:
    """The studies in these folders by name.

    Raises:
        InputError: a folder is no study's, its study file is not valid, or two have the same name.
    """
    studies: dict[str, Study] = {}
    for folder in folders:
        study = resolved_study(folder)
        if study.name in studies:
            raise InputError(f"{folder}: expected studies of different names; found {study.name!r} twice")
        studies[study.name] = study
    return studies


def common_suite(studies: Mapping[str, Study], folders: Sequence[Path]) -> Suite:
    """The suite of all the studies.

    Two paths are one suite when their last parts are equal and so are the hashes of the tasks that both have.

    A user's own suite whose images are not on this machine comes from the ledgers: its tasks and their
    groups are those of the trials, and its numbers of classes and of images are not known (0).

    Args:
        studies: the studies by name.
        folders: their output folders.

    Raises:
        InputError: they have different suites, whose numbers do not compare.
    """
    found = sorted({study.suite for study in studies.values()})
    if len(found) > 1 and not _one_suite(found, studies, folders):
        raise InputError(
            f"studies: expected one suite, since suites do not compare; found {', '.join(found)}"
        )
    here = [path for path in found if not is_gone(path)]
    if not here:
        return _recorded_suite(Path(found[0]), studies, folders)
    suite = find_suite(here[0])
    lacking = {task for study in studies.values() for task in study.tasks} - {t.name for t in suite.tasks}
    if len(found) > 1 and lacking:
        raise InputError(
            f"studies: expected one suite, since suites do not compare; found {here[0]} without the task "
            f"{min(lacking)!r} of another"
        )
    return suite


def _one_suite(found: Sequence[str], studies: Mapping[str, Study], folders: Sequence[Path]) -> bool:
    """Whether suites are of one name, and of the same data as far as their studies' trials tell."""
    names = {shipped_name(suite) or Path(suite).name for suite in found}
    if len(names) > 1:
        return False
    if shipped_name(found[0]) is not None:
        return True
    trials = load(folders, columns=["study", "task", "data_hash"]).dropna().drop_duplicates()
    suites_of = trials["study"].map({name: study.suite for name, study in studies.items()})
    hashes = {
        (str(suite), str(task)): set(part["data_hash"])
        for (suite, task), part in trials.groupby([suites_of, "task"], sort=False)
    }
    tasks = {suite: {task for where, task in hashes if where == suite} for suite in found}
    for one, other in combinations(found, 2):
        shared = tasks[one] & tasks[other]
        # A picture of the test split may have been mended between a search and its finals.
        if not shared or any(hashes[one, task].isdisjoint(hashes[other, task]) for task in shared):
            return False
    return True


def _recorded_suite(path: Path, studies: Mapping[str, Study], folders: Sequence[Path]) -> Suite:
    vtab = suites()["vtab1k"]
    if path.name == vtab.folder:
        return vtab
    trials = load(folders, columns=["task", "group"]).drop_duplicates("task")
    groups = dict(zip(trials["task"], trials["group"], strict=True))
    tasks = tuple(
        Task(name, name, groups.get(name, "own"), classes=0, train=0, val=0, test=0, about="")
        for name in dict.fromkeys(name for study in studies.values() for name in study.tasks)
    )
    caveat = f"The images of suite {path.stem} are not on this machine: its tasks are those of the ledger."
    return Suite(path.stem, path.name, tasks, caveat)

"""Ledgers as tidy data frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from wst.data.tasks import Suite
from wst.data.tasks import suite as suite_named
from wst.errors import InputError
from wst.ledger import read_table, resolved_study


def load(folders: Sequence[Path], table: str = "trials") -> pd.DataFrame:
    """One table (``trials``, ``epochs`` or ``intents``) of several studies, one below the other.

    A hyperparameter that one study has and another has not is missing (NA) there.

    Raises:
        InputError: a folder is no study's, or two folders hold studies of the same name.
    """
    frames = {}
    for folder in folders:
        name = resolved_study(folder).name
        if name in frames:
            raise InputError(f"{folder}: expected studies of different names; found {name!r} twice")
        frame: pd.DataFrame = read_table(folder, table).to_pandas()
        frames[name] = frame
    filled = [frame for frame in frames.values() if len(frame)]
    return pd.concat(filled or list(frames.values()), ignore_index=True)


def common_suite(folders: Sequence[Path]) -> Suite:
    """The suite of all the studies.

    Raises:
        InputError: they have different suites, whose numbers do not compare.
    """
    found = sorted({resolved_study(folder).suite for folder in folders})
    if len(found) != 1:
        raise InputError(
            f"studies: expected one suite, since suites do not compare; found {', '.join(found)}"
        )
    return suite_named(found[0])

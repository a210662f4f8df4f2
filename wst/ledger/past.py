"""The history that a study goes on from: its intents, and how its ended trials ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from wst.ledger.agreement import check_agreement
from wst.ledger.reading import read_table
from wst.records import EndedTrial, Epoch, Intent, Outcome

_Result = TypeVar("_Result")


def _records(kind: Callable[..., _Result], folder: Path, table: str, names: Sequence[str]) -> list[_Result]:
    """``kind`` called with these columns of every row, as keywords, as far as the table has them."""
    found = read_table(folder, table, names)
    values = zip(*(column.to_pylist() for column in found.columns), strict=True)
    return [kind(**dict(zip(found.column_names, row, strict=True))) for row in values]


def _intent(hyperparameters: str, **known: Any) -> Intent:
    settings = json.loads(hyperparameters).items()
    several = {name: tuple(value) if isinstance(value, list) else value for name, value in settings}
    return Intent(**known, hyperparameters=several)


def _curves(folder: Path) -> dict[str, list[Epoch]]:
    """The epochs of every trial.  A study has many, so they are made column by column."""
    found = read_table(folder, "epochs", ["trial_id", *Epoch.__dataclass_fields__])
    epochs = map(Epoch, *(found[name].to_pylist() for name in Epoch.__dataclass_fields__))
    curves: dict[str, list[Epoch]] = {}
    for trial_id, epoch in zip(found["trial_id"].to_pylist(), epochs, strict=True):
        curves.setdefault(trial_id, []).append(epoch)
    return curves


def history(folder: Path, *, checked: bool = False) -> tuple[list[Intent], list[EndedTrial]]:
    """All intents in the order of their asks, and the ended trials among them, in the same order.

    Args:
        folder: the study's output folder.
        checked: the tables are known to agree, since the caller holds the ledger open for writing.

    Raises:
        InputError: the folder holds no ledger, or a damaged one.
    """
    if not checked:
        check_agreement(folder)
    intents = _records(_intent, folder, "intents", list(Intent.__dataclass_fields__))
    intents.sort(key=lambda intent: intent.ask_order)
    names = [name for name in Outcome.__dataclass_fields__ if name != "epochs"]
    rows: list[dict[str, Any]] = _records(dict, folder, "trials", ["trial_id", *names])
    # A trial's epochs are written before its row, so they are read after it: a row always has its curve.
    curves = _curves(folder)
    outcomes = {}
    for row in rows:
        trial_id = row.pop("trial_id")
        outcomes[trial_id] = Outcome(**row, epochs=tuple(curves.get(trial_id, ())))
    return intents, [EndedTrial(i, outcomes[i.trial_id]) for i in intents if i.trial_id in outcomes]

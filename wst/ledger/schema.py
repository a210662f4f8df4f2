"""The ledger's schema: every column of its tables, with type and meaning.

A column that a record has is written on the record's field, as a type and a sentence (:mod:`wst.records`);
here stand those that no record has.  A table's columns come in this order: the study, the fields of its
records as they are declared, the hyperparameters by name, and what the ledger adds.

Whole numbers are int64 and others float64, texts and literals strings, and times UTC in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pyarrow as pa

from wst.records import Epoch, Intent, Outcome, Read

SCHEMA_VERSION = 1
TABLES = ("trials", "epochs", "intents", "reads")

_Column = tuple[str, pa.DataType, str]
_TYPES: dict[object, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    datetime: pa.timestamp("us", tz="UTC"),
}
_FEW = pa.dictionary(pa.int32(), pa.string())
"""A text that many rows share: each is kept once."""


def record_columns(record: type, names: Iterable[str] | None = None) -> list[_Column]:
    """Name, type and meaning of a record's fields that are columns: those with a sentence.

    Args:
        record: a dataclass.
        names: these fields alone.
    """
    hints = _hints(record)
    wanted = [field.name for field in fields(record)] if names is None else names
    return [
        (name, _arrow(kind), sentence)
        for name in wanted
        if get_origin(hints[name]) is Annotated
        for kind, sentence in [get_args(hints[name])]
    ]


@cache
def _hints(record: type) -> dict[str, Any]:
    """The annotations of a record's fields; each of them is compiled anew where they are asked for."""
    return get_type_hints(record, include_extras=True)


def _arrow(kind: object) -> pa.DataType:
    """The type of a column; any may be null, whether its field may be None or not."""
    if get_origin(kind) is Literal:
        return _TYPES[type(get_args(kind)[0])]
    known = [part for part in get_args(kind) if part is not NoneType]
    return _arrow(known[0]) if known else _TYPES[kind]


_STUDY: list[_Column] = [("study", pa.string(), "name of the study")]
_TRIAL: list[_Column] = [
    ("epochs", pa.int64(), "epochs trained"),
    ("val_top1_last", pa.float64(), "validation accuracy after the last epoch: the result of a search trial"),
    ("val_top1_best", pa.float64(), "highest validation accuracy of any epoch: a diagnostic, never a result"),
    ("val_loss", pa.float64(), "validation cross-entropy after the last epoch"),
    ("train_loss", pa.float64(), "mean training loss of the last epoch"),
    ("suite", pa.string(), "suite of tasks"),
    ("group", pa.string(), "natural, specialized or structured"),
    ("method", pa.string(), "name of the method, or where a user's own is"),
    ("backbone", pa.string(), "timm model name, or micro"),
    ("recipe_hash", pa.string(), "equal for equal recipes"),
    ("configuration", pa.string(), "everything that defines the trial, as JSON"),
    ("code_version", pa.string(), "version of wst"),
    ("code_commit", pa.string(), "git commit, with + when the tree had changes; null outside a clone"),
    ("library_versions", pa.string(), "versions of Python and the libraries, as JSON"),
    ("schema_version", pa.int64(), "version of this schema"),
]
_INTENT: list[_Column] = [("hyperparameters", pa.string(), "the settings, as JSON")]


def _schema(columns: Iterable[_Column]) -> pa.Schema:
    typed = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns]
    return pa.schema(typed, metadata={"wst_schema_version": str(SCHEMA_VERSION)})


def trials_schema(hyperparameters: Mapping[str, pa.DataType]) -> pa.Schema:
    """Schema of ``trials``, with one typed ``hp_*`` column a hyperparameter of the study."""
    intent = [column for column in record_columns(Intent) if column[0] != "time"]
    typed = [(f"hp_{n}", t, f"hyperparameter {n}") for n, t in sorted(hyperparameters.items())]
    return _schema([*_STUDY, *intent, *record_columns(Outcome), *typed, *_TRIAL])


def _epochs_schema() -> pa.Schema:
    """Schema of ``epochs``, which names its trial's cell and stage, so that nobody has to parse its id."""
    trial = record_columns(Intent, ["trial_id", "task", "variant", "stage"])
    encoded = [(name, kind if name == "trial_id" else _FEW, text) for name, kind, text in trial]
    return _schema([*_STUDY, *encoded, *record_columns(Epoch)])


EPOCHS_SCHEMA = _epochs_schema()
INTENTS_SCHEMA = _schema([*_STUDY, *record_columns(Intent), *_INTENT])
READS_SCHEMA = _schema([*_STUDY, *record_columns(Read)])


KEYS = {
    "trials": {"study", "trial_id", "ask_order", "stage", "seed", "state", "epochs", "configuration"},
    "epochs": {"study", "trial_id", "epoch"},
    "intents": {"study", "trial_id", "ask_order", "stage", "seed", "hyperparameters"},
    "reads": {"study", "trial_id", "read_id"},
}
"""Columns that every ledger's table has had; a file without them is of something else."""


def table_schemas(hyperparameters: Mapping[str, pa.DataType]) -> dict[str, pa.Schema]:
    """The schemas of the tables, by the names of their folders."""
    return {
        "trials": trials_schema(hyperparameters),
        "epochs": EPOCHS_SCHEMA,
        "intents": INTENTS_SCHEMA,
        "reads": READS_SCHEMA,
    }

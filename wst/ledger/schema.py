"""The ledger's schema: every column of its three tables, with type and meaning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

SCHEMA_VERSION = 1
TABLES = ("trials", "epochs", "intents")
_TIME = pa.timestamp("us", tz="UTC")

_WHO = [
    ("study", pa.string(), "name of the study"),
    ("trial_id", pa.string(), "<task>.<variant>.<stage>.<number>"),
]
_CELL = [
    ("task", pa.string(), "task"),
    ("variant", pa.string(), "variant of a method, as the study file names it"),
    ("stage", pa.string(), "search or confirm (train -> val), or final (trainval -> test)"),
    ("number", pa.int32(), "number of the trial in its cell and stage, from 0"),
]
_ASK = [
    ("ask_order", pa.int32(), "place among all asks of the study, from 0"),
    ("seed", pa.int64(), "seed of initialisation, shuffling and stochastic depth"),
    ("parent", pa.string(), "trial whose settings this one uses"),
    ("reason", pa.string(), "why these settings"),
]
_TRIAL = [
    ("suite", pa.string(), "suite of tasks"),
    ("group", pa.string(), "natural, specialized or structured"),
    (
        "attempts",
        pa.int32(),
        "launches until this outcome, 1 without a fault; 0 where nothing was run: settings that came again "
        "(results are those of their first trial), or settings above the ceiling",
    ),
    ("method", pa.string(), "file in wst/methods"),
    ("backbone", pa.string(), "timm model name, or micro"),
    ("checkpoint_hash", pa.string(), "SHA-256 of the backbone's weights file, or timm:<model>.<tag>"),
    ("normalisation", pa.string(), "mean/std that images are normalised with"),
    ("recipe_hash", pa.string(), "equal for equal recipes"),
    ("configuration", pa.string(), "everything that defines the trial, as JSON"),
    ("state", pa.string(), "completed, pruned or failed"),
    ("error_type", pa.string(), "class of the exception of a failed trial"),
    ("error_text", pa.string(), "message and traceback of a failed trial"),
    ("epochs", pa.int32(), "epochs trained"),
    ("val_top1_last", pa.float64(), "validation accuracy after the last epoch: the result of a search trial"),
    ("val_top1_best", pa.float64(), "highest validation accuracy of any epoch: a diagnostic, never a result"),
    ("val_loss", pa.float64(), "validation cross-entropy after the last epoch"),
    ("train_loss", pa.float64(), "mean training loss of the last epoch"),
    ("test_top1", pa.float64(), "test accuracy; stage final only"),
    ("test_images", pa.int32(), "test images scored, each once; null where the test split stayed closed"),
    ("trainable_parameters", pa.int64(), "trainable parameters without the head"),
    ("head_parameters", pa.int64(), "parameters of the head"),
    ("total_parameters", pa.int64(), "all parameters, frozen ones and the head included"),
    ("train_seconds", pa.float64(), "wall seconds in training"),
    ("eval_seconds", pa.float64(), "wall seconds in scoring"),
    ("wall_seconds", pa.float64(), "wall seconds of the trial, set-up included"),
    ("images_per_second", pa.float64(), "training images a second"),
    ("peak_memory", pa.int64(), "bytes: on the accelerator where there is one, else of the process"),
    ("device", pa.string(), "device that trained"),
    ("node", pa.string(), "host name"),
    ("slot", pa.string(), "process that trained, <host>:<pid>"),
    ("pass_id", pa.string(), "shared pass over the backbone; null for a trial alone"),
    ("pass_size", pa.int32(), "trials in that pass"),
    ("data_hash", pa.string(), "hash over the task's images and labels, all splits"),
    ("preprocessing", pa.string(), "what was done to each image"),
    ("code_version", pa.string(), "version of wst"),
    ("code_commit", pa.string(), "git commit, with + when the tree had changes; null outside a clone"),
    ("library_versions", pa.string(), "versions of Python and the libraries, as JSON"),
    ("started", _TIME, "start of the last attempt"),
    ("ended", _TIME, "end"),
    ("schema_version", pa.int32(), "version of this schema"),
]
_EPOCH = [
    ("epoch", pa.int32(), "epoch, from 1"),
    ("lr", pa.float64(), "learning rate of the epoch's last step"),
    ("train_loss", pa.float64(), "mean training loss"),
    ("val_loss", pa.float64(), "validation cross-entropy"),
    ("val_top1", pa.float64(), "validation accuracy in [0, 1]"),
    ("seconds", pa.float64(), "wall seconds, scoring included"),
]
_INTENT = [
    ("configuration", pa.string(), "hyperparameters as JSON"),
    ("time", _TIME, "when it was decided on"),
]


def _schema(columns: Iterable[tuple[str, pa.DataType, str]]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns]
    return pa.schema(fields, metadata={"wst_schema_version": str(SCHEMA_VERSION)})


def trials_schema(hyperparameters: Mapping[str, pa.DataType]) -> pa.Schema:
    """Schema of ``trials``, with one typed ``hp_*`` column a hyperparameter of the study."""
    typed = [(f"hp_{n}", t, f"hyperparameter {n}") for n, t in sorted(hyperparameters.items())]
    return _schema([*_WHO, *_CELL, *_ASK, *typed, *_TRIAL])


EPOCHS_SCHEMA = _schema([*_WHO, *_EPOCH])
INTENTS_SCHEMA = _schema([*_WHO, *_CELL, *_ASK, *_INTENT])


def table_schemas(hyperparameters: Mapping[str, pa.DataType]) -> dict[str, pa.Schema]:
    """The schemas of the three tables, by the names of their folders."""
    return {
        "trials": trials_schema(hyperparameters),
        "epochs": EPOCHS_SCHEMA,
        "intents": INTENTS_SCHEMA,
    }

"""The ledger: a study's Parquet tables, the only truth about it.

``DIR/ledger/trials``, ``DIR/ledger/epochs`` and ``DIR/ledger/intents`` are folders of Parquet fragments, one
a trial and named after it, all with the study's full typed schema, so that ``pandas.read_parquet``, DuckDB
and Polars read each folder as one table.  A fragment is written aside, flushed and renamed into place.  A
trial's epochs come first and its row last: the row is the commit, and writing again after a crash replaces.

Who opens a ledger for writing holds its lock, which the operating system frees when the process ends,
however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from wst.data.tasks import suite as suite_named
from wst.errors import InputError
from wst.records import EndedTrial, Epoch, Intent, Outcome
from wst.study import Study
from wst.study_files import first_error
from wst.yaml_files import read_yaml

SCHEMA_VERSION = 1
_TIME = pa.timestamp("us", tz="UTC")

_WHO = [
    ("study", pa.string(), "name of the study"),
    ("trial_id", pa.string(), "<task>.<variant>.<stage>.<number>"),
]
_CELL = [
    ("task", pa.string(), "task"),
    ("variant", pa.string(), "variant of a method, as the study file names it"),
    ("stage", pa.string(), "search (train800 -> val200) or final (train800val200 -> test)"),
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
    ("attempts", pa.int32(), "launches until this outcome, 1 without a fault"),
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
    ("val_top1_last", pa.float64(), "val200 accuracy after the last epoch: the result of a search trial"),
    ("val_top1_best", pa.float64(), "highest val200 accuracy of any epoch: a diagnostic, never a result"),
    ("val_loss", pa.float64(), "val200 cross-entropy after the last epoch"),
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
    ("val_loss", pa.float64(), "val200 cross-entropy"),
    ("val_top1", pa.float64(), "val200 accuracy in [0, 1]"),
    ("seconds", pa.float64(), "wall seconds, scoring included"),
]
_INTENT = [
    ("configuration", pa.string(), "hyperparameters as JSON"),
    ("time", _TIME, "when it was decided on"),
]
_HP_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def _schema(columns: Iterable[tuple[str, pa.DataType, str]]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns]
    return pa.schema(fields, metadata={"wst_schema_version": str(SCHEMA_VERSION)})


def trials_schema(hyperparameters: Mapping[str, type]) -> pa.Schema:
    """Schema of ``trials``, with one typed ``hp_*`` column a hyperparameter of the study."""
    typed = [(f"hp_{n}", _HP_TYPES[t], f"hyperparameter {n}") for n, t in sorted(hyperparameters.items())]
    return _schema([*_WHO, *_CELL, *_ASK, *typed, *_TRIAL])


EPOCHS_SCHEMA = _schema([*_WHO, *_EPOCH])
INTENTS_SCHEMA = _schema([*_WHO, *_CELL, *_ASK, *_INTENT])


class Ledger:
    """A study's ledger, open for writing.

    Args:
        folder: the study's output folder.
        study: the resolved study; its hyperparameters give the ``hp_*`` columns.
        code: code version, commit and library versions, as :func:`wst.provenance.code` gives them.

    Raises:
        InputError: the folder belongs to another study, or another process writes to it.
    """

    def __init__(self, folder: Path, study: Study, code: Mapping[str, str | None]):
        self.folder, self.study, self._code = folder, study, code
        self._suite = suite_named(study.suite)
        self._trials_schema = trials_schema(study.hyperparameter_types())
        self._partial = folder / "ledger" / ".partial"
        existing = folder / "study.yaml"
        if folder.exists() and not existing.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: expected an empty or new folder, or a study's; found other files")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        try:
            if existing.exists():
                _same_study(existing, study)
            for table in ("trials", "epochs", "intents"):
                (folder / "ledger" / table).mkdir(parents=True, exist_ok=True)
            self._partial.mkdir(exist_ok=True)
            for left_over in self._partial.iterdir():
                left_over.unlink()
            _write_aside(
                self._partial / "study.yaml", existing, lambda path: path.write_text(study.to_yaml())
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_intent(self, intent: Intent) -> None:
        """Make an intent durable."""
        row = {
            **self._who(intent),
            "configuration": json.dumps(intent.hyperparameters),
            "time": intent.time or datetime.now(UTC),
        }
        self._write("intents", intent.trial_id, [row], INTENTS_SCHEMA)

    def add_trial(self, intent: Intent, outcome: Outcome) -> None:
        """Append an ended trial: its epochs, then its row."""
        who = {"study": self.study.name, "trial_id": intent.trial_id}
        epochs = [{**who, **vars(epoch)} for epoch in outcome.epochs]
        self._write("epochs", intent.trial_id, epochs, EPOCHS_SCHEMA)
        self._write("trials", intent.trial_id, [self._row(intent, outcome)], self._trials_schema)

    def _who(self, intent: Intent) -> dict[str, Any]:
        return {
            "study": self.study.name,
            "trial_id": intent.trial_id,
            "task": intent.task,
            "variant": intent.variant,
            "stage": intent.stage,
            "number": intent.number,
            "ask_order": intent.ask_order,
            "seed": intent.seed,
            "parent": intent.parent,
            "reason": intent.reason,
        }

    def _row(self, intent: Intent, outcome: Outcome) -> dict[str, Any]:
        study, last = self.study, outcome.epochs[-1] if outcome.epochs else None
        values = [epoch.val_top1 for epoch in outcome.epochs if epoch.val_top1 is not None]
        types = study.hyperparameter_types()
        configuration = {
            "backbone": study.backbone,
            "checkpoint": study.checkpoint,
            "method": study.variants[intent.variant].method,
            "hyperparameters": intent.hyperparameters,
            "recipe": study.recipe.model_dump(mode="json"),
            "seed": intent.seed,
        }
        same_name = {
            name: value for name, value in vars(outcome).items() if name in self._trials_schema.names
        }
        return {
            **same_name,
            **self._who(intent),
            **{f"hp_{name}": types[name](value) for name, value in intent.hyperparameters.items()},
            "suite": study.suite,
            "group": self._suite.task(intent.task).group,
            "method": study.variants[intent.variant].method,
            "backbone": study.backbone,
            "recipe_hash": study.recipe.digest(),
            "configuration": json.dumps(configuration, sort_keys=True),
            "epochs": len(outcome.epochs),
            "val_top1_last": last.val_top1 if last else None,
            "val_top1_best": max(values, default=None),
            "val_loss": last.val_loss if last else None,
            "train_loss": last.train_loss if last else None,
            "code_version": self._code["version"],
            "code_commit": self._code["commit"],
            "library_versions": self._code["libraries"],
            "schema_version": SCHEMA_VERSION,
        }

    def _write(self, table: str, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        content = pa.Table.from_pylist(rows, schema=schema)
        _write_aside(
            self._partial / f"{table}-{name}.parquet",
            self.folder / "ledger" / table / f"{name}.parquet",
            # A fragment is a row or a curve: dictionaries and statistics would cost more than they save.
            lambda path: pq.write_table(content, path, use_dictionary=False, write_statistics=False),
        )


def _write_aside(partial: Path, final: Path, write: Callable[[Path], object]) -> None:
    """Write ``partial``, flush it to the disk, and rename it to ``final`` in one step."""
    write(partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(final)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InputError(
            f"{folder}: expected no other process on this study; found one that writes to it"
        ) from None
    return descriptor


def _same_study(existing: Path, study: Study) -> None:
    found, wanted = resolved_study(existing.parent).identity(), study.identity()
    for key in wanted:
        if found[key] != wanted[key]:
            raise InputError(
                f"{existing.parent}: holds a study whose {key!r} differs: expected {wanted[key]!r}; "
                f"found {found[key]!r}; choose another --out"
            )


def resolved_study(folder: Path) -> Study:
    """The study that a folder holds.

    Raises:
        InputError: the folder holds none, or its study file is not valid.
    """
    path = folder / "study.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: expected a study's output folder; found no study.yaml in it")
    try:
        return Study.model_validate(read_yaml(path.read_text(), str(path)))
    except ValidationError as error:
        raise first_error(error, str(path)) from None


def fragments(folder: Path, table: str) -> tuple[list[Path], pa.Schema]:
    """The files of ``trials``, ``epochs`` or ``intents`` as they are now, by name, and the table's schema.

    Raises:
        InputError: the folder holds no ledger, one of a newer schema than this version reads, or a damaged
            file.
    """
    where = folder / "ledger" / table
    if not where.is_dir():
        raise InputError(f"{folder}: expected a study's output folder; found no ledger in it")
    files = sorted(path for path in where.iterdir() if path.suffix == ".parquet")
    if not files:
        return [], {"trials": trials_schema({}), "epochs": EPOCHS_SCHEMA, "intents": INTENTS_SCHEMA}[table]
    # A newer version of wst that went on with the study wrote the newest file.
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    with whole_files(folder, table):
        schema = pq.read_schema(newest)
    version = int((schema.metadata or {}).get(b"wst_schema_version", b"0"))
    if version > SCHEMA_VERSION:
        raise InputError(f"{where}: expected schema version {SCHEMA_VERSION} or older; found {version}")
    return files, schema


@contextmanager
def whole_files(folder: Path, table: str) -> Iterator[None]:
    """Turn pyarrow's complaint about a damaged file into a line that names the file."""
    try:
        yield
    except (pa.ArrowInvalid, OSError):
        for path in sorted((folder / "ledger" / table).glob("*.parquet")):
            try:
                pq.read_metadata(path)
            except (pa.ArrowInvalid, OSError):
                raise InputError(
                    f"{path}: expected a whole Parquet file; found a damaged one of {path.stat().st_size} "
                    "bytes (remove it, and wst tune runs its trial again)"
                ) from None
        raise


def read_table(folder: Path, table: str) -> pa.Table:
    """One of the tables ``trials``, ``epochs`` or ``intents`` as it is now, rows in the order of their names.

    Raises:
        InputError: as :func:`fragments`.
    """
    files, schema = fragments(folder, table)
    with whole_files(folder, table):
        tables = [pq.ParquetFile(path).read() for path in files]
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _fields(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in names if name in row}


def _intents(rows: Iterable[dict[str, Any]]) -> Iterator[Intent]:
    for row in rows:
        known = _fields(row, Intent.__dataclass_fields__)
        yield Intent(**known, hyperparameters=json.loads(row["configuration"]))


def history(folder: Path) -> tuple[list[Intent], list[EndedTrial]]:
    """All intents in the order of their asks, and the ended trials among them, in the same order."""
    intents = sorted(_intents(read_table(folder, "intents").to_pylist()), key=lambda intent: intent.ask_order)
    curves: dict[str, list[Epoch]] = {}
    for row in read_table(folder, "epochs").to_pylist():
        epoch = Epoch(**_fields(row, Epoch.__dataclass_fields__))
        curves.setdefault(row["trial_id"], []).append(epoch)
    rows = {row["trial_id"]: row for row in read_table(folder, "trials").to_pylist()}
    ended = []
    for intent in intents:
        row = rows.get(intent.trial_id)
        if row is not None:
            known = _fields(row, set(Outcome.__dataclass_fields__) - {"epochs"})
            outcome = Outcome(**known, epochs=tuple(curves.get(intent.trial_id, ())))
            ended.append(EndedTrial(intent, outcome))
    return intents, ended


def check_unchanged(
    ended: Iterable[EndedTrial], data_hashes: Mapping[str, str], checkpoint_hash: str
) -> None:
    """Refuse to go on with a study whose images or backbone weights have changed since it began.

    Raises:
        InputError: naming what changed, with both hashes.
    """
    for trial in ended:
        outcome, task = trial.outcome, trial.intent.task
        for what, found, recorded in (
            (f"data of task {task!r}", data_hashes[task], outcome.data_hash),
            ("backbone weights", checkpoint_hash, outcome.checkpoint_hash),
        ):
            if recorded is not None and recorded != found:
                raise InputError(
                    f"{what}: expected hash {recorded[:12]} as in the ledger; found {found[:12]}"
                )

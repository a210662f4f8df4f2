"""Reading a ledger: its files as they are now, its tables, and the history that a study goes on from.

Readers need no lock.  The writer may put a new generation of the ledger in the place of the one that is
being read (see :mod:`wst.ledger.generations`); a file of the old one is then gone, and the reader begins
again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import ValidationError

from wst.errors import InputError
from wst.files import read_text
from wst.ledger.schema import SCHEMA_VERSION, TABLES, table_schemas
from wst.records import EndedTrial, Epoch, Intent, Outcome
from wst.study import Study
from wst.yaml_files import first_error, read_yaml

_Result = TypeVar("_Result")


def resolved_study(folder: Path) -> Study:
    """The study that a folder holds.

    Raises:
        InputError: the folder holds none, or its study file is not valid.
    """
    path = folder / "study.yaml"
    if not path.is_file():
        raise InputError(f"{folder}: expected a study's output folder; found no study.yaml in it")
    try:
        data = read_yaml(read_text(path), str(path))
        return Study.model_validate(data)
    except ValidationError as error:
        raise first_error(error, str(path), data) from None


def _again_if_moved(read: Callable[[], _Result]) -> _Result:
    """The result of ``read``, called a second time when a file vanished under it: another generation of the
    ledger is in place then."""
    try:
        return read()
    except FileNotFoundError:
        return read()


def fragments(folder: Path, table: str) -> tuple[list[Path], pa.Schema]:
    """The files of ``trials``, ``epochs`` or ``intents`` as they are now, by name, and the table's schema.

    All are of one generation, and their paths lead to it even when another takes its place.

    Raises:
        InputError: the folder holds no ledger, one of a newer schema than this version reads, or a damaged
            file.
        FileNotFoundError: the generation went away meanwhile.
    """
    where = folder / "ledger" / table
    if not where.is_dir():
        raise InputError(f"{folder}: expected a study's output folder; found no ledger in it")
    where = where.resolve()
    with os.scandir(where) as entries:
        found = {e.name: e.stat().st_mtime_ns for e in entries if e.name.endswith(".parquet")}
    if not found:
        return [], table_schemas({})[table]
    # A newer version of wst that went on with the study wrote the newest file.
    newest = max(found, key=lambda name: found[name])
    with _whole_files(folder, table):
        schema = pq.read_schema(where / newest)
    version = int((schema.metadata or {}).get(b"wst_schema_version", b"0"))
    if version > SCHEMA_VERSION:
        shown = folder / "ledger" / table
        raise InputError(f"{shown}: expected schema version {SCHEMA_VERSION} or older; found {version}")
    return [where / name for name in sorted(found)], schema


def column_names(folder: Path, table: str) -> list[str]:
    """The columns of a table, as its newest file has them.

    Raises:
        InputError: as :func:`fragments`.
    """
    _, schema = _again_if_moved(lambda: fragments(folder, table))
    return list(schema.names)


@contextmanager
def _whole_files(folder: Path, table: str) -> Iterator[None]:
    """Turn pyarrow's complaint about a damaged file into a line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError):
        for path in sorted((folder / "ledger" / table).glob("*.parquet")):
            try:
                pq.read_metadata(path)
            except FileNotFoundError:
                raise
            except (pa.ArrowInvalid, OSError):
                raise InputError(
                    f"{path}: expected a whole Parquet file; found a damaged one of {path.stat().st_size} "
                    "bytes (remove it, and wst tune runs its trial again)"
                ) from None
        raise


def read_files(files: Sequence[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of these files of one table, in their order."""
    names = None if columns is None else list(columns)

    def read(path: Path) -> pa.Table:
        return pq.ParquetFile(path, pre_buffer=False).read(names, use_threads=False)

    with ThreadPoolExecutor() as pool:
        tables = list(pool.map(read, files))
    return pa.concat_tables(tables).combine_chunks()


def read_table(
    folder: Path, table: str, columns: Sequence[str] | None = None, where: pc.Expression | None = None
) -> pa.Table:
    """One of the tables ``trials``, ``epochs`` or ``intents`` as it is now, in no particular order.

    Args:
        folder: the study's output folder.
        table: the table.
        columns: read these columns alone, as far as the table has them; all by default.
        where: keep the rows for which this expression over columns holds; row groups that cannot hold one
            are not read.

    Raises:
        InputError: as :func:`fragments`.
    """

    def read() -> pa.Table:
        if where is not None:
            found = _dataset(folder, table)
            present = None if columns is None else [name for name in columns if name in found.schema.names]
            with _whole_files(folder, table):
                return found.to_table(columns=present, filter=where)
        files, schema = fragments(folder, table)
        names = schema.names if columns is None else [name for name in columns if name in schema.names]
        if not files:
            return schema.empty_table().select(names)
        with _whole_files(folder, table):
            return read_files(files, None if columns is None else names)

    return _again_if_moved(read)


def ordered_tables(folder: Path) -> dict[str, pa.Table]:
    """The three tables, each in the order of the asks, epochs of ended trials alone.

    Epochs without a row in ``trials`` are left from a trial that was cut off; it sends them again.
    """
    tables = {table: read_table(folder, table) for table in TABLES}
    for table in ("trials", "intents"):
        tables[table] = tables[table].sort_by("ask_order")
    place = pc.index_in(tables["epochs"]["trial_id"], value_set=tables["trials"]["trial_id"])
    epochs = tables["epochs"].append_column("place", place).filter(pc.is_valid(place))
    epochs = epochs.sort_by([("place", "ascending"), ("epoch", "ascending")])
    tables["epochs"] = epochs.drop_columns("place")
    return tables


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


def history(folder: Path) -> tuple[list[Intent], list[EndedTrial]]:
    """All intents in the order of their asks, and the ended trials among them, in the same order."""
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


def batches(
    folder: Path, table: str, columns: Sequence[str], where: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """The same rows as :func:`read_table` gives, a batch at a time, for tables larger than memory.

    Raises:
        InputError: as :func:`read_table`, or the ledger was compacted between two batches.
    """
    found = _again_if_moved(lambda: _dataset(folder, table))
    try:
        with _whole_files(folder, table):
            yield from found.to_batches(columns=list(columns), filter=where)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: expected the ledger's files to stay in place while they are read; found that they "
            "were compacted meanwhile (read again)"
        ) from None


def _dataset(folder: Path, table: str) -> ds.Dataset:
    """A ledger's table as a pyarrow data set; nothing but one file's schema is read yet.

    Raises:
        InputError: the folder holds no ledger, or one of a newer schema than this version reads.
    """
    files, schema = fragments(folder, table)
    return ds.dataset(files, schema=schema, format="parquet") if files else ds.dataset(schema.empty_table())

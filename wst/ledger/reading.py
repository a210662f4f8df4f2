"""Reading a ledger: its files as they are now, and its tables.

Readers need no lock.  The writer may put a new generation of the ledger in the place of the one that is
being read (see :mod:`wst.ledger.generations`); a file of the old one is then gone, and the reader begins
again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import NAMESPACE_OID, uuid5

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import ValidationError

from wst.errors import InputError
from wst.files import is_file, read_text
from wst.ledger.files import FORMAT, check_columns, read_file, whole_files
from wst.ledger.lost_reads import lost_reads
from wst.ledger.own import is_study
from wst.ledger.schema import KEYS, SCHEMA_VERSION, TABLES, table_schemas
from wst.records import Read
from wst.study import Study
from wst.yaml_files import LARGEST, first_error, read_yaml

_Result = TypeVar("_Result")


def resolved_study(folder: Path) -> Study:
    """The study that a folder holds.

    Raises:
        InputError: the folder holds none, or its study file is not valid.
    """
    path = folder / "study.yaml"
    if not is_file(path):
        raise InputError(f"{folder}: expected a study's output folder; found no study.yaml in it")
    try:
        data = read_yaml(read_text(path, LARGEST), str(path))
        return Study.model_validate(data)
    except ValidationError as error:
        problem: InputError = first_error(error, str(path), data)
    except InputError as error:
        problem = error
    if not is_study(folder):
        raise InputError(f"{problem}: {folder} is no study's output folder")
    raise InputError(
        f"{problem} (wst repair {folder} lays it aside; then give wst tune the study's file again)"
    )


def _again_if_moved(read: Callable[[], _Result]) -> _Result:
    """The result of ``read``, called a second time when a file vanished under it: another generation of the
    ledger is in place then."""
    try:
        return read()
    except FileNotFoundError:
        return read()


def fragments(folder: Path, table: str) -> tuple[list[Path], pa.Schema]:
    """The files of a table as they are now, by name, and the table's schema.

    All are of one generation, and their paths lead to it even when another takes its place.  A ledger from
    before reads were kept has no ``reads``, and so no file of it.

    Raises:
        InputError: the folder holds no ledger, one of a newer schema than this version reads, or a damaged
            file.
        FileNotFoundError: the generation went away meanwhile.
    """
    where = folder / "ledger" / table
    if where.parent.exists() and not where.is_dir() and not is_study(folder):
        raise InputError(f"{folder}: expected a study's output folder; found a ledger of something else")
    if where.parent.is_file():
        raise InputError(
            f"{where.parent}: expected a link to the ledger's files; found a file (wst repair {folder} lays "
            "it aside)"
        )
    if not where.parent.is_dir():
        raise InputError(f"{folder}: expected a study's output folder; found no ledger in it")
    if not where.is_dir():
        if table == "reads":
            return [], table_schemas({})[table]
        raise InputError(
            f"{where}: expected the folder of a ledger's table; found none (wst repair {folder} says what is "
            "lost and goes on from the rest)"
        )
    where = where.resolve()
    with os.scandir(where) as entries:
        found = {e.name: e.stat().st_mtime_ns for e in entries if e.name.endswith(".parquet")}
    if not found:
        return [], table_schemas({})[table]
    # A newer version of wst that went on with the study wrote the newest file.
    newest = max(found, key=lambda name: found[name])
    with whole_files(folder, table):
        schema = pq.read_schema(where / newest)
        if not KEYS[table] <= set(schema.names):
            raise pa.ArrowInvalid("a file of something else")
    version = int((schema.metadata or {}).get(b"wst_schema_version", b"0"))
    if version > SCHEMA_VERSION:
        shown = folder / "ledger" / table
        raise InputError(f"{shown}: expected schema version {SCHEMA_VERSION} or older; found {version}")
    return [where / name for name in sorted(found)], schema


def files_now(folder: Path) -> dict[Path, int]:
    """The ledger's files as they are now, with the times of their last change in ns.

    Raises:
        InputError: as :func:`fragments`.
    """
    return _again_if_moved(
        lambda: {p: p.stat().st_mtime_ns for table in TABLES for p in fragments(folder, table)[0]}
    )


def column_names(folder: Path, table: str) -> list[str]:
    """The columns of a table, as its newest file has them.

    Raises:
        InputError: as :func:`fragments`.
    """
    _, schema = _again_if_moved(lambda: fragments(folder, table))
    return list(schema.names)


def read_files(files: Sequence[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of these files of one table, in their order."""
    names = None if columns is None else list(columns)

    with ThreadPoolExecutor() as pool:
        tables = list(pool.map(lambda path: read_file(path, names), files))
    return pa.concat_tables(tables).combine_chunks()


def read_table(
    folder: Path, table: str, columns: Sequence[str] | None = None, where: pc.Expression | None = None
) -> pa.Table:
    """One of the tables as it is now, in no particular order.

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
            with whole_files(folder, table):
                return found.to_table(columns=present, filter=where)
        files, schema = fragments(folder, table)
        names = schema.names if columns is None else [name for name in columns if name in schema.names]
        if not files:
            return schema.empty_table().select(names)
        with whole_files(folder, table):
            return read_files(files, None if columns is None else names)

    return _again_if_moved(read)


def ordered_tables(folder: Path, logged: Sequence[Mapping[str, Any]] = ()) -> dict[str, pa.Table]:
    """The tables, each in the order of the asks, or of time; epochs of ended trials alone.

    Epochs without a row in ``trials`` are left from a trial that was cut off; it sends them again.

    Args:
        folder: the study's output folder.
        logged: as in :func:`all_reads`.
    """
    tables = {table: read_table(folder, table) for table in TABLES if table != "reads"}
    tables["reads"] = all_reads(folder, logged).sort_by("time")
    for table in ("trials", "intents"):
        tables[table] = tables[table].sort_by("ask_order")
    place = pc.index_in(tables["epochs"]["trial_id"], value_set=tables["trials"]["trial_id"])
    epochs = tables["epochs"].append_column("place", place).filter(pc.is_valid(place))
    epochs = epochs.sort_by([("place", "ascending"), ("epoch", "ascending")])
    tables["epochs"] = epochs.drop_columns("place")
    return tables


def all_reads(folder: Path, logged: Sequence[Mapping[str, Any]] = ()) -> pa.Table:
    """Every known read of a test split: the table ``reads``, what it has lost and the user's log still has,
    and one for each row with a score on test that has none then, as of a ledger from before reads were kept.

    Args:
        folder: the study's output folder.
        logged: the entries of the user's log.

    Raises:
        InputError: as :func:`fragments`.
    """
    # Rows first: a trial's read is written before its row.
    columns = ["study", "trial_id", "task", "variant", "test_hash", "test_images", "ended"]
    scored = read_table(folder, "trials", columns, pc.field("test_images").is_valid())
    kept = read_table(folder, "reads")
    if logged:
        final = pc.field("stage") == "final"
        intents = read_table(folder, "intents", ["study", "trial_id", "stage", "time"], final)
        ended = read_table(folder, "trials", ["trial_id", "test_hash", "ended"], final)
        again = lost_reads(folder, intents.to_pylist(), ended.to_pylist(), kept.to_pylist(), logged)
        kept = pa.concat_tables([kept, again.select(kept.schema.names).cast(kept.schema)])
    known = set(kept["trial_id"].to_pylist())
    found = [
        {"study": row["study"], **vars(_read_of_row(row))}
        for row in scored.to_pylist()
        if row["trial_id"] not in known
    ]
    return pa.concat_tables([kept, pa.Table.from_pylist(found, kept.schema)])


def _read_of_row(row: dict[str, Any]) -> Read:
    return Read(
        read_id=uuid5(NAMESPACE_OID, f"{row['study']}/{row['trial_id']}").hex,
        trial_id=row["trial_id"],
        task=row["task"],
        variant=row["variant"],
        split="test",
        test_hash=row.get("test_hash"),
        images=row["test_images"],
        time=row["ended"],
        purpose="known from the trial's row alone",
    )


def batches(
    folder: Path, table: str, columns: Sequence[str], where: pc.Expression | None = None
) -> Iterator[pa.RecordBatch]:
    """The same rows as :func:`read_table` gives, a batch at a time, for tables larger than memory.

    Raises:
        InputError: as :func:`read_table`, or the ledger was compacted between two batches.
    """
    found = _again_if_moved(lambda: _dataset(folder, table))
    try:
        with whole_files(folder, table):
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
    with whole_files(folder, table), ThreadPoolExecutor() as pool:
        list(pool.map(check_columns, files))
    return ds.dataset(files, schema=schema, format=FORMAT) if files else ds.dataset(schema.empty_table())

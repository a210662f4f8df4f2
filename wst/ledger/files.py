"""A ledger's Parquet files, one by one: read with their checksums, and named where they are damaged."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from wst.errors import InputError
from wst.ledger.schema import KEYS

FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)
"""For a data set of a ledger's files."""
COMPACTED = "compacted-"
"""How the name of a file with several trials begins; those of a single trial are named after it."""
DAMAGES = (pa.ArrowException, OSError, KeyError, UnicodeDecodeError)
"""What reading a damaged file raises, where it is there."""


def read_file(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of one file.

    Raises:
        FileNotFoundError: it has gone.
    """
    names = None if columns is None else list(columns)
    with pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file:
        _check_columns(file)
        return file.read(names, use_threads=False)


def check_columns(path: Path) -> None:
    """Whether a file's columns are those that it was written with; only its end is read.

    Raises:
        pyarrow.ArrowInvalid: they are not, or it is no Parquet file.
        FileNotFoundError: it has gone.
    """
    with pq.ParquetFile(path, pre_buffer=False) as file:
        _check_columns(file)


def _check_columns(file: pq.ParquetFile) -> None:
    """No checksum is over the names and types at a file's end; but they stand there twice."""
    written = (file.metadata.metadata or {}).get(b"ARROW:schema")
    if written is None:
        return
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(b64decode(written)))
    except ValueError as error:  # pyarrow's own among them
        raise pa.ArrowInvalid(f"a schema that cannot be read: {error}") from None
    if not file.schema_arrow.equals(schema):
        raise pa.ArrowInvalid("columns that are not those that were written")


def damage(path: Path, table: str) -> str | None:
    """What is wrong with a file as part of that table, in words; None where it is whole.

    Args:
        path: the file.
        table: the table.

    Raises:
        FileNotFoundError: it has gone.
    """
    try:
        found = read_file(path).schema
    except FileNotFoundError:
        raise
    except DAMAGES:
        return f"expected a whole Parquet file; found a damaged one of {path.stat().st_size} bytes"
    lacking = sorted(KEYS[table] - set(found.names))
    if lacking:
        return f"expected rows of the table {table}; found a file without the column {lacking[0]!r}"
    return None


def fits(found: pa.Schema, schema: pa.Schema) -> bool:
    """Whether a file is of this schema, or of an older one, with fewer columns."""
    return all(field.name in schema.names and schema.field(field.name).type == field.type for field in found)


def home_of(path: Path, schemas: Mapping[str, pa.Schema]) -> str | None:
    """The table of which this is a whole file, by its columns; None where it is of none of them."""
    for table, schema in schemas.items():
        if path.suffix == ".parquet" and damage(path, table) is None and fits(read_file(path).schema, schema):
            return table
    return None


@contextmanager
def whole_files(folder: Path, table: str) -> Iterator[None]:
    """Turn pyarrow's complaint about a damaged file into a line that names the file.

    Raises:
        InputError: one file of the table is damaged, or is of something else.
        FileNotFoundError: a file has gone, as when another generation has taken the place of this one.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except DAMAGES as error:
        advice = f"(wst repair {folder} says what is lost and lays it aside)"
        found = sorted((folder / "ledger" / table).glob("*.parquet"))
        for path in found:
            words = damage(path, table)
            if words is not None:
                raise InputError(f"{path}: {words} {advice}") from None
        shown = folder / "ledger" / table
        raise InputError(
            f"{shown}: expected files with the same columns; found: {str(error).splitlines()[0]} {advice}"
        ) from None

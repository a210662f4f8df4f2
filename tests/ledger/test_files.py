"""Files of a ledger whose ends are damaged, over which no checksum of Parquet's is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.leaderboard.board import read_leaderboard
from wst.errors import InputError
from wst.ledger.files import check_columns, damage, read_file
from wst.ledger.reading import batches, read_table
from wst.ledger.reads import count_reads
from wst.ledger.schema import table_schemas
from wst.workflows.repair import repair
from wst.workflows.status import status_rows


def _renamed(path: Path, name: bytes) -> None:
    """A byte of a column's name changed, where the file's end lists its columns."""
    content = path.read_bytes()
    start = content.index(name, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
    path.write_bytes(content[:start] + bytes([content[start] ^ 4]) + content[start + 1 :])


@pytest.mark.parametrize("column", [b"test_top1", b"hp_lr", b"data_hash"])
def test_a_row_with_a_changed_column_is_named_by_every_reader(
    column: bytes, in_many_files: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(in_many_files, tmp_path / "s", symlinks=True))
    file = folder / "ledger" / "trials" / "digits.lin.final.0000.parquet"
    _renamed(file, column)
    assert file.read_bytes() != (in_many_files / "ledger" / "trials" / file.name).read_bytes()
    line = rf"trials/{file.name}: expected a whole Parquet file.*wst repair"
    for use in (
        status_rows,
        lambda f: read_leaderboard([f]),
        lambda f: read_table(f, "trials", ["task"], pc.field("stage") == "final"),
        lambda f: list(batches(f, "trials", ["task"])),
    ):
        with pytest.raises(InputError, match=line):
            use(folder)
    made, _ = repair(folder)
    assert made.findings[0].path == f"ledger/trials/{file.name}"


def test_a_read_with_a_changed_column_is_named(extended: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(extended, tmp_path / "s", symlinks=True))
    reads = folder / "ledger" / "reads"
    reads.mkdir(exist_ok=True)
    schema = table_schemas({})["reads"]
    pq.write_table(schema.empty_table(), reads / "x.parquet")
    count_reads([folder])
    _renamed(reads / "x.parquet", b"test_hash")
    with pytest.raises(InputError, match=r"reads/x.parquet: expected a whole Parquet file"):
        count_reads([folder])


def test_every_type_that_a_ledger_has_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    several = {"l": pa.list_(pa.int64()), "t": pa.list_(pa.string()), "f": pa.float64(), "b": pa.bool_()}
    for table, schema in table_schemas(several).items():
        pq.write_table(schema.empty_table(), path)
        check_columns(path)
        assert damage(path, table) is None
        assert read_file(path).schema.equals(schema)

"""A ledger's tables written whole, one file each, as its next generation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from wst.files import flush
from wst.ledger.files import COMPACTED
from wst.ledger.generations import written


def write_generation(folder: Path, tables: Mapping[str, pa.Table]) -> None:
    """Put these tables in the place of the ledger's, in one step.

    Args:
        folder: the study's output folder, whose lock the caller holds.
        tables: rows in their schemas, by the tables' names.
    """
    # Named so that no two generations have a file of several rows in common.
    name = f"{COMPACTED}{uuid4().hex[:12]}.parquet"
    with written(folder) as new:
        (new / ".partial").mkdir()
        for table, rows in tables.items():
            if rows.num_rows:
                path = new / table / name
                write_table(rows, path, compression="zstd", row_group_size=2**16)
                flush(path)


def write_table(rows: pa.Table, path: Path, **options: object) -> None:
    """Write a file of the ledger, whose pages have checksums."""
    pq.write_table(rows, path, write_page_checksum=True, **options)

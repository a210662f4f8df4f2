"""Keep a finished study in the documents: its ledger, a file a table, and its study file.

    python tools/record_study.py runs/mini-grid docs/simulation

The documents' tables and pictures come from these records (`python -m tools.fill_tables`), and so do several
tests.  A record names no machine: the columns `node` and `slot` say `host`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wst.ledger import history, read_table, resolved_study
from wst.ledger.schema import TABLES
from wst.ledger.writing import COMPACTED
from wst.planning.planner import Planner

RECORD = f"{COMPACTED}record.parquet"
"""The file of each table."""
_MACHINE = ("node", "slot")


def without_machine(table: pa.Table) -> pa.Table:
    for name in _MACHINE:
        place = table.schema.get_field_index(name)
        if place >= 0:
            values = pa.array([None if v is None else "host" for v in table[name].to_pylist()], pa.string())
            table = table.set_column(place, table.schema.field(place), values)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("record", type=Path)
    args = parser.parse_args()
    study = resolved_study(args.study)
    if not Planner(study, *history(args.study)).done:
        parser.error(f"{args.study}: expected a finished study; found trials left")
    shutil.rmtree(args.record / "ledger", ignore_errors=True)
    for name in TABLES:
        folder = args.record / "ledger" / name
        folder.mkdir(parents=True)
        pq.write_table(without_machine(read_table(args.study, name)), folder / RECORD, compression="zstd")
    (args.record / "study.yaml").write_text(study.to_yaml())


if __name__ == "__main__":
    main()

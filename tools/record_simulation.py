"""Keep a finished grid study in the documents, for `wst simulate` to replay: its ledger, a file a table.

    python tools/record_simulation.py runs/mini-grid docs/simulation

The record names no machine: the columns `node` and `slot` say `host`.
"""

from __future__ import annotations

import argparse
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
    planner = Planner(study, *history(args.study))
    if not planner.done:
        parser.error(f"{args.study}: expected a finished study; found trials left")
    for name in TABLES:
        table = without_machine(read_table(args.study, name))
        folder = args.record / "ledger" / name
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / RECORD, compression="zstd")
    (args.record / "study.yaml").write_text(study.to_yaml())


if __name__ == "__main__":
    main()

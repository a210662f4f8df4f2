"""Keep a finished demo study in the documents: its ledger, a file a table, and what is drawn from it.

    python tools/record_demo.py runs/demo docs/demo

The README's table and picture and the tests of the report read this record.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pyarrow.parquet as pq
from record_simulation import RECORD, without_machine
from rich.console import Console

from wst.cli.analysis import draw_pareto, show_leaderboard
from wst.cli.output import Style
from wst.ledger import read_table
from wst.ledger.schema import TABLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("record", type=Path)
    args = parser.parse_args()
    shutil.rmtree(args.record, ignore_errors=True)
    for table in TABLES:
        folder = args.record / "ledger" / table
        folder.mkdir(parents=True)
        content = without_machine(read_table(args.study, table))
        pq.write_table(content, folder / RECORD, compression="zstd")
    shutil.copy(args.study / "study.yaml", args.record)
    draw_pareto([args.record], args.record / "pareto.png")
    with (args.record / "leaderboard.md").open("w") as file:
        show_leaderboard([args.record], False, Console(file=file, width=400), style=Style.markdown)


if __name__ == "__main__":
    main()

"""The page docs/ledger.md, generated from the ledger's schema.

``python -m tools.ledger_page > docs/ledger.md`` renews it.
"""

from __future__ import annotations

import pyarrow as pa

from wst.ledger.schema import SCHEMA_VERSION, table_schemas
from wst.ledger.writing import COMPACT_ABOVE

_HEAD = """# The ledger

A study's output folder holds `study.yaml`, the study as it was resolved, and `ledger`, with a folder of
Parquet files for each of four tables. Any reader of Parquet takes such a folder for one table, also while
the study runs:

```python
import pandas as pd

trials = pd.read_parquet("runs/demo/ledger/trials")
```

This page is generated from the records in `wst/records.py` and the schema in `wst/ledger/schema.py`; the
schema's version is {version}.

A row of `trials` is a trial that ended, each once. Accuracies are fractions in [0, 1], seconds are
wall-clock. A column is null where a trial has nothing to say there.
"""
_FILES = """## Files

A trial that was decided on is one file in `intents`; one that ended is one file in `trials` and one in
`epochs`, all named after it; a read of a test split is one file in `reads`. Every file has all the columns of
its table, and checksums of its pages.

Thousands of small files are slow to read. So when a study starts or stops and more than {most} of them have
gathered, they become one file a table. `ledger` is a symbolic link: the new files are written whole into
`ledger-<n + 1>`, the link is moved there in one step, and `ledger-<n>` is removed. A program that reads at
that instant sees the old rows, the new ones, or an error about a missing file, and never a row twice. A
copy that followed the link (`cp -rL`) is as good as the original.

A study may grow: more trials or seeds, another stage, more tasks or variants. A variant that brings a new
hyperparameter brings a new column, and the rows that are there are written again with it, null. Any change
after which old and new trials would not compare is refused.

A damaged ledger is not gone on with: a file that cannot be read is named in one line by whatever reads it.
`wst tune`, `wst train`, `wst status`, `wst best` and the exports compare rows, curves and intents besides,
and name the trial and the file that do not agree. `wst repair runs/demo` lays what is damaged aside, in
`damaged-<time>` in the study's folder, and says of each thing what that means; nothing is deleted, and
`--dry-run` only says it. A trial whose row or curve is lost runs again under the same settings and seed (a
pruner may then stop it elsewhere, since it knows more by now; a final trial reads the test split once more,
and that is counted). An intent is made again from its row, a lost read from the log of reads. A trial of
which nothing is left is asked for again under its number. A row is never replaced by one of other settings.

Copies for other programs, which nothing reads back:

```bash
wst export parquet runs/demo s3://bucket/demo   # or a path: one file a table
wst export optuna runs/demo -o study.db         # for optuna-dashboard: one Optuna study a cell
```
"""
_TABLES = {
    "trials": "One row a trial that ended, with one more column `hp_<name>` a hyperparameter of the study.",
    "epochs": "One row an epoch of a trial that ended.",
    "intents": "One row a trial that was decided on, written before it started.",
    "reads": "One row a read of a test split by a trial, written before it happens, whatever comes of it.",
}


def page() -> str:
    """The page as Markdown."""
    schemas = table_schemas({})
    parts = [_HEAD.format(version=SCHEMA_VERSION)]
    for table, words in _TABLES.items():
        parts.append(f"## {table}\n\n{words}\n\n| column | type | meaning |\n| --- | --- | --- |")
        parts[-1] += "".join(_line(field) for field in schemas[table]) + "\n"
    parts.append(_FILES.format(most=COMPACT_ABOVE))
    return "\n".join(parts)


def _line(field: pa.Field) -> str:
    meaning = field.metadata[b"description"].decode().replace("|", "\\|").replace("<", "&lt;")
    encoded = pa.types.is_dictionary(field.type)
    kind = f"{field.type.value_type}, dictionary-encoded" if encoded else field.type
    return f"\n| `{field.name}` | {kind} | {meaning} |"


if __name__ == "__main__":
    print(page(), end="")

"""The page docs/ledger.md, generated from the ledger's schema.

``python -m tools.ledger_page > docs/ledger.md`` renews it.
"""

from __future__ import annotations

import pyarrow as pa

from wst.ledger.schema import SCHEMA_VERSION, table_schemas
from wst.ledger.writing import COMPACT_ABOVE

_HEAD = """# The ledger

A study's output folder holds `study.yaml`, the study as it was resolved, and `ledger`, with a folder of
Parquet files for each of three tables. Any reader of Parquet takes such a folder for one table, also while
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
`epochs`, all named after it. Every file has all the columns of its table.

Thousands of small files are slow to read. So when a study starts or stops and more than {most} of them have
gathered, they become one file a table. `ledger` is a symbolic link: the new files are written whole into
`ledger-<n + 1>`, the link is moved there in one step, and `ledger-<n>` is removed. A program that reads at
that instant sees the old rows, the new ones, or an error about a missing file, and never a row twice. A
copy that followed the link (`cp -rL`) is as good as the original.

A study may grow: more trials or seeds, another stage, more tasks or variants. A variant that brings a new
hyperparameter brings a new column, and the rows that are there are written again with it, null. Any change
after which old and new trials would not compare is refused.

Copies for other programs, which nothing reads back:

```bash
wst export parquet runs/demo s3://bucket/demo   # or a path: trials.parquet, epochs.parquet, intents.parquet
wst export optuna runs/demo -o study.db         # for optuna-dashboard: one Optuna study a cell
```
"""
_TABLES = {
    "trials": "One row a trial that ended, with one more column `hp_<name>` a hyperparameter of the study.",
    "epochs": "One row an epoch of a trial that ended.",
    "intents": "One row a trial that was decided on, written before it started.",
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

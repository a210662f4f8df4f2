"""The page docs/ledger.md, generated from the ledger's schema.

``python -m analysis.schema_page > docs/ledger.md`` renews it.
"""

from __future__ import annotations

import pyarrow as pa

from wst.ledger import EPOCHS_SCHEMA, INTENTS_SCHEMA, SCHEMA_VERSION, trials_schema

_HEAD = """# The ledger

A study's output folder holds `study.yaml`, the study as it was resolved, and `ledger/`, with a folder of
Parquet files for each of three tables. Any reader of Parquet takes such a folder for one table. This page
is generated from the schema in `wst/ledger.py`; the schema's version is {version}.

A row of `trials` is a trial that ended, each once. Accuracies are fractions in [0, 1], seconds are
wall-clock. A column is null where a trial has nothing to say there.
"""
_TABLES = {
    "trials": "One row a trial that ended, with one more column `hp_<name>` a hyperparameter of the study.",
    "epochs": "One row an epoch of a trial that ended.",
    "intents": "One row a trial that was decided on, written before it started.",
}


def page() -> str:
    """The page as Markdown."""
    schemas = {"trials": trials_schema({}), "epochs": EPOCHS_SCHEMA, "intents": INTENTS_SCHEMA}
    parts = [_HEAD.format(version=SCHEMA_VERSION)]
    for table, words in _TABLES.items():
        parts.append(f"## {table}\n\n{words}\n\n| column | type | meaning |\n| --- | --- | --- |")
        parts[-1] += "".join(_line(field) for field in schemas[table]) + "\n"
    return "\n".join(parts)


def _line(field: pa.Field) -> str:
    meaning = field.metadata[b"description"].decode().replace("|", "\\|").replace("<", "&lt;")
    return f"\n| `{field.name}` | {field.type} | {meaning} |"


if __name__ == "__main__":
    print(page(), end="")

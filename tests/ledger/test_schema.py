"""A column stands once: on a record's field, or in the schema."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Literal

import pyarrow as pa
import pytest

from wst.ledger.schema import SCHEMA_VERSION, TABLES, record_columns, table_schemas
from wst.records import Epoch, Intent, Outcome


@dataclass
class _Base:
    name: Annotated[str | None, "a name"]


@dataclass
class _Record(_Base):
    kind: Annotated[Literal["a", "b"], "a kind"]
    count: Annotated[int | None, "a count"]
    share: Annotated[float, "a share"]
    when: Annotated[datetime | None, "a time"]
    other: tuple[int, ...] = ()


def test_a_field_with_a_sentence_is_a_column() -> None:
    assert [(name, str(kind), text) for name, kind, text in record_columns(_Record)] == [
        ("name", "string", "a name"),
        ("kind", "string", "a kind"),
        ("count", "int64", "a count"),
        ("share", "double", "a share"),
        ("when", "timestamp[us, tz=UTC]", "a time"),
    ]
    assert [name for name, *_ in record_columns(_Record, ["share", "kind"])] == ["share", "kind"]


def test_every_field_of_the_records_is_kept() -> None:
    schemas = table_schemas({})
    for record, table, elsewhere in (
        (Intent, "intents", set()),
        (Intent, "trials", {"time", "hyperparameters"}),
        (Outcome, "trials", set()),
        (Epoch, "epochs", set()),
    ):
        assert {field.name for field in fields(record)} - set(schemas[table].names) == elsewhere


@pytest.mark.parametrize("table", TABLES)
def test_a_schema_is_typed_commented_and_versioned(table: str) -> None:
    schema = table_schemas({"lr": pa.float64(), "sizes": pa.list_(pa.int64())})[table]
    assert len(set(schema.names)) == len(schema.names)
    assert schema.metadata[b"wst_schema_version"] == str(SCHEMA_VERSION).encode()
    assert all(field.metadata[b"description"] for field in schema)

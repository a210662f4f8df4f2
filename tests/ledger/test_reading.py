"""What a reader finds in a ledger, and what it is told where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.conftest import small_study
from tests.ledger.processes import CODE, read_of, write
from tests.ledger.test_ledger import small_trials
from wst.errors import InputError
from wst.ledger import Ledger, read_table, reading
from wst.ledger.reading import all_reads, batches, column_names, fragments, ordered_tables, read_files
from wst.ledger.schema import table_schemas


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first twelve trials of the small study."""
    folder = tmp_path_factory.mktemp("ledger") / "s"
    with Ledger(folder, small_study(), CODE) as ledger:
        write(ledger, small_trials()[:12])
    return folder


def test_columns_are_those_of_the_newest_file(filled: Path) -> None:
    names = column_names(filled, "trials")
    assert {"trial_id", "hp_lr", "hp_r", "state"} <= set(names)
    assert names == pq.read_schema(fragments(filled, "trials")[0][0]).names
    assert column_names(filled, "epochs") == table_schemas({})["epochs"].names


def test_batches_are_the_rows_of_the_table(filled: Path) -> None:
    epochs = read_table(filled, "epochs", ["epoch", "trial_id"])
    found = pa.Table.from_batches(batches(filled, "epochs", ["epoch", "trial_id"]))
    assert found.column_names == ["epoch", "trial_id"]
    assert sorted(found.to_pylist(), key=str) == sorted(epochs.to_pylist(), key=str)
    first = pa.Table.from_batches(batches(filled, "epochs", ["trial_id"], pc.field("epoch") == 1))
    assert sorted(first["trial_id"].to_pylist()) == sorted(t.intent.trial_id for t in small_trials()[:12])
    nothing = batches(filled, "epochs", ["trial_id"], pc.field("epoch") == 99)
    assert sum(batch.num_rows for batch in nothing) == 0


def test_batches_of_a_ledger_that_is_compacted_meanwhile_end_in_one_line(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def to_batches(self, **_: Any) -> Any:
            raise FileNotFoundError

    monkeypatch.setattr(reading, "_dataset", lambda *_: Gone())
    with pytest.raises(InputError) as caught:
        list(batches(filled, "epochs", ["epoch"]))
    assert str(caught.value) == (
        f"{filled}: expected the ledger's files to stay in place while they are read; found that they "
        "were compacted meanwhile (read again)"
    )


def test_a_file_that_vanishes_is_looked_for_once_again(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def once(*asked: Any) -> Any:
        calls.append(asked)
        if len(calls) == 1:
            raise FileNotFoundError
        return fragments(*asked)

    monkeypatch.setattr(reading, "fragments", once)
    assert len(read_table(filled, "trials")) == 12 and len(calls) == 2
    calls.clear()
    assert "trial_id" in column_names(filled, "trials") and calls == [(filled, "trials")] * 2
    calls.clear()
    assert sum(b.num_rows for b in batches(filled, "trials", ["trial_id"])) == 12 and len(calls) == 2


def test_tables_with_the_columns_and_rows_that_are_asked_for(filled: Path) -> None:
    table = read_table(filled, "trials", ["stage", "nothing_of_the_kind", "trial_id"])
    assert table.column_names == ["stage", "trial_id"] and len(table) == 12
    only = read_table(filled, "trials", ["trial_id", "none"], pc.field("number") == 0)
    assert only.column_names == ["trial_id"] and 0 < len(only) < 12
    assert read_table(filled, "trials", where=pc.field("number") == 0).column_names == column_names(
        filled, "trials"
    )
    files, schema = fragments(filled, "trials")
    assert files == sorted(files) and len(read_files(files, ["trial_id"])) == 12
    assert schema.names == column_names(filled, "trials")


def test_tables_in_the_order_of_the_asks(filled: Path) -> None:
    tables = ordered_tables(filled)
    order = [t.intent.trial_id for t in sorted(small_trials()[:12], key=lambda t: t.intent.ask_order)]
    assert tables["trials"]["trial_id"].to_pylist() == tables["intents"]["trial_id"].to_pylist() == order
    epochs = tables["epochs"].select(["trial_id", "epoch"]).to_pylist()
    assert epochs == sorted(epochs, key=lambda row: (order.index(row["trial_id"]), row["epoch"]))
    assert "place" not in tables["epochs"].column_names


def test_reads_that_rows_alone_show(tmp_path: Path) -> None:
    finals = [trial for trial in small_trials() if trial.intent.stage == "final"]
    assert len(finals) >= 2
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        write(ledger, small_trials())
    for file in (tmp_path / "s" / "ledger" / "reads").iterdir():
        file.unlink()
    before = all_reads(tmp_path / "s")
    rows = {row["trial_id"]: row for row in before.to_pylist()}
    assert set(rows) == {trial.intent.trial_id for trial in finals}
    (ended,) = read_table(
        tmp_path / "s", "trials", ["ended"], pc.field("trial_id") == finals[0].intent.trial_id
    )["ended"].to_pylist()
    row = rows[finals[0].intent.trial_id]
    assert (row["study"], row["task"], row["variant"]) == ("small", "digits", finals[0].intent.variant)
    assert (row["split"], row["images"], row["time"]) == ("test", finals[0].outcome.test_images, ended)
    assert row["purpose"] == "known from the trial's row alone" and len(row["read_id"]) == 32
    assert len({one["read_id"] for one in rows.values()}) == len(rows)
    assert all_reads(tmp_path / "s").equals(before)  # the same ids again
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        ledger.add_read(read_of(finals[0]))
    after = all_reads(tmp_path / "s").to_pylist()
    assert len([one for one in after if one["trial_id"] == finals[0].intent.trial_id]) == 2
    assert len(after) == len(finals) + 1


def test_what_is_no_ledger_is_said(tmp_path: Path, filled: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_table(tmp_path, "trials")
    assert str(caught.value) == f"{tmp_path}: expected a study's output folder; found no ledger in it"
    (tmp_path / "ledger" / "intents").mkdir(parents=True)
    assert len(read_table(tmp_path, "reads")) == len(read_table(tmp_path, "intents")) == 0
    with pytest.raises(InputError) as caught:
        read_table(tmp_path, "trials")
    assert str(caught.value) == (
        f"{tmp_path / 'ledger' / 'trials'}: expected the folder of a ledger's table; found none (wst repair "
        f"{tmp_path} says what is lost and goes on from the rest)"
    )
    pq.write_table(pa.table({"a": [1]}), tmp_path / "ledger" / "intents" / "x.parquet")
    with pytest.raises(
        InputError, match="expected rows of the table intents; found a file without the column"
    ):
        read_table(tmp_path, "intents")

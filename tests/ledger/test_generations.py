"""Which folder holds a ledger; kills in the middle of a switch are in test_compaction.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from wst.errors import InputError
from wst.ledger.generations import newest, settle
from wst.ledger.schema import TABLES


def _folder(path: Path, *tables: str) -> Path:
    for table in tables:
        (path / table).mkdir(parents=True)
    path.mkdir(exist_ok=True)
    return path


OLD = [table for table in TABLES if table != "reads"]
"""Of a ledger from before reads of the test split were kept."""


def test_a_plain_folder_with_all_tables_or_all_but_reads_counts(tmp_path: Path) -> None:
    for number, tables in enumerate((TABLES, OLD)):
        study = _folder(tmp_path / str(number))
        current = _folder(study / "ledger", *tables)
        _folder(study / "ledger-1", *TABLES)
        assert newest(study) == current


def test_a_folder_without_its_tables_gives_way_to_a_generation_that_has_them(tmp_path: Path) -> None:
    for lacking in OLD:
        study = _folder(tmp_path / lacking)
        _folder(study / "ledger", *(table for table in TABLES if table != lacking))
        assert newest(study) == study / "ledger"  # there is no other
        other = _folder(study / "ledger-7", *TABLES)
        _folder(study / "ledger-3", *TABLES)
        assert newest(study) == other
        with pytest.raises(InputError, match=r"found a folder without its tables \(wst repair"):
            settle(study)


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    assert newest(tmp_path / "nowhere") is None and newest(tmp_path) is None
    (tmp_path / "ledger").write_text("mine")
    _folder(tmp_path / "ledger-1", *TABLES)
    with pytest.raises(InputError, match=r"expected a link to the ledger's files; found a file \(wst repair"):
        settle(tmp_path)
    assert (tmp_path / "ledger").read_text() == "mine"

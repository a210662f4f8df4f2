"""Folders of studies told from those of other programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import small_study
from tests.ledger.processes import CODE
from wst.errors import InputError
from wst.ledger import Ledger, history
from wst.ledger.own import is_study
from wst.workflows.repair import repair
from wst.workflows.status import status_rows


def _their_study(folder: Path) -> None:
    (folder / "study.yaml").write_text("name: a trial of mice\nsubjects: 12\n")


def _their_ledger(folder: Path) -> None:
    (folder / "ledger").mkdir()
    (folder / "ledger" / "2026.beancount").write_text("2026-01-01 open Assets:Cash\n")


def _their_ledger_file(folder: Path) -> None:
    (folder / "ledger").write_text("2026/01/01 rent\n")


@pytest.mark.parametrize("make", [_their_study, _their_ledger, _their_ledger_file])
def test_what_another_program_left_is_refused_and_stays(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert not is_study(tmp_path)
    for use in (repair, status_rows, history, lambda folder: Ledger(folder, small_study(), CODE)):
        with pytest.raises(InputError) as error:
            use(tmp_path)
        assert "wst repair" not in str(error.value) and "\n" not in str(error.value)
        assert str(tmp_path) in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "s", small_study(), CODE):
        pass
    return tmp_path / "s"


def test_a_damaged_study_is_still_one(ours: Path) -> None:
    assert is_study(ours)
    (ours / "study.yaml").write_bytes(b"\xff\xff")
    assert is_study(ours)
    with pytest.raises(InputError, match="wst repair"):
        status_rows(ours)
    shutil.rmtree(ours / "ledger-1")  # the link to it stays
    assert is_study(ours)


def test_a_study_that_lost_its_ledger_is_still_one(ours: Path) -> None:
    shutil.rmtree(ours / "ledger-1")
    (ours / "ledger").unlink()
    kept = (ours / "study.yaml").read_bytes()
    (ours / "study.yaml").write_bytes(b"\xff" + kept[: len(kept) // 2])
    assert is_study(ours)
    with pytest.raises(InputError, match="wst repair"):
        status_rows(ours)

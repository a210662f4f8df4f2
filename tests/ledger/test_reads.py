"""The count of reads, and the user's log of them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, small_study
from tests.ledger.processes import CODE, a_read, append_reads, read_of, write
from tests.ledger.test_ledger import small_trials
from wst.data import entries
from wst.errors import InputError
from wst.ledger import Ledger, read_table
from wst.ledger.reading import all_reads
from wst.ledger.reads import TaskReads, count_reads, log_path, logging, read_lines, read_log
from wst.ledger.repairing import Plan
from wst.records import Read
from wst.workflows.repair import repair


@pytest.fixture(autouse=True)
def _own_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))


def _log(*reads: Read, folder: Path = Path("elsewhere")) -> None:
    with logging("other", folder) as append:
        for read in reads:
            append(read)


def test_what_is_appended_is_read_back_and_a_cut_line_spoils_no_other() -> None:
    _log(a_read("1"))
    with log_path().open("ab") as file:
        file.write(b'{"read_id": "cut')
    _log(a_read("2"), a_read("3"))
    with log_path().open("ab") as file:
        file.write(b"\xff\xfe\n[]\n" + b"[" * 100_000 + b"\n")
    log = read_log()
    assert [entry["read_id"] for entry in log.entries] == ["1", "2", "3"]
    assert log.damaged == (2, 5, 6, 7)
    assert log.caveat == f"{log_path()}: 4 lines cannot be read and are not counted (2, 5, 6, 7)."
    assert log.entries[0]["folder"] == str(Path("elsewhere").absolute())


@pytest.mark.slow
def test_several_processes_append_whole_lines() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(append_reads, range(2))
    log = read_log()
    assert len({entry["read_id"] for entry in log.entries}) == 40 and not log.damaged


def test_it_is_no_part_of_the_cache() -> None:
    _log(a_read("1"))
    entries.clear()
    assert len(read_log().entries) == 1


def test_a_log_that_cannot_be_opened_is_told_in_a_line(tmp_path: Path) -> None:
    log_path().mkdir(parents=True)
    for use in (lambda: _log(a_read("1")), read_log):
        with pytest.raises(InputError, match=r"test-reads\.jsonl: expected .*; found: Is a directory"):
            use()


def test_a_pipe_in_the_logs_place_is_not_waited_for() -> None:
    log_path().parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(log_path())
    for use in (lambda: _log(a_read("1")), read_log):
        with pytest.raises(InputError, match=r"test-reads\.jsonl: expected the log of reads, a file; found"):
            use()


def test_a_tasks_reads_are_by_this_study_and_by_all_others_of_the_same_images(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        write(ledger, small_trials())
        ledger.add_read(a_read("again"))
    _log(a_read("again"), a_read("x"), a_read("y"), a_read("z", "other images"))
    counted = count_reads([tmp_path / "s"])["digits"]
    assert (counted.own, counted.others) == (5, 2)
    assert counted.by_variant["small", "linear"].count("digits.linear.final.0000") == 2
    assert read_lines({"digits": counted}) == [
        "Test images of digits read 5 times by this study, 2 times by others on this machine."
    ]


def test_tasks_with_equal_reads_share_a_line() -> None:
    once = TaskReads({("s", "v"): ("a",)}, 0)
    lines = read_lines({"a": once, "b": once, "c": TaskReads()})
    assert lines == [
        "Test images of a, b read 1 time by this study, 0 times by others on this machine.",
        "Test images of c read 0 times by this study, an unknown number of times by others on this machine.",
    ]


def test_an_older_ledgers_reads_are_those_of_its_rows_and_kept_once_it_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with Ledger(folder, small_study(), CODE) as ledger:
        for trial in small_trials():  # without a word of the reads
            ledger.add_intent(trial.intent)
            ledger.add_trial(trial.intent, replace(trial.outcome, test_hash="d"))
    (folder / "ledger" / "reads").rmdir()
    before = all_reads(folder)
    assert before.num_rows == 4 and set(before["test_hash"].to_pylist()) == {"d"}
    assert count_reads([folder])["digits"] == replace(count_reads([folder])["digits"], others=0)
    for _ in range(2):
        with Ledger(folder, small_study(), CODE):
            pass
        (file,) = (folder / "ledger" / "reads").iterdir()
        assert pq.read_table(file).sort_by("read_id").equals(before.sort_by("read_id"))


def _scored(folder: Path) -> list[str]:
    """A ledger as a study leaves it, and what its reads are in the log; their ids, by trial."""
    ids = []
    with Ledger(folder, small_study(), CODE) as ledger, logging("small", folder) as append:
        for trial in small_trials():
            ledger.add_intent(trial.intent)
            now = datetime.now(UTC)
            if trial.outcome.test_images is not None:
                read = replace(read_of(trial), read_id=uuid4().hex, time=now)
                ids.append(read.read_id)
                ledger.add_read(read)
                append(read)
            outcome = replace(trial.outcome, test_hash="d", ended=datetime.now(UTC))
            ledger.add_trial(trial.intent, outcome)
    return sorted(ids)


@pytest.mark.parametrize("how", ["a file", "the folder", "moved, a file"])
def test_a_read_whose_file_is_gone_is_counted_once_and_restored(how: str, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    ids = _scored(folder)
    _scored(tmp_path / "another")  # of trials of the same names and images
    if how.startswith("moved"):
        folder = folder.rename(tmp_path / "t")
    reads = folder / "ledger" / "reads"
    if how == "the folder":
        shutil.rmtree(reads)
    else:
        sorted(reads.iterdir())[0].unlink()
    counted = count_reads([folder])["digits"]
    assert (counted.own, counted.others) == (4, 4)
    made, _ = repair(folder)
    assert {f.meaning for f in made.findings} == {"the read is made again from the log of reads"}
    assert sorted(read_table(folder, "reads")["read_id"].to_pylist()) == ids
    assert repair(folder) == (Plan(study=small_study()), None)


def test_a_lost_read_is_restored_when_the_ledger_is_opened(tmp_path: Path) -> None:
    ids = _scored(tmp_path / "s")
    for file in (tmp_path / "s" / "ledger" / "reads").iterdir():
        file.unlink()
    with Ledger(tmp_path / "s", small_study(), CODE):
        pass
    assert sorted(read_table(tmp_path / "s", "reads")["read_id"].to_pylist()) == ids


def test_reads_of_an_earlier_ledger_in_the_same_folder_stay_those_of_others(tmp_path: Path) -> None:
    _scored(tmp_path / "s")
    shutil.rmtree(tmp_path / "s")
    _scored(tmp_path / "s")
    counted = count_reads([tmp_path / "s"])["digits"]
    assert (counted.own, counted.others) == (4, 4)
    assert repair(tmp_path / "s")[1] is None


def test_a_ledger_from_before_reads_were_kept_is_counted_by_its_rows(tmp_path: Path) -> None:
    old = shutil.copytree(ROOT / "docs" / "demo", tmp_path / "old", ignore=shutil.ignore_patterns("reads"))
    (rows,) = (old / "ledger" / "trials").iterdir()
    pq.write_table(pq.read_table(rows).drop_columns(["test_hash"]), rows)  # neither was the images' hash
    counted = count_reads([old])
    assert counted and all(reads.own > 0 and reads.others is None for reads in counted.values())

"""A ledger's generations: compaction, discarding, going on, and kills in the middle of each."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.table import as_table
from analysis.load import load
from tests.analysis.ledgers import CODE as ALPHA_CODE
from tests.analysis.ledgers import alpha_study, write_alpha
from tests.conftest import small_study
from tests.ledger.processes import CODE, compact_for_ever, kill_at, write
from tests.ledger.test_ledger import small_trials
from tests.synthetic import run_all
from wst.errors import InputError
from wst.ledger import Ledger, history, read_table
from wst.ledger import writing as ledgers
from wst.ledger.reading import batches
from wst.ledger.schema import SCHEMA_VERSION, TABLES
from wst.planning.planner import Planner
from wst.records import EndedTrial, Intent
from wst.study import Study

pytestmark = pytest.mark.slow  # starts processes

History = tuple[list[Intent], list[EndedTrial]]


def _open(folder: Path, study: Study | None = None) -> Ledger:
    return Ledger(folder, study or small_study(), CODE)


def _fragments(folder: Path, trials: int = 16) -> History:
    """A ledger of fragments; what it holds."""
    with _open(folder) as ledger:
        write(ledger, small_trials()[:trials])
    return history(folder)


def _compact(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ledgers, "COMPACT_ABOVE", 0)
        with _open(folder):
            pass


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _trial_ids(folder: Path, table: str = "trials") -> Counter[str]:
    """How often each trial is in a table, as a foreign reader sees it."""
    return Counter(pd.read_parquet(folder / "ledger" / table)["trial_id"])


def test_compacted_ledger_holds_the_same_in_one_file_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _fragments(tmp_path)
    frames = {table: pd.read_parquet(tmp_path / "ledger" / table) for table in TABLES}
    _compact(tmp_path, monkeypatch)
    assert history(tmp_path) == before
    assert _files(tmp_path) == [".lock", "ledger", "ledger-3", "study.yaml"]
    for table, frame in frames.items():
        files = list((tmp_path / "ledger" / table).iterdir())
        assert len(files) == 1
        again = pd.read_parquet(tmp_path / "ledger" / table)
        keys = [key for key in ("trial_id", "epoch") if key in frame]
        pd.testing.assert_frame_equal(
            again.sort_values(keys, ignore_index=True), frame.sort_values(keys, ignore_index=True)
        )
        if "ask_order" in again:
            assert again["ask_order"].is_monotonic_increasing
        assert all(field.metadata[b"description"] for field in pq.read_schema(files[0]))


def test_three_foreign_readers_read_on_through_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fragments(tmp_path, trials=10)
    _compact(tmp_path, monkeypatch)
    with _open(tmp_path) as ledger:
        write(ledger, small_trials()[10:])
    where = tmp_path / "ledger" / "trials"
    assert len(list(where.iterdir())) == 7
    expected = {trial.intent.trial_id for trial in small_trials()}
    assert set(pd.read_parquet(where)["trial_id"]) == expected
    assert set(polars.read_parquet(where / "*.parquet")["trial_id"]) == expected
    assert set(duckdb.sql(f"SELECT trial_id FROM '{where}/*.parquet'").df()["trial_id"]) == expected


def test_many_fragments_are_compacted_on_closing_and_few_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledgers, "COMPACT_ABOVE", 30)
    _fragments(tmp_path, trials=10)
    assert len(list((tmp_path / "ledger" / "trials").iterdir())) == 10
    with _open(tmp_path) as ledger:
        assert len(list((tmp_path / "ledger" / "trials").iterdir())) == 10
        write(ledger, small_trials()[10:11])
    assert len(list((tmp_path / "ledger" / "trials").iterdir())) == 1
    assert len(history(tmp_path)[1]) == 11


def test_analysis_says_the_same_of_a_compacted_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_alpha(tmp_path)
    before = as_table(read_leaderboard([tmp_path]))
    monkeypatch.setattr(ledgers, "COMPACT_ABOVE", 0)
    with Ledger(tmp_path, alpha_study(), ALPHA_CODE):
        pass
    assert as_table(read_leaderboard([tmp_path])) == before
    rows = sum(batch.num_rows for batch in batches(tmp_path, "epochs", ["epoch"]))
    assert rows == len(load([tmp_path], "epochs"))


def test_study_goes_on_from_a_compacted_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fragments(tmp_path, trials=7)
    _compact(tmp_path, monkeypatch)
    rest = run_all(Planner(small_study(), *history(tmp_path)))
    assert [t.outcome for t in rest] == [t.outcome for t in small_trials()[7:]]


@pytest.mark.parametrize("compacted", [False, True])
def test_writing_a_trial_again_replaces_it_wherever_it_lies(
    compacted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fragments(tmp_path)
    if compacted:
        _compact(tmp_path, monkeypatch)
    trial = small_trials()[3]
    changed = replace(trial.outcome, epochs=trial.outcome.epochs[:1], device="another")
    with _open(tmp_path) as ledger:
        write(ledger, [EndedTrial(trial.intent, changed)])
        write(ledger, [EndedTrial(trial.intent, changed)])
    for table in ("trials", "intents"):
        assert set(_trial_ids(tmp_path, table).values()) == {1}
    assert _trial_ids(tmp_path, "epochs")[trial.intent.trial_id] == 1
    assert history(tmp_path)[1][3].outcome == changed


def test_epochs_of_a_trial_that_was_cut_off_do_not_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fragments(tmp_path)
    cut = small_trials()[5]
    (tmp_path / "ledger" / "trials" / f"{cut.intent.trial_id}.parquet").unlink()
    _compact(tmp_path, monkeypatch)
    assert cut.intent.trial_id not in _trial_ids(tmp_path, "epochs")
    with _open(tmp_path) as ledger:
        ledger.add_trial(cut.intent, cut.outcome)
    assert _trial_ids(tmp_path, "epochs")[cut.intent.trial_id] == len(cut.outcome.epochs)
    assert [t.outcome for t in history(tmp_path)[1]] == [t.outcome for t in small_trials()]


@pytest.mark.parametrize("compacted", [False, True])
def test_discarded_trials_can_be_run_again(
    compacted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _fragments(tmp_path)
    if compacted:
        _compact(tmp_path, monkeypatch)
    gone = [small_trials()[i] for i in (2, 9)]
    ids = {trial.intent.trial_id for trial in gone}
    with _open(tmp_path) as ledger:
        ledger.discard(ids)
        intents, ended = history(tmp_path)
        assert intents == before[0]
        assert ended == [trial for trial in before[1] if trial.intent.trial_id not in ids]
        assert not ids & _trial_ids(tmp_path, "epochs").keys()
        write(ledger, gone)
        assert history(tmp_path) == before
        with pytest.raises(InputError, match="expected an ended trial; found none named 'x'"):
            ledger.discard(["x"])
    assert history(tmp_path) == before


def test_a_plain_folder_keeps_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that followed the link."""
    _fragments(tmp_path / "s", trials=9)
    _compact(tmp_path / "s", monkeypatch)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / "s" / "study.yaml", copy)
    shutil.copytree(tmp_path / "s" / "ledger", copy / "ledger")
    before = history(copy)
    with _open(copy) as ledger:
        write(ledger, small_trials()[9:11])
    assert not (copy / "ledger").is_symlink()
    assert len(history(copy)[1]) == 11
    with _open(copy) as ledger:
        ledger.discard(trial.intent.trial_id for trial in small_trials()[9:11])
    assert history(copy)[1] == before[1]
    assert _files(copy) == [".lock", "ledger", "ledger-1", "study.yaml"]


def test_a_file_system_without_links_gets_a_plain_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    before = _fragments(tmp_path, trials=5)
    _compact(tmp_path, monkeypatch)
    assert history(tmp_path) == before
    assert _files(tmp_path) == [".lock", "ledger", "study.yaml"]
    assert len(list((tmp_path / "ledger" / "trials").iterdir())) == 1


def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    _fragments(tmp_path, trials=2)
    shutil.rmtree(tmp_path / "ledger-1")
    with pytest.raises(InputError, match="expected a link to the ledger's files; found one to ledger-1"):
        _open(tmp_path)


def test_disk_full_while_compacting_leaves_the_ledger_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with _open(tmp_path) as ledger:
        write(ledger, small_trials()[:6])
        monkeypatch.setattr(ledgers, "COMPACT_ABOVE", 0)
        monkeypatch.setattr(pq, "write_table", full)
    assert len(history(tmp_path)[1]) == 6
    assert _files(tmp_path) == [".lock", "ledger", "ledger-1", "study.yaml"]
    monkeypatch.undo()
    with _open(tmp_path):  # the lock was released
        pass


@pytest.mark.parametrize(
    "read",
    [
        history,
        lambda folder: load([folder])["trial_id"].tolist(),
        lambda folder: sum(batch.num_rows for batch in batches(folder, "epochs", ["epoch"])),
        lambda folder: read_table(folder, "trials").num_rows,
    ],
    ids=["history", "load", "batches", "read_table"],
)
def test_reader_that_a_switch_overtakes_begins_again(
    read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between listing the files and reading them, another generation is put in place."""
    _fragments(tmp_path, trials=6)
    _compact(tmp_path, monkeypatch)  # in the order of a compacted ledger
    before = read(tmp_path)
    switched = []
    original = pq.read_schema

    def overtaken(path: Path) -> Any:
        schema = original(path)
        if not switched:
            switched.append(path)
            _compact(tmp_path, monkeypatch)
        return schema

    monkeypatch.setattr(pq, "read_schema", overtaken)
    assert read(tmp_path) == before
    assert switched and not switched[0].exists()


def test_foreign_reader_that_a_switch_overtakes_never_sees_a_row_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fragments(tmp_path, trials=6)
    _compact(tmp_path, monkeypatch)
    with _open(tmp_path) as ledger:
        write(ledger, small_trials()[6:9])
    listed = ds.dataset(tmp_path / "ledger" / "trials", format="parquet")
    assert listed.count_rows() == 9
    _compact(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError):
        listed.to_table()


def _in_process(target: Callable[..., None], *args: Any) -> multiprocessing.process.BaseProcess:
    """A process that does not share this one's threads."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.parametrize("plain", [False, True])
def test_killed_at_any_point_the_ledger_is_whole(plain: bool, tmp_path: Path) -> None:
    """While it opens a ledger with a new hyperparameter, discards a trial, writes another and closes."""
    first, (discarded, kept, added) = small_trials()[0], small_trials()[1:4]
    stages = {
        "before": [first, discarded, kept],
        "discarded": [first, kept],
        "written": [first, kept, added],
    }
    start, copies = tmp_path / "start", tmp_path / "copies"
    _fragments(start, trials=3)
    if plain:
        (start / "ledger").unlink()
        (start / "ledger-1").rename(start / "ledger")
    variants = small_study().model_dump(mode="json")["variants"]
    later = {"method": "wst", "fixed": {"lr": 0.1, "blocks": "all"}}
    grown = small_study(variants={**variants, "later": later})
    copies.mkdir()
    # A plain folder is one until the first switch is over.
    calls = range(1, 31, 5) if plain else range(0, 1000, 7)
    worker = _in_process(kill_at, calls, start, copies, grown, [discarded], [added])
    worker.join()
    assert worker.exitcode == 0

    def stage(copy: Path) -> str:
        found = [(trial.intent.trial_id, trial.outcome) for trial in history(copy)[1]]
        known = {name: [(t.intent.trial_id, t.outcome) for t in ended] for name, ended in stages.items()}
        return next(name for name, ended in known.items() if ended == found)

    seen = Counter[str]()
    for copy in copies.iterdir():
        if (copy / "ledger").exists() or not plain:
            assert set(_trial_ids(copy).values()) == {1}
            found = stage(copy)
        with _open(copy, grown) as ledger:
            assert stage(copy) == found or plain
            seen[stage(copy)] += 1
            write(ledger, [discarded, added])
        assert [t.outcome for t in history(copy)[1]] == [t.outcome for t in small_trials()[:4]]
        frame = pd.read_parquet(copy / "ledger" / "trials")
        assert frame["trial_id"].is_unique and "hp_blocks" in frame
        assert set(_files(copy)) == {".lock", "ledger", (copy / "ledger").resolve().name, "study.yaml"}
    if plain:
        assert seen == {"before": len(calls)}
    else:
        assert set(seen) == set(stages) and sum(seen.values()) > 8


@pytest.mark.slow
def test_readers_beside_a_killed_compacting_writer(tmp_path: Path) -> None:
    trials = small_trials()[:6]
    writer = _in_process(compact_for_ever, tmp_path, small_study(), trials)
    sizes: list[int] = []
    deadline = time.monotonic() + 60
    while len(sizes) < 20 and time.monotonic() < deadline:
        try:
            frame = pd.read_parquet(tmp_path / "ledger" / "trials")
        except FileNotFoundError:  # overtaken, or not there yet
            time.sleep(0.001)
            continue
        if len(frame):
            assert frame["trial_id"].is_unique
            assert (frame["schema_version"] == SCHEMA_VERSION).all()
            sizes.append(len(frame))
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert len(sizes) == 20
    # A trial that is written again is away for an instant.
    assert all(after >= before - 1 for before, after in itertools.pairwise(sizes))
    with _open(tmp_path) as ledger:
        write(ledger, trials)
    assert [t.outcome for t in history(tmp_path)[1]] == [t.outcome for t in trials]

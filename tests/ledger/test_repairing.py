"""Damaged ledgers: told in one line, laid aside, and gone on with to the undisturbed table."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import small_study
from tests.ledger.processes import CODE, read_of, write
from tests.synthetic import environment, run_all, run_one
from wst.engine.rows import check_rows
from wst.errors import InputError
from wst.ledger import Ledger, history, read_table
from wst.ledger import writing as ledgers
from wst.ledger.reading import all_reads
from wst.planning.planner import Planner, stage_seeds
from wst.records import EndedTrial
from wst.study import Study
from wst.workflows.best import chosen_settings
from wst.workflows.repair import repair
from wst.workflows.status import status_rows

SEARCHED, FINAL = "digits.wst-r2.search.0003", "digits.wst-r2.final.0001"
VARYING = ["time", "read_id"]


def study() -> Study:
    """Without a pruner, whose decisions depend on what has ended before."""
    return small_study(search={"trials": 6, "sampler": {"type": "tpe", "n_startup_trials": 3}})


@cache
def _trials() -> list[EndedTrial]:
    return run_all(Planner(study()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "s"
    with Ledger(folder, study(), CODE) as ledger:
        write(ledger, _trials())
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "s", symlinks=True))


def _compacted(folder: Path) -> None:
    before, ledgers.COMPACT_ABOVE = ledgers.COMPACT_ABOVE, 0
    try:
        with Ledger(folder, study(), CODE):
            pass
    finally:
        ledgers.COMPACT_ABOVE = before


def go_on(folder: Path) -> list[str]:
    """What ``wst tune`` does, with synthetic trials; the ids of those that ran."""
    ran = []
    with Ledger(folder, study(), CODE) as ledger:
        planner = Planner(study(), *history(folder))
        while not planner.done:
            intent = planner.ask()
            assert intent is not None
            ledger.add_intent(intent)
            trial = EndedTrial(intent, run_one(planner, intent))
            if trial.outcome.test_images is not None and not ledger.reads(intent.trial_id):
                ledger.add_read(read_of(trial))
            ledger.add_trial(intent, trial.outcome)
            ran.append(intent.trial_id)
    return ran


def _tables(folder: Path) -> dict[str, list[dict[str, object]]]:
    found = {}
    for table, keys in (
        ("trials", ["trial_id"]),
        ("epochs", ["trial_id", "epoch"]),
        ("intents", ["trial_id"]),
        ("reads", ["trial_id"]),
    ):
        frame = read_table(folder, table).to_pandas().astype({"study": object})
        frame = frame.drop(columns=VARYING, errors="ignore").sort_values(keys)
        if table == "intents":
            frame["hyperparameters"] = [
                json.dumps(json.loads(t), sort_keys=True) for t in frame["hyperparameters"]
            ]
        found[table] = json.loads(frame.to_json(orient="records"))
    return found


def _part(folder: Path, table: str, trial_id: str) -> Path:
    (path,) = (folder / "ledger" / table).glob(f"{trial_id}*.parquet")
    return path


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _flip(path: Path) -> None:
    """A byte of a number, in the middle of the pages."""
    content = bytearray(path.read_bytes())
    place = content.find(b"PAR1", 4) // 3
    content[place : place + 64] = bytes(255 - byte for byte in content[place : place + 64])
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _truncate,
    "emptied": lambda path: path.write_bytes(b""),
    "flipped": _flip,
    "of something else": lambda path: pq.write_table(pa.table({"x": [1]}), path),
}


@pytest.mark.slow
@pytest.mark.parametrize("trial_id", [SEARCHED, FINAL])
@pytest.mark.parametrize("table", ["trials", "epochs", "intents"])
@pytest.mark.parametrize("how", list(DAMAGES))
def test_a_damaged_fragment_is_named_laid_aside_and_made_good(
    how: str, table: str, trial_id: str, copy: Path, whole: Path
) -> None:
    part = _part(copy, table, trial_id)
    DAMAGES[how](part)
    content = part.read_bytes()
    for use in (history, status_rows, chosen_settings, lambda f: Ledger(f, study(), CODE)):
        with pytest.raises(InputError, match="wst repair") as raised:
            use(copy)
        assert f"ledger/{table}/{trial_id}.parquet" in str(raised.value)
        assert "\n" not in str(raised.value) and "remove it" not in str(raised.value)
    made, aside = repair(copy)
    assert aside is not None and (aside / "ledger" / table / part.name).read_bytes() == content
    (finding,) = made.findings
    assert finding.path == f"ledger/{table}/{trial_id}.parquet" and trial_id in finding.meaning
    ran = go_on(copy)
    assert ran == ([] if table == "intents" else [trial_id])
    if table != "intents":
        assert "wst tune runs it again under the same settings and seed" in finding.meaning
        assert ("reads the test split once more, and reads are counted" in finding.meaning) == (
            trial_id == FINAL
        )
    assert _tables(copy) == _tables(whole)


@pytest.mark.slow
@pytest.mark.parametrize("trial_id", [SEARCHED, FINAL])
@pytest.mark.parametrize("table", ["trials", "epochs", "intents"])
def test_a_removed_fragment_likewise(table: str, trial_id: str, copy: Path, whole: Path) -> None:
    _part(copy, table, trial_id).unlink()
    if table == "trials":  # as if it had not ended
        assert go_on(copy) == [trial_id]
    else:
        for use in (history, status_rows, lambda folder: Ledger(folder, study(), CODE)):
            with pytest.raises(InputError, match=rf"{table}/{trial_id}\.parquet: expected rows, curves"):
                use(copy)
        _, aside = repair(copy)
        assert aside is not None
        if table == "epochs":
            assert pq.read_table(aside / "rows-of-trials.parquet")["trial_id"].to_pylist() == [trial_id]
        assert go_on(copy) == ([] if table == "intents" else [trial_id])
    assert _tables(copy) == _tables(whole)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["trials", "epochs", "intents", "reads"])
def test_a_damaged_file_of_many_trials_likewise(table: str, copy: Path, whole: Path) -> None:
    _compacted(copy)
    (file,) = (copy / "ledger" / table).glob("*.parquet")
    _truncate(file)
    with (
        pytest.raises(InputError, match=f"ledger/{table}/compacted-.*wst repair"),
        Ledger(copy, study(), CODE),
    ):
        pass
    _, aside = repair(copy)
    assert aside is not None and (aside / "ledger" / table / file.name).exists()
    ran = go_on(copy)
    assert len(ran) == (len(_trials()) if table in ("trials", "epochs") else 0)
    found, expected = _tables(copy), _tables(whole)
    if table == "reads":  # their rows show them
        assert all(read["purpose"] == "known from the trial's row alone" for read in found.pop("reads"))
        assert all_reads(copy).num_rows == len(expected.pop("reads"))
    assert found == expected


def test_a_damaged_read_comes_back_from_the_users_log(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wst.ledger.reads import count_reads, logging

    monkeypatch.setenv("WST_CACHE", str(copy / "cache"))
    trial = next(trial for trial in _trials() if trial.intent.trial_id == FINAL)
    with logging("small", copy) as log:
        log(read_of(trial))
    part = _part(copy, "reads", FINAL)
    _truncate(part)
    made, _ = repair(copy)
    assert [finding.meaning for finding in made.findings] == ["the read is made again from the log of reads"]
    shutil.rmtree(copy / "cache")
    assert read_of(trial).read_id in all_reads(copy)["read_id"].to_pylist()
    assert count_reads([copy])["digits"].own == 4


def test_nobody_gets_the_name_of_a_trial_whose_intent_is_lost(copy: Path) -> None:
    """The row that was overwritten once."""
    rows = sorted(read_table(copy, "trials").to_pylist(), key=str)
    _part(copy, "intents", SEARCHED).unlink()
    bigger = study().model_copy(update={"search": study().search.model_copy(update={"trials": 7})})  # type: ignore[union-attr]
    with pytest.raises(InputError, match=SEARCHED):
        Ledger(copy, bigger, CODE)
    repair(copy)
    with Ledger(copy, bigger, CODE):
        planner = Planner(bigger, *history(copy))
        asked = planner.ask()
    assert asked is not None and asked.number == 6
    assert sorted(read_table(copy, "trials").to_pylist(), key=str) == rows


def test_intent_and_row_lost_the_search_asks_for_one_in_its_place(copy: Path) -> None:
    """With children, whose settings would be another trial's."""
    first = next(t.intent.parent for t in _trials() if t.intent.trial_id == FINAL)
    assert first is not None
    for table in ("trials", "intents", "epochs"):
        _part(copy, table, first).unlink()
    with pytest.raises(InputError, match=f"the trial whose settings it has, {first}, is missing"):
        Ledger(copy, study(), CODE)
    _, aside = repair(copy)
    assert aside is not None and len(pq.read_table(aside / "rows-of-trials.parquet")) == 2
    ran = go_on(copy)
    assert ran[0] == first and len(ran) >= 3
    counts = (
        pd.Series(read_table(copy, "trials")["trial_id"].to_pylist())
        .str.rsplit(".", n=1)
        .str[0]
        .value_counts()
    )
    assert counts["digits.wst-r2.search"] == 6


def _swap(copy: Path) -> None:
    one, other = _part(copy, "trials", SEARCHED), _part(copy, "trials", FINAL)
    one.rename(copy / "x")
    other.rename(one)
    (copy / "x").rename(other)


def _double_curve(copy: Path) -> None:
    path = _part(copy, "epochs", SEARCHED)
    rows = pq.read_table(path)
    pq.write_table(pa.concat_tables([rows, rows]), path)


def _copy_row(copy: Path) -> None:
    shutil.copy(_part(copy, "trials", "digits.wst-r2.search.0002"), _part(copy, "trials", SEARCHED))


def _of_other_settings(copy: Path) -> None:
    path = _part(copy, "trials", SEARCHED)
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("seed")
    pq.write_table(rows.set_column(place, rows.schema.field(place), pa.array([77], pa.int64())), path)


def _stray(copy: Path) -> None:
    (copy / "ledger" / "trials" / "notes.parquet~").write_text("mine")
    _truncate(_part(copy, "epochs", SEARCHED))


@pytest.mark.parametrize("damage", [_swap, _double_curve, _copy_row, _of_other_settings, _stray])
def test_what_does_not_agree_is_put_right(damage: Callable[[Path], None], copy: Path, whole: Path) -> None:
    damage(copy)
    with pytest.raises(InputError, match="wst repair") as raised:
        Ledger(copy, study(), CODE)
    assert "digits.wst-r2" in str(raised.value)
    repair(copy)
    assert len(go_on(copy)) <= 2
    assert _tables(copy) == _tables(whole)
    assert repair(copy)[1] is None


def test_a_removed_file_of_many_rows_is_missed(copy: Path, whole: Path) -> None:
    """A curve without a row is left from a kill, but not where curves of several trials lie together."""
    _compacted(copy)
    (file,) = (copy / "ledger" / "trials").glob("*.parquet")
    file.unlink()
    first = _trials()[0].intent.trial_id
    for use in (history, status_rows, lambda folder: Ledger(folder, study(), CODE)):
        with pytest.raises(InputError, match=r"ledger/trials/.*its row is missing, and .*wst repair"):
            use(copy)
    made, aside = repair(copy)
    meanings = {finding.path: finding.meaning for finding in made.findings}
    assert meanings[f"ledger/trials/{first}.parquet"].startswith(f"{first}: wst tune runs it again")
    assert aside is not None and (aside / "rows-of-epochs.parquet").exists()
    assert len(go_on(copy)) == len(_trials())
    assert _tables(copy) == _tables(whole)


def test_a_column_that_is_not_the_studys_is_not_left_out(copy: Path, whole: Path) -> None:
    """As after one byte of a name has changed, which no checksum of Parquet's is over."""
    _compacted(copy)
    (file,) = (copy / "ledger" / "trials").glob("*.parquet")
    content = file.read_bytes()
    assert b"val_top1_best" in content
    file.write_bytes(content.replace(b"val_top1_best", b"va|_top1_best"))
    changed = file.read_bytes()
    named = r"ledger/trials/compacted-\w+\.parquet: expected the columns .* found .va._top1_best"
    with pytest.raises(InputError, match=named):
        Ledger(copy, study(), CODE)
    assert file.read_bytes() == changed
    made, _ = repair(copy)
    assert made.findings[0].path == f"ledger/trials/{file.name}"
    assert len(go_on(copy)) == len(_trials())
    assert _tables(copy) == _tables(whole)


def test_files_of_two_tables_that_were_exchanged_are_put_back(copy: Path, whole: Path) -> None:
    _compacted(copy)
    (rows,), (intents,) = ((copy / "ledger" / table).glob("*.parquet") for table in ("trials", "intents"))
    content = rows.read_bytes()
    rows.write_bytes(intents.read_bytes())
    intents.write_bytes(content)
    with pytest.raises(InputError, match=r"ledger/trials/compacted-.*: expected rows of the table trials"):
        history(copy)
    made, _ = repair(copy)
    assert {(f.path.split("/")[1], f.found) for f in made.findings} == {
        ("trials", "it is a file of the table intents"),
        ("intents", "it is a file of the table trials"),
    }
    assert go_on(copy) == [] and _tables(copy) == _tables(whole)


def _file(path: Path) -> None:
    path.write_text("ledger-1")


def _elsewhere(path: Path) -> None:
    path.with_name("other").mkdir()
    path.symlink_to("other")


@pytest.mark.parametrize("put", [_file, Path.mkdir, _elsewhere])
def test_what_lies_in_the_ledgers_place_costs_nothing(
    put: Callable[[Path], None], copy: Path, whole: Path
) -> None:
    ledger = copy / "ledger"
    ledger.unlink()
    put(ledger)
    for use in (history, status_rows, lambda folder: Ledger(folder, study(), CODE)):
        with pytest.raises(InputError, match=r"s/ledger(/\w+)?: expected .*[(]wst repair"):
            use(copy)
    made, aside = repair(copy)
    assert [(f.path, f.meaning) for f in made.findings] == [("ledger", "ledger-1 takes its place")]
    assert aside is not None and os.path.lexists(aside / "ledger")
    assert go_on(copy) == [] and _tables(copy) == _tables(whole)


def test_a_link_to_nothing(copy: Path, whole: Path) -> None:
    shutil.rmtree(copy / "ledger-1")
    with pytest.raises(InputError, match="wst repair"):
        Ledger(copy, study(), CODE)
    made, aside = repair(copy)
    assert "every row, curve and intent is lost" in made.findings[0].meaning
    assert aside is not None and (aside / "ledger").is_symlink()
    go_on(copy)
    assert _tables(copy) == _tables(whole)


def test_a_missing_link_and_a_missing_table(copy: Path, whole: Path) -> None:
    (copy / "ledger").unlink()
    shutil.rmtree(copy / "ledger-1" / "epochs")
    made, _ = repair(copy)
    assert [finding.path for finding in made.findings][:2] == ["ledger", "ledger-1/epochs"]
    go_on(copy)
    assert _tables(copy) == _tables(whole)


def test_a_damaged_study_file_is_given_again(copy: Path, whole: Path) -> None:
    text = (copy / "study.yaml").read_text()
    (copy / "study.yaml").write_text(text[: len(text) // 3] + "\n  : [")
    for use in (status_rows, lambda folder: Ledger(folder, study(), CODE)):
        with pytest.raises(InputError, match=r"wst repair .* then give wst tune the study's file again"):
            use(copy)
    _, aside = repair(copy)
    assert aside is not None and (aside / "study.yaml").exists() and not (copy / "study.yaml").exists()
    other = small_study(recipe={"epochs": 5, "warmup_epochs": 1})
    same = partial(check_rows, copy, other, environment(copy, other).fingerprint, stage_seeds(other))
    with pytest.raises(InputError, match=r"recipe\.epochs"):
        Ledger(copy, other, CODE, same)
    assert not (copy / "study.yaml").exists()
    assert go_on(copy) == [] and (copy / "study.yaml").read_text() == text
    assert _tables(copy) == _tables(whole)


def test_a_dry_run_changes_nothing_and_a_whole_ledger_stays(copy: Path) -> None:
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert repair(copy)[0].findings == [] and repair(copy)[1] is None
    _truncate(_part(copy, "epochs", FINAL))
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    made, aside = repair(copy, dry_run=True)
    assert made.findings and aside is None
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_two_repairs_in_a_second_lay_aside_in_two_folders(copy: Path) -> None:
    folders = set()
    for _ in range(2):
        _truncate(next((copy / "ledger" / "epochs").glob("*.parquet")))
        folders.add(repair(copy)[1])
        go_on(copy)
    assert len(folders) == 2 and len(list(copy.glob("damaged-*"))) == 2


def test_it_holds_the_lock_and_refuses_what_is_no_study(copy: Path, tmp_path: Path) -> None:
    with Ledger(copy, study(), CODE), pytest.raises(InputError, match="no other process"):
        repair(copy)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="expected a study's output folder"):
        repair(tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


def test_a_row_is_never_replaced_by_another_configuration(copy: Path) -> None:
    trial = next(trial for trial in _trials() if trial.intent.trial_id == SEARCHED)
    with Ledger(copy, study(), CODE) as ledger:
        for change in ({"hyperparameters": {**trial.intent.hyperparameters, "lr": 0.5}}, {"seed": 9}):
            other = replace(trial.intent, **change)  # type: ignore[arg-type]
            with pytest.raises(InputError, match=f"expected {SEARCHED} with the settings"):
                ledger.add_trial(other, trial.outcome)
            with pytest.raises(InputError, match=f"expected {SEARCHED} with the settings"):
                ledger.add_intent(other)

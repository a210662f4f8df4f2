"""Reading ledgers: columns, several studies, and ledgers that are broken, empty or too new."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.ablation import read_ablation
from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.table import as_table
from analysis.load import common_suite, load, studies_of
from analysis.results import candidates
from tests.analysis.ledgers import CODE, Writer, alpha_study, beta_study
from tests.data.trees import class_folders
from wst.errors import InputError
from wst.ledger import Ledger
from wst.ledger.reading import batches
from wst.ledger.schema import SCHEMA_VERSION


def test_tables_of_several_studies_stand_below_each_other(alpha: Path, beta: Path) -> None:
    trials = load([alpha, beta])
    assert trials.groupby("study").size().to_dict() == {"alpha": 24 + 40, "beta": 20}
    assert trials.loc[trials["study"] == "beta", "hp_scale"].isna().all()
    assert len(load([alpha], "intents")) == 64
    # 4 tasks x (5 search trials that ran, 2 epochs each) and 37 final trials that ran
    assert len(load([alpha], "epochs")) == (4 * 5 + 37) * 2


def test_columns_and_rows_on_request(alpha: Path, beta: Path) -> None:
    where = pc.field("stage") == "final"
    found = load([alpha, beta], columns=["task", "hp_scale", "hp_later"], where=where)
    assert list(found.columns) == ["task", "hp_scale", "hp_later"]
    assert len(found) == 60
    assert found["hp_later"].isna().all()


def test_batches_are_the_same_rows(alpha: Path) -> None:
    rows = sum(batch.num_rows for batch in batches(alpha, "epochs", ["epoch"], pc.field("epoch") == 1))
    assert rows == 4 * 5 + 37


def _copy(alpha: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(alpha, tmp_path / "copy"))


def test_a_half_written_file_is_named(in_many_files: Path, tmp_path: Path) -> None:
    folder = _copy(in_many_files, tmp_path)
    victim = folder / "ledger" / "trials" / "digits.base.final.0000.parquet"
    victim.write_bytes(victim.read_bytes()[:500])
    with pytest.raises(
        InputError, match=r"digits\.base\.final\.0000\.parquet: expected a whole Parquet file"
    ):
        read_leaderboard([folder])


def test_a_newer_schema_is_refused(in_many_files: Path, tmp_path: Path) -> None:
    folder = _copy(in_many_files, tmp_path)
    newest = folder / "ledger" / "trials" / "sprite_ori.lin.final.0001.parquet"
    table = pq.read_table(newest)
    version = {"wst_schema_version": str(SCHEMA_VERSION + 1)}
    pq.write_table(table.replace_schema_metadata(version), newest)
    expected = f"expected schema version {SCHEMA_VERSION} or older; found {SCHEMA_VERSION + 1}"
    with pytest.raises(InputError, match=expected):
        read_leaderboard([folder])


def test_an_empty_ledger_gives_an_empty_leaderboard(tmp_path: Path) -> None:
    with Ledger(tmp_path / "empty", alpha_study(), CODE):
        pass
    assert len(load([tmp_path / "empty"])) == 0
    assert as_table(read_leaderboard([tmp_path / "empty"])).rows == []
    with pytest.raises(InputError, match="expected at least two variants"):
        read_ablation([tmp_path / "empty"])


def test_what_is_no_study_is_named(tmp_path: Path, alpha: Path) -> None:
    with pytest.raises(InputError, match=r"found no study\.yaml"):
        load([tmp_path])
    shutil.copy(alpha / "study.yaml", tmp_path)
    with pytest.raises(InputError, match="found no ledger in it"):
        load([tmp_path])
    with pytest.raises(InputError, match="expected studies of different names; found 'alpha' twice"):
        load([alpha, alpha])


def test_a_malicious_study_name_is_refused_in_one_line(alpha: Path, tmp_path: Path) -> None:
    folder = _copy(alpha, tmp_path)
    file = folder / "study.yaml"
    file.write_text(file.read_text().replace("name: alpha", "name: <script>alert(1)</script>"))
    with pytest.raises(InputError, match=r"study\.yaml: name: expected a name .*; found '<script>") as error:
        load([folder])
    assert "\n" not in str(error.value)


def test_rows_of_another_study_are_refused(in_many_files: Path, tmp_path: Path) -> None:
    folder = _copy(in_many_files, tmp_path)
    file = folder / "ledger" / "trials" / "digits.lin.final.0000.parquet"
    table = pq.read_table(file)
    column = pa.array(["<script>"], pa.string())
    renamed = table.set_column(table.schema.get_field_index("study"), table.schema.field("study"), column)
    pq.write_table(renamed, file)
    with pytest.raises(InputError, match="expected rows of study 'alpha'; found some of '<script>'"):
        read_leaderboard([folder])


def test_suites_do_not_mix(tmp_path: Path, alpha: Path) -> None:
    other = beta_study(suite="vtab1k", tasks=["dtd"])
    with Ledger(tmp_path / "vtab", other, CODE):
        pass
    folders = [alpha, tmp_path / "vtab"]
    with pytest.raises(InputError, match=r"expected one suite.*found mini, vtab1k"):
        common_suite(studies_of(folders), folders)


def _pets(folder: Path, name: str, data: str = "", task: str = "pets") -> Path:
    """A ledger of one final trial on a suite ``pets`` of its own beside it."""
    suite = class_folders(folder / name / task, {"cat": 4, "dog": 4})
    study = beta_study(name=name, suite=str(suite), tasks=[task])
    writer = Writer(folder / name / "out", study, data)
    with writer.ledger:
        writer.finals({"wst5": {task: [90, 91]}})
    return folder / name / "out"


def test_equal_bytes_under_two_paths_are_one_suite(tmp_path: Path) -> None:
    folders = [_pets(tmp_path, "one"), _pets(tmp_path, "two")]
    assert [task.name for task in common_suite(studies_of(folders), folders).tasks] == ["pets"]
    assert len(read_leaderboard(folders).rows) == 2
    shutil.rmtree(tmp_path / "one" / "pets")  # of one, the images are elsewhere
    assert common_suite(studies_of(folders), folders).location == tmp_path / "two"
    for other in (_pets(tmp_path, "three", "-other"), _pets(tmp_path, "four", task="birds")):
        both = [folders[0], other]
        with pytest.raises(InputError, match="expected one suite"):
            common_suite(studies_of(both), both)


def test_a_completed_trial_without_numbers_has_failed_and_ranks_nowhere(
    extended: Path, tmp_path: Path
) -> None:
    """As an older version wrote it: an accuracy beside a loss that is not a number."""
    folder = Path(shutil.copytree(extended, tmp_path / "copy"))
    searches = load([folder], where=(pc.field("stage") == "search") & (pc.field("state") == "completed"))
    best = searches.sort_values("val_top1_last").iloc[-1]["trial_id"]
    for path in (folder / "ledger" / "trials").iterdir():
        table = pq.read_table(path)
        broken = pc.equal(table["trial_id"], best)
        loss = pc.if_else(broken, float("nan"), table["val_loss"])
        place = table.schema.get_field_index("val_loss")
        pq.write_table(table.set_column(place, table.schema.field(place), loss), path)
    for columns in (None, ["trial_id", "state"]):
        states = load([folder], columns=columns).set_index("trial_id")["state"]
        assert states[best] == "failed"
        assert (states.drop(best) == load([extended]).set_index("trial_id")["state"].drop(best)).all()
    assert list(load([folder], columns=["trial_id", "state"]).columns) == ["trial_id", "state"]
    studies = studies_of([folder])
    before, after = (candidates(load([f]), studies)["trial_id"].tolist() for f in (extended, folder))
    assert best in before and best not in after

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import duckdb
import pandas as pd
import polars
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.conftest import LR, small_study
from tests.ledger.processes import CODE, write, write_for_ever
from tests.synthetic import run_all
from wst.errors import InputError
from wst.ledger import Ledger, history, read_table, resolved_study
from wst.ledger.schema import SCHEMA_VERSION, TABLES
from wst.planning.planner import Planner
from wst.records import EndedTrial

# The columns that the design asks for from the start.
DESIGNED = [
    "study",
    "trial_id",
    "suite",
    "task",
    "group",
    "variant",
    "stage",
    "number",
    "parent",
    "reason",
    "seed",
    "ask_order",
    "attempts",
    "method",
    "backbone",
    "checkpoint_hash",
    "normalisation",
    "recipe_hash",
    "configuration",
    "state",
    "error_type",
    "error_text",
    "epochs",
    "val_top1_last",
    "val_top1_best",
    "val_loss",
    "train_loss",
    "test_top1",
    "test_images",
    "trainable_parameters",
    "head_parameters",
    "total_parameters",
    "train_seconds",
    "eval_seconds",
    "wall_seconds",
    "images_per_second",
    "peak_memory",
    "device",
    "precision",
    "steps",
    "node",
    "slot",
    "pass_id",
    "pass_size",
    "data_hash",
    "tuning_hash",
    "val_overlap",
    "test_overlap",
    "data_warnings",
    "test_hash",
    "preprocessing",
    "code_version",
    "code_commit",
    "library_versions",
    "started",
    "ended",
    "schema_version",
]


@cache
def small_trials() -> list[EndedTrial]:
    """All 16 trials of the small study."""
    return run_all(Planner(small_study()))


def _filled(folder: Path) -> list[EndedTrial]:
    with Ledger(folder, small_study(), CODE) as ledger:
        write(ledger, small_trials())
    return small_trials()


def test_history_gives_back_what_was_written(tmp_path: Path) -> None:
    ended = _filled(tmp_path / "s")
    intents, again = history(tmp_path / "s")
    assert [i.trial_id for i in intents] == [t.intent.trial_id for t in ended]
    assert [t.outcome.epochs for t in again] == [t.outcome.epochs for t in ended]
    assert [t.outcome.state for t in again] == [t.outcome.state for t in ended]
    assert [t.intent.hyperparameters for t in again] == [t.intent.hyperparameters for t in ended]
    assert resolved_study(tmp_path / "s") == small_study()


def test_study_goes_on_from_a_ledger_cut_at_any_point(tmp_path: Path) -> None:
    study = small_study()
    whole = small_trials()
    for cut in (0, 5, len(whole) - 1):
        folder = tmp_path / str(cut)
        with Ledger(folder, study, CODE) as ledger:
            write(ledger, whole[:cut])
            ledger.add_intent(whole[cut].intent)  # begun, not ended
        rest = run_all(Planner(study, *history(folder)))
        assert [t.outcome for t in rest] == [t.outcome for t in whole[cut:]]
        assert [t.intent.hyperparameters for t in rest] == [t.intent.hyperparameters for t in whole[cut:]]


def test_three_foreign_readers_see_every_column_of_two_variants(tmp_path: Path) -> None:
    _filled(tmp_path / "s")
    where = tmp_path / "s" / "ledger" / "trials"
    frames = {
        "pandas": pd.read_parquet(where),
        "polars": polars.read_parquet(where / "*.parquet").to_pandas(),
        "duckdb": duckdb.sql(f"SELECT * FROM '{where}/*.parquet'").df(),
    }
    for frame in frames.values():
        assert set(frame.columns) == {
            *DESIGNED,
            "hp_lr",
            "hp_weight_decay",
            "hp_drop_path",
            "hp_scale",
            "hp_r",
        }
        assert len(frame) == frame["trial_id"].nunique() == 16
        linear = frame[frame["variant"] == "linear"]
        assert linear["hp_scale"].isna().all() and frame["hp_lr"].notna().all()


def test_schema_is_typed_commented_and_versioned(tmp_path: Path) -> None:
    _filled(tmp_path / "s")
    for table in TABLES:
        fragments = list((tmp_path / "s" / "ledger" / table).glob("*.parquet"))
        schemas = [pq.read_schema(path) for path in fragments]
        assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
        assert schemas[0].metadata[b"wst_schema_version"] == str(SCHEMA_VERSION).encode()
        assert all(field.metadata[b"description"] for field in schemas[0])
        assert not any(str(field.type) == "null" for field in schemas[0])


def test_foreign_readers_see_an_epochs_cell_and_stage(tmp_path: Path) -> None:
    ended = _filled(tmp_path / "s")
    where = tmp_path / "s" / "ledger" / "epochs"
    expected = {
        (t.intent.trial_id, t.intent.task, t.intent.variant, t.intent.stage): len(t.outcome.epochs)
        for t in ended
    }
    for frame in (
        pd.read_parquet(where),
        polars.read_parquet(where / "*.parquet").to_pandas(),
        duckdb.sql(f"SELECT * FROM '{where}/*.parquet'").df(),
    ):
        who = frame[["trial_id", "task", "variant", "stage"]].astype(str)
        assert who.value_counts().to_dict() == expected
    large = pd.read_parquet(where, filters=[("stage", "==", "final")])
    assert set(large["trial_id"]) == {t.intent.trial_id for t in ended if t.intent.stage == "final"}


def test_a_trials_configuration_is_everything_that_defines_it(tmp_path: Path) -> None:
    trial, study = _filled(tmp_path / "s")[0], small_study()
    where = pc.field("trial_id") == trial.intent.trial_id
    (found,) = read_table(tmp_path / "s", "trials", ["configuration"], where).to_pylist()
    assert json.loads(found["configuration"]) == {
        **{name: getattr(study, name) for name in ("suite", "backbone", "checkpoint", "pretrained")},
        **{name: getattr(study, name) for name in ("image_size", "normalisation", "background", "ties")},
        **{name: getattr(trial.intent, name) for name in ("task", "stage", "seed", "hyperparameters")},
        "method": study.variants[trial.intent.variant].method,
        "method_hash": None,
        "objectives": ["val_top1"],
        "recipe": study.recipe.model_dump(mode="json"),
    }


def test_writing_a_trial_again_replaces_it(tmp_path: Path) -> None:
    ended = _filled(tmp_path / "s")
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        ledger.add_trial(ended[0].intent, ended[0].outcome)
    assert len(read_table(tmp_path / "s", "trials")) == len(ended)


def test_epochs_without_their_row_do_not_count_as_a_trial(tmp_path: Path) -> None:
    ended = _filled(tmp_path / "s")
    lost = ended[3].intent.trial_id
    (tmp_path / "s" / "ledger" / "trials" / f"{lost}.parquet").unlink()
    _, again = history(tmp_path / "s")
    assert lost not in {t.intent.trial_id for t in again}
    assert len(again) == len(ended) - 1


def test_left_over_partial_files_are_cleared_and_never_read(tmp_path: Path) -> None:
    _filled(tmp_path / "s")
    partial = tmp_path / "s" / "ledger" / ".partial" / "trials-x.parquet"
    partial.write_bytes(b"PAR1 half a file")
    assert len(pd.read_parquet(tmp_path / "s" / "ledger" / "trials")) == 16
    with Ledger(tmp_path / "s", small_study(), CODE):
        assert not partial.exists()


def test_folder_of_another_study_is_refused_with_the_difference(tmp_path: Path) -> None:
    _filled(tmp_path / "s")
    before = sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "s").rglob("*") if p.is_file())
    other = small_study(recipe={"epochs": 5, "warmup_epochs": 1})
    with pytest.raises(InputError, match=r"recipe\.epochs: has 4, asked for 5; choose another --out"):
        Ledger(tmp_path / "s", other, CODE)
    assert sorted((p, p.stat().st_mtime_ns) for p in (tmp_path / "s").rglob("*") if p.is_file()) == before


def test_resources_may_change_between_runs(tmp_path: Path) -> None:
    _filled(tmp_path / "s")
    with Ledger(tmp_path / "s", small_study(resources={"slots": 7}), CODE):
        assert resolved_study(tmp_path / "s").resources.slots == 7


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="found other files"):
        Ledger(tmp_path, small_study(), CODE)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_second_writer_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    with Ledger(tmp_path / "s", small_study(), CODE), pytest.raises(InputError, match="no other process"):
        Ledger(tmp_path / "s", small_study(), CODE)
    with Ledger(tmp_path / "s", small_study(), CODE):
        pass


@pytest.mark.slow
def test_reader_beside_a_killed_writer_sees_whole_rows_only(tmp_path: Path) -> None:
    ended = small_trials()
    writer = multiprocessing.get_context("spawn").Process(
        target=write_for_ever, args=(tmp_path / "s", small_study(), ended)
    )
    writer.start()
    where = tmp_path / "s" / "ledger" / "trials"
    deadline = time.monotonic() + 60
    sizes = []
    while (len(sizes) < 20 or sizes[-1] < len(ended)) and time.monotonic() < deadline:
        time.sleep(0.001)
        if where.is_dir() and any(where.iterdir()):
            frame = pd.read_parquet(where)
            assert frame["trial_id"].is_unique
            assert frame["state"].notna().all() and (frame["schema_version"] == SCHEMA_VERSION).all()
            sizes.append(len(frame))
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert sizes == sorted(sizes) and sizes[-1] == len(ended)
    with Ledger(tmp_path / "s", small_study(), CODE):  # the lock died with its process
        assert len(history(tmp_path / "s")[1]) == len(ended)


def test_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _filled(tmp_path / "s")
    monkeypatch.setattr("wst.ledger.reading.SCHEMA_VERSION", 0)
    with pytest.raises(InputError, match="expected schema version 0 or older; found 1"):
        read_table(tmp_path / "s", "trials")


def test_folder_without_a_ledger_gets_a_clear_line(tmp_path: Path) -> None:
    for call in (lambda: read_table(tmp_path, "trials"), lambda: resolved_study(tmp_path)):
        with pytest.raises(InputError, match="expected a study's output folder"):
            call()


def test_hyperparameters_keep_the_types_of_the_signature(tmp_path: Path) -> None:
    """A whole number for a real one, a text, a truth value, and one value for each block."""
    own = tmp_path / "own.py"
    own.write_text(
        "def adapt(backbone, *, k: int = 0, mix: float = 0.0, kind: str = '', on: bool = False,"
        " sizes: tuple[int, ...] = (1,)):\n    return backbone\n"
    )
    fixed = {"k": 3, "mix": 1, "kind": "x", "on": True, "sizes": [1, 2]}
    variants: dict[str, Any] = {"a": {"method": str(own), "space": {"lr": LR}, "fixed": fixed}}
    study = small_study(variants=variants)
    ended = run_all(Planner(study), stop_after=1)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        write(ledger, ended)
    frame = pd.read_parquet(tmp_path / "s" / "ledger" / "trials")
    row = frame.iloc[0]
    assert (row["hp_k"], row["hp_mix"], row["hp_kind"], row["hp_on"]) == (3, 1.0, "x", True)
    assert list(row["hp_sizes"]) == [1, 2]
    kinds = {str(f.name): str(f.type) for f in read_table(tmp_path / "s", "trials").schema}
    assert kinds["hp_sizes"].startswith("list") and kinds["hp_mix"] == "double" and kinds["hp_k"] == "int64"
    assert history(tmp_path / "s")[1][0].intent == dataclasses.replace(ended[0].intent, time=ANY)


def test_one_name_has_one_type(tmp_path: Path) -> None:
    for name, kind in (("one", "int"), ("two", "float")):
        text = f"def adapt(backbone, *, k: {kind} = 1):\n    return backbone\n"
        (tmp_path / f"{name}.py").write_text(text)
    variants = {
        name: {"method": str(tmp_path / f"{name}.py"), "fixed": {"lr": 0.1, "k": 1}}
        for name in ("one", "two")
    }
    with pytest.raises(InputError, match=r"'k': expected one type .*; found int64 in .*double in"):
        Ledger(tmp_path / "s", small_study(variants=variants, search=None), CODE)


def test_study_killed_before_it_began_can_begin(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".study.yaml").write_text("name: ha")
    _filled(tmp_path)
    assert len(history(tmp_path)[1]) == 16

"""What other programs get is what the ledger holds."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.conftest import small_study
from tests.ledger.processes import CODE, write
from tests.ledger.test_ledger import small_trials
from tests.synthetic import run_all
from wst.cli.export import export_app
from wst.errors import InputError
from wst.export.optuna import export_optuna
from wst.export.parquet import export_parquet
from wst.ledger import Ledger, history, resolved_study
from wst.ledger.schema import TABLES
from wst.planning.planner import Planner
from wst.records import EndedTrial, Outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study: one search trial failed, one was begun and has not ended."""
    where = tmp_path_factory.mktemp("export") / "s"
    trials = [
        replace(t, outcome=replace(t.outcome, trainable_parameters=64, wall_seconds=2.5))
        for t in small_trials()
    ]
    trials[4] = EndedTrial(trials[4].intent, Outcome("failed", error_type="ValueError", error_text="no"))
    with Ledger(where, small_study(), CODE) as ledger:
        write(ledger, [*trials[:8], *trials[9:]])
        ledger.add_intent(trials[8].intent)
    return where


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_parquet_export_holds_the_tables(folder: Path, scheme: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "place"
    export_parquet(folder, f"{scheme}{target}")
    assert sorted(path.name for path in target.iterdir()) == [
        "epochs.parquet",
        "intents.parquet",
        "reads.parquet",
        "study.yaml",
        "trials.parquet",
    ]
    for table in TABLES:
        frame, again = (
            pd.read_parquet(folder / "ledger" / table),
            pd.read_parquet(target / f"{table}.parquet"),
        )
        keys = [key for key in ("trial_id", "epoch") if key in frame]
        pd.testing.assert_frame_equal(
            again.sort_values(keys, ignore_index=True), frame.sort_values(keys, ignore_index=True)
        )
    assert pd.read_parquet(target / "trials.parquet")["ask_order"].is_monotonic_increasing
    assert resolved_study(target) == resolved_study(folder)


def test_parquet_export_overwrites_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"expected a new or empty folder; found 'thesis\.tex' in it"):
        export_parquet(folder, str(tmp_path))
    with pytest.raises(InputError, match="expected a new or empty folder; found a file"):
        export_parquet(folder, f"file://{tmp_path}/thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("url", ["ftp://host/x", "nonsense://x", "://"])
def test_an_unknown_scheme_gets_one_line(folder: Path, url: str) -> None:
    with pytest.raises(InputError, match="expected a path or a URL of a file system that pyarrow") as error:
        export_parquet(folder, url)
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_to_gets_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a place to write to; found") as error:
        export_parquet(folder, str(tmp_path / "file" / "below"))
    assert "\n" not in str(error.value)


def test_optuna_loads_every_search_back(folder: Path, tmp_path: Path) -> None:
    written = export_optuna(folder, tmp_path / "study.db")
    assert written == {"small.digits.linear": 6, "small.digits.wst-r2": 6}
    assert [path.name for path in tmp_path.iterdir()] == ["study.db"]
    intents, ended = history(folder)
    outcomes = {trial.intent.trial_id: trial.outcome for trial in ended}
    states = {"completed": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", None: "RUNNING"}
    seen = set()
    for name in written:
        study = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study.db")
        variant = name.rsplit(".")[-1]
        asked = [i for i in intents if (i.variant, i.stage) == (variant, "search")]
        assert [t.user_attrs["trial_id"] for t in study.trials] == [i.trial_id for i in asked]
        assert study.user_attrs["fixed"] == small_study().variants[variant].fixed
        for intent, trial in zip(asked, study.trials, strict=True):
            outcome = outcomes.get(intent.trial_id)
            assert trial.number == intent.number
            assert trial.state.name == states[outcome.state if outcome else None]
            seen.add(trial.state.name)
            space = small_study().variants[variant].space or {}
            assert trial.params == {k: intent.hyperparameters[k] for k in space}
            if outcome is None:
                continue
            assert trial.intermediate_values == {e.epoch: e.val_top1 for e in outcome.epochs}
            assert trial.user_attrs["wall_seconds"] == outcome.wall_seconds
            assert trial.user_attrs["trainable_parameters"] == outcome.trainable_parameters
            if outcome.state == "completed":
                assert trial.value == outcome.epochs[-1].val_top1
        complete = [t for t in study.trials if t.state.name == "COMPLETE"]
        assert study.best_value == max(t.value or 0 for t in complete)
    assert seen == {"COMPLETE", "PRUNED", "FAIL", "RUNNING"}


def test_optuna_studies_are_named_and_directed_as_the_planners(folder: Path, tmp_path: Path) -> None:
    search: dict[str, Any] = {"trials": 3, "objectives": ["val_top1", "trainable_parameters"]}
    study = small_study(search=search)
    planner = Planner(study)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        write(ledger, run_all(planner))
    storage = f"sqlite:///{tmp_path}/study.db"
    export_optuna(tmp_path / "s", tmp_path / "study.db")
    for cell in planner.cells.values():
        assert cell.search is not None
        inside = cell.search._optuna
        exported = optuna.load_study(study_name=inside.study_name, storage=storage)
        assert exported.directions == inside.directions
        assert [t.values for t in exported.trials] == [t.values for t in inside.trials]
        assert [t.params for t in exported.trials] == [t.params for t in inside.trials]
        assert [t.distributions for t in exported.trials] == [t.distributions for t in inside.trials]


def test_optuna_export_refuses_what_it_cannot_do(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("precious")
    with pytest.raises(InputError, match=r"study\.db: expected a new file; found one that exists"):
        export_optuna(folder, tmp_path / "study.db")
    assert (tmp_path / "study.db").read_text() == "precious"
    fixed = small_study(variants={"a": {"method": "linear", "fixed": {"lr": 0.1}}}, search=None)
    with Ledger(tmp_path / "s", fixed, CODE):
        pass
    with pytest.raises(InputError, match="expected a study with a search; found none"):
        export_optuna(tmp_path / "s", tmp_path / "other.db")


def test_commands_say_where_things_are(folder: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(export_app, ["parquet", str(folder), str(tmp_path / "p")])
    assert done.exit_code == 0 and f"tables: {tmp_path}/p" in done.stdout.replace("\n", "")
    done = runner.invoke(export_app, ["optuna", str(folder), "-o", str(tmp_path / "o.db")])
    assert done.exit_code == 0 and "small.digits.linear: 6 trials" in done.stdout
    assert (tmp_path / "p" / "trials.parquet").exists() and (tmp_path / "o.db").exists()


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of this process grow to 2 KiB and no further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_one_line_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study\.db: expected a database to write there; found: ") as error:
        export_optuna(folder, tmp_path / "study.db")
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []
    empty = tmp_path / "empty"
    empty.mkdir()
    for target in (tmp_path / "new" / "place", empty):
        with pytest.raises(InputError, match="expected a place to write to; found"):
            export_parquet(folder, str(target))
        assert list(tmp_path.iterdir()) == [empty] and list(empty.iterdir()) == []

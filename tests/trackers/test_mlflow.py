"""MLflow's own database, read back through its client."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.curves import curve
from wst.records import Intent, Outcome
from wst.trackers import Trackers, open_tracker

pytestmark = pytest.mark.slow


def _intent(number: int) -> Intent:
    settings = {"lr": 0.01, "downsampling": "dwt"}
    return Intent(
        f"digits.wst-r2.search.{number:04d}", "digits", "wst-r2", "search", number, number, 3, settings
    )


def _runs(folder: Path) -> dict[str, Any]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    names = {run.info.run_name: run for run in found}
    assert len(names) == len(found)
    return names


def _steps(folder: Path, run: Any, metric: str) -> list[int]:
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow/mlflow.db")
    return [point.step for point in client.get_metric_history(run.info.run_id, metric)]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


def test_a_study_that_goes_on_continues_its_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a study, 100% mine"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    ended, running = _intent(0), _intent(1)
    killed = open_tracker("mlflow", Path(folder.name), "mine")
    killed.start(ended)
    killed.start(running)
    killed.epochs(ended, curve(ended, 3))
    killed.end(ended, Outcome("completed", epochs=tuple(curve(ended, 3)), test_top1=0.5))
    killed.epochs(running, curve(running, 2))
    before = _runs(folder)
    assert before[running.trial_id].info.status == "RUNNING"
    assert _steps(folder, before[running.trial_id], "val_top1") == [1, 2]

    with Trackers([open_tracker("mlflow", folder, "mine")]) as trackers:
        trackers.start(running)
        trackers.epochs(running, curve(running, 4))
        trackers.end(running, Outcome("failed", error_type="ValueError"))
        trackers.start(_intent(2))
        trackers.ranked([{"variant": "wst-r2", "digits": 90.5, "digits std": None}])
    runs = _runs(folder)
    assert {name: run.info.status for name, run in runs.items()} == {
        "digits.wst-r2": "FINISHED",
        ended.trial_id: "FINISHED",
        running.trial_id: "FAILED",
        _intent(2).trial_id: "KILLED",
        "leaderboard": "FINISHED",
    }
    assert runs[running.trial_id].info.run_id == before[running.trial_id].info.run_id
    for metric in ("val_top1", "val_loss", "train_loss", "lr"):
        assert _steps(folder, runs[running.trial_id], metric) == [1, 2, 3, 4]
    data = runs[ended.trial_id].data
    assert data.params == {"lr": "0.01", "downsampling": "dwt"}
    assert data.metrics["test_top1"] == 0.5
    expected = {"task": "digits", "variant": "wst-r2", "stage": "search", "seed": "3", "state": "completed"}
    assert data.tags.items() >= expected.items()
    assert data.tags["mlflow.parentRunId"] == runs["digits.wst-r2"].info.run_id
    (board,) = folder.glob("mlflow/artifacts/*/artifacts/leaderboard.json")
    assert json.loads(board.read_text())["data"] == [["wst-r2", 90.5, None]]
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_server_that_does_not_answer_costs_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with (
        caplog.at_level(logging.WARNING, "wst"),
        Trackers([open_tracker("mlflow", tmp_path, "m")]) as trackers,
    ):
        for number in range(2):
            trackers.start(_intent(number))
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("wst")]
    assert line.startswith("tracker mlflow: MlflowException in start: ") and line.endswith("without it")

"""Writes a study for MLflow: a run a trial below a run a cell, in an experiment of the study's name.

Where the user names no server (``MLFLOW_TRACKING_URI``) it writes a database, ``mlflow/mlflow.db`` of the
study's folder.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

# Read when MLflow is imported or first used: no telemetry, and a study that does not wait long for a server.
for _name, _value in (
    ("MLFLOW_DISABLE_TELEMETRY", "true"),
    ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
    ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10"),
):
    os.environ.setdefault(_name, _value)

import mlflow  # noqa: E402
from mlflow.entities import Metric, Param  # noqa: E402
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID  # noqa: E402

from wst.records import Epoch, Intent, Outcome  # noqa: E402
from wst.trackers import Tracker, run_id  # noqa: E402

_METRICS = ("val_top1", "val_loss", "train_loss", "lr")
_TAG = "wst.run"
"""Tag by which a study that goes on finds its runs."""


class MLflow(Tracker):
    """Curves by epoch; task, variant, stage, seed and state are tags, hyperparameters are parameters."""

    def __init__(self, folder: Path, study: str):
        self._folder = folder
        self._name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or study
        self._local = not mlflow.is_tracking_uri_set()
        self._cells: dict[str, str] = {}
        self._runs: dict[str, str] = {}
        self._last: dict[str, int] = {}
        """Last epoch of each open run."""

    @cached_property
    def _client(self) -> mlflow.MlflowClient:
        uri = None
        if self._local:
            place = self._folder.absolute() / "mlflow"
            place.mkdir(exist_ok=True)
            uri = f"sqlite:///{place / 'mlflow.db'}"
        return mlflow.MlflowClient(uri)

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._name)
        if found is not None:
            return str(found.experiment_id)
        place = (self._folder / "mlflow" / "artifacts").absolute().as_uri() if self._local else None
        return str(self._client.create_experiment(self._name, artifact_location=place))

    def start(self, intent: Intent) -> None:
        """Open the trial's run, unless it is open: then the trial starts again."""
        if intent.trial_id in self._runs:
            return
        cell = {"task": intent.task, "variant": intent.variant}
        name = f"{intent.task}.{intent.variant}"
        if name not in self._cells:
            self._cells[name] = self._open(name, cell, {})
        tags = {**cell, "stage": intent.stage, "seed": intent.seed, MLFLOW_PARENT_RUN_ID: self._cells[name]}
        run = self._open(intent.trial_id, tags, intent.hyperparameters)
        self._runs[intent.trial_id] = run
        before = self._client.get_metric_history(run, "lr")
        self._last[run] = max((point.step for point in before), default=0)

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """Add points to the curves, without those that a run had before the study was stopped."""
        run, now = self._runs[intent.trial_id], int(1000 * time.time())
        points = [
            Metric(name, getattr(epoch, name), now, epoch.epoch)
            for epoch in epochs
            if epoch.epoch > self._last[run]
            for name in _METRICS
            if getattr(epoch, name) is not None
        ]
        self._client.log_batch(run, metrics=points)

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """Add how the trial ended, and close its run."""
        run = self._runs.pop(intent.trial_id)
        if outcome.test_top1 is not None:
            self._client.log_metric(run, "test_top1", outcome.test_top1, step=len(outcome.epochs))
        for name in ("state", "error_type"):
            if getattr(outcome, name) is not None:
                self._client.set_tag(run, name, getattr(outcome, name))
        self._client.set_terminated(run, "FAILED" if outcome.state == "failed" else "FINISHED")

    def ranked(self, rows: Sequence[Mapping[str, str | float | None]]) -> None:
        """Write the leaderboard as a table, in a run of its own."""
        run = self._open("leaderboard", {}, {})
        table = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
        self._client.log_dict(run, table, "leaderboard.json")
        self._client.set_terminated(run)

    def close(self) -> None:
        """Close the runs of the trials that have no end, and those of the cells."""
        while self._runs:
            self._client.set_terminated(self._runs.popitem()[1], "KILLED")
        while self._cells:
            self._client.set_terminated(self._cells.popitem()[1])

    def _open(self, name: str, tags: Mapping[str, object], parameters: Mapping[str, object]) -> str:
        """Make a run, or go on with the one that the study has of that name."""
        own = run_id(self._folder, name)
        for found in self._client.search_runs([self._experiment], f"tags.`{_TAG}` = '{own}'", max_results=1):
            self._client.update_run(found.info.run_id, "RUNNING")
            return str(found.info.run_id)
        texts = {_TAG: own} | {key: str(value) for key, value in tags.items()}
        run = str(self._client.create_run(self._experiment, run_name=name, tags=texts).info.run_id)
        self._client.log_batch(run, params=[Param(key, str(value)) for key, value in parameters.items()])
        return run


def tracker(folder: Path, study: str) -> Tracker:
    """On the user's server, or below ``folder``."""
    for library in ("mlflow", "alembic"):  # which tell what they do to a database
        logging.getLogger(library).setLevel(logging.WARNING)
    return MLflow(folder, study)

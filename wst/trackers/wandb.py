"""Writes a study for Weights & Biases: a run a trial, grouped by cell, in a project of the study's name.

Without a login it writes below ``wandb/`` of the study's folder, and nothing leaves the machine.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb

from wst.errors import InputError
from wst.records import Epoch, Intent, Outcome
from wst.trackers import Tracker, run_id

_log = logging.getLogger(__name__)
_FLUSH_S = 2.0
"""Seconds that a killed study may lose of a run."""
_PATIENCE_S = 30.0
"""Seconds that a study waits for W&B's servers, when a trial starts or ends."""
_METRICS = ("val_top1", "val_loss", "train_loss", "lr")


class WandB(Tracker):
    """Curves by epoch; a run's job type is its trial's stage."""

    def __init__(self, folder: Path, study: str, mode: str | None):
        self._folder, self._mode = folder, mode
        self._project = os.environ.get("WANDB_PROJECT") or study
        self._runs: dict[str, wandb.Run] = {}

    def start(self, intent: Intent) -> None:
        """Open the trial's run, unless it is open: then the trial starts again."""
        if intent.trial_id in self._runs:
            return
        where = {name: getattr(intent, name) for name in ("task", "variant", "stage", "seed")}
        self._runs[intent.trial_id] = self._open(
            intent.trial_id,
            group=f"{intent.task}.{intent.variant}",
            job_type=intent.stage,
            config=where | intent.hyperparameters,
        )

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """Add points to the curves; W&B drops those that an online run had before the study was stopped."""
        for epoch in epochs:
            measured = {name: getattr(epoch, name) for name in _METRICS if getattr(epoch, name) is not None}
            self._runs[intent.trial_id].log(measured, step=epoch.epoch, commit=True)

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """Add how the trial ended, and close its run."""
        run = self._runs.pop(intent.trial_id)
        ended = {name: getattr(outcome, name) for name in ("state", "error_type", "test_top1")}
        run.summary.update({name: value for name, value in ended.items() if value is not None})
        run.finish(exit_code=int(outcome.state == "failed"))

    def ranked(self, rows: Sequence[Mapping[str, str | float | None]]) -> None:
        """Write the leaderboard as a table, in a run of its own."""
        with self._open("leaderboard", group=None, job_type="leaderboard", config={}) as run:
            data = [list(row.values()) for row in rows]
            run.log({"leaderboard": wandb.Table(list(rows[0]), data, allow_mixed_types=True)})

    def close(self) -> None:
        """Close the runs of the trials that have no end, as runs that may go on."""
        while self._runs:
            run = self._runs.popitem()[1]
            run.mark_preempting()
            run.finish(exit_code=1)

    def _open(self, name: str, *, group: str | None, job_type: str, config: dict[str, object]) -> wandb.Run:
        """Open a run; an offline one of an interrupted study gives way, since its curve is sent again."""
        own = run_id(self._folder, name)
        for before in self._folder.glob(f"wandb/offline-run-*-{own}"):
            shutil.rmtree(before)
        return wandb.init(
            project=self._project,
            id=own,
            name=name,
            group=group,
            job_type=job_type,
            config=config,
            dir=str(self._folder),
            reinit="create_new",
            resume="allow",
            settings=_settings(self._mode),
        )


def _settings(mode: str | None) -> wandb.Settings:
    """Quiet ones; of the machine and its code nothing is gathered, which the ledger has."""
    return wandb.Settings(
        **({"mode": mode} if mode else {}),
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        init_timeout=_PATIENCE_S,
        finish_timeout=_PATIENCE_S,
        finish_timeout_raises=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        x_transaction_log_flush_interval=_FLUSH_S,
    )


def tracker(folder: Path, study: str) -> Tracker:
    """In the user's mode (``WANDB_MODE``, ``wandb offline``), or offline where there is no login.

    Raises:
        InputError: the mode is online, and there is no login.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # telemetry
    mode = wandb.setup(wandb.Settings(silent=True)).settings.mode
    if mode not in ("online", "run") or wandb.login(prompt=False, verify=False):
        return WandB(folder, study, None)
    if os.environ.get("WANDB_MODE"):
        raise InputError(
            f"tracker wandb: expected a login (wandb login, or WANDB_API_KEY) for WANDB_MODE={mode}; "
            "found none"
        )
    _log.warning("tracker wandb: no login, so it writes below %s; `wandb sync` sends that", folder / "wandb")
    return WandB(folder, study, "offline")

"""The driver's side of a study: it alone talks to the planner and writes the ledger.

Whatever places the jobs calls ``next_job``, ``report`` and ``end``, and ``lost`` or ``give_up`` when a worker
dies.  Nothing here knows Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from wst.ledger import Ledger
from wst.planner import Planner
from wst.records import Epoch, Intent, Outcome, TrialSpec, trial_spec
from wst.study import Study


@dataclass(frozen=True)
class Environment:
    """Where a study runs and what its data are.

    Attributes:
        root: folder that holds the suite's folder.
        data_hashes: hash of each task's data.
        address: a running Ray cluster; None starts Ray on this machine, on loopback.
    """

    root: Path
    data_hashes: Mapping[str, str]
    address: str | None = None


@dataclass
class _Running:
    """A job in progress, as the driver knows it."""

    intent: Intent
    curve: list[Epoch] = field(default_factory=list)
    stopped: bool = False
    attempts: int = 1
    error: str | None = None


class Driver:
    """Gives out jobs and takes their reports and ends.

    Args:
        study: what was asked for.
        planner: standing where the ledger stands.
        ledger: open for writing.
        environment: the study's data and machines.
        on_change: called after every start and end of a trial.
    """

    def __init__(
        self,
        study: Study,
        planner: Planner,
        ledger: Ledger,
        environment: Environment,
        on_change: Callable[[], None],
    ):
        self.study, self.planner, self.ledger, self.environment = study, planner, ledger, environment
        self.slots = 1
        self._on_change = on_change
        self._durable = {i.trial_id for i in planner.interrupted}
        self._jobs: dict[str, _Running] = {}
        self._checkpoints = ledger.folder / "checkpoints"

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its searcher for a restore that we never ask for."""
        return {}

    def next_job(self, job_id: str) -> TrialSpec | None:
        """What a new job is to run; None when all slots are taken or a running trial must end first."""
        if len(self._jobs) >= self.slots:
            return None
        intent = self.planner.ask()
        if intent is None:
            return None
        if intent.trial_id not in self._durable:
            self.ledger.add_intent(intent)
        self._jobs[job_id] = _Running(intent)
        self._on_change()
        return self._spec(intent)

    def report(self, job_id: str, epochs: Sequence[Epoch]) -> bool:
        """Pass on the epochs that the planner has not had; True when the trial should stop."""
        running = self._jobs[job_id]
        for epoch in epochs:
            if epoch.epoch > len(running.curve) and not running.stopped:
                running.curve.append(epoch)
                running.stopped = self.planner.report(running.intent.trial_id, epoch)
        return running.stopped

    def end(self, job_id: str, epochs: Sequence[Epoch], outcome: Outcome) -> None:
        """End a trial: tell the planner, write the ledger, drop the trial's checkpoint."""
        stopped = self.report(job_id, epochs)
        running = self._jobs.pop(job_id)
        intent = running.intent
        outcome = replace(
            outcome,
            state="pruned" if stopped and outcome.state == "completed" else outcome.state,
            epochs=tuple(running.curve),
            data_hash=self.environment.data_hashes[intent.task],  # also where the trial never began
            attempts=running.attempts,
        )
        self.ledger.add_trial(intent, outcome)
        self.planner.tell(intent.trial_id, outcome)
        self._checkpoint_path(intent).unlink(missing_ok=True)
        self._on_change()

    def lost(self, job_id: str, error: str) -> None:
        """A worker died; Ray starts the job again, or gives it up."""
        self._jobs[job_id].attempts += 1
        self._jobs[job_id].error = error

    def give_up(self, job_id: str) -> None:
        """A job's workers died too often: the trial has failed."""
        running = self._jobs[job_id]
        running.attempts = max(1, running.attempts - 1)
        text = running.error or "the worker died"
        self.end(job_id, (), Outcome("failed", error_type="WorkerLost", error_text=text))

    def _checkpoint_path(self, intent: Intent) -> Path:
        return (self._checkpoints / f"{intent.trial_id}.pt").absolute()

    def _spec(self, intent: Intent) -> TrialSpec:
        final = self.study.final
        adapter = self.ledger.folder / "adapters" / f"{intent.trial_id}.safetensors"
        return trial_spec(
            self.study,
            intent,
            root=self.environment.root,
            data_hash=self.environment.data_hashes[intent.task],
            checkpoint_path=self._checkpoint_path(intent),
            adapter_path=adapter if final and final.save_adapters and intent.stage == "final" else None,
        )

"""Trials that need no training: a curve that depends on the configuration alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.curves import curve
from wst.data.mini import MINI
from wst.data.splits import DataHashes, TaskData
from wst.engine.environment import Environment
from wst.engine.fingerprint import Fingerprint
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Intent, Outcome
from wst.study import Study
from wst.trackers import Tracker


def run_one(planner: Planner, intent: Intent) -> Outcome:
    """Train one synthetic trial with the planner's pruner, unless it need not run, and tell its outcome."""
    settled = planner.settled(intent)
    if settled is not None:
        planner.finish(intent.trial_id, settled)
        return settled
    told: list[Epoch] = []
    state = "completed"
    for epoch in curve(intent, planner.study.recipe.epochs):
        told.append(epoch)
        if planner.report(intent.trial_id, epoch):
            state = "pruned"
            break
    test = (0.8, 797) if intent.stage == "final" else (None, None)
    outcome = Outcome(
        state,  # type: ignore[arg-type]
        epochs=tuple(told),
        test_top1=test[0],
        test_images=test[1],
        trainable_parameters=100 * int(intent.hyperparameters.get("r", 0)),
        train_seconds=float(len(told)),
    )
    planner.tell(intent.trial_id, outcome)
    return outcome


def run_all(planner: Planner, stop_after: int | None = None) -> list[EndedTrial]:
    """Run what is left, one trial at a time."""
    done = []
    while not planner.done and (stop_after is None or len(done) < stop_after):
        intent = planner.ask()
        assert intent is not None
        done.append(EndedTrial(intent, run_one(planner, intent)))
    return done


def environment(folder: Path, study: Study, **where: Any) -> Environment:
    """For trials that read no image: whatever lies in ``folder`` is each task's data."""
    data = {name: TaskData(folder, MINI.task(name)) for name in study.tasks}
    return Environment(data, Fingerprint("w", dict.fromkeys(study.tasks, DataHashes("d", "d", "d"))), **where)


class Ends(Tracker):
    """Calls a function whenever a trial has ended."""

    def __init__(self, on_end: Callable[[], None]):
        self._on_end = on_end

    def end(self, intent: Intent, outcome: Outcome) -> None:
        self._on_end()

"""Made-up trials: curves that need no training, an environment without images, and ledgers full of both."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from wst.data.splits import DataHashes, TaskData
from wst.data.suites import find_suite
from wst.engine.environment import Environment
from wst.engine.fingerprint import Fingerprint
from wst.ledger import Ledger
from wst.planning.planner import Planner
from wst.records import Epoch, Intent, Outcome, stable_seed
from wst.study import Study

CODE = {"version": "0", "commit": None, "libraries": "{}"}
"""What ledgers here say about the code that wrote them."""


def noise(intent: Intent) -> float:
    """In [0, 1), by the trial's id."""
    return stable_seed(intent.trial_id) / 2**32


def curve(intent: Intent, epochs: int) -> Iterator[Epoch]:
    """Accuracy rises; the learning rate, best at 0.5, and a little noise say how far."""
    lr, final = float(intent.hyperparameters["lr"]), intent.stage == "final"  # type: ignore[arg-type]
    for epoch in range(1, epochs + 1):
        value = 0.9 - abs(lr - 0.5) / 2 - 0.5**epoch / 2 + 0.05 * noise(intent)
        yield Epoch(epoch, lr, 1.0, None if final else 1 - value, None if final else value, 1.0)


def environment(folder: Path, study: Study) -> Environment:
    """For trials that read no image."""
    suite = find_suite(study.suite)
    data = {name: TaskData(folder, suite.task(name)) for name in study.tasks}
    return Environment(data, Fingerprint("w", dict.fromkeys(study.tasks, DataHashes("d", "d", "d"))))


def write_trials(ledger: Ledger, trials: int) -> list[float]:
    """Write so many trials of a new study as it does, each of all epochs; returns the seconds of each one."""
    planner, seconds = Planner(ledger.study), []
    for _ in range(trials):
        intent = planner.ask()
        assert intent is not None, "the study has fewer trials"
        outcome = _outcome(intent, ledger.study.recipe.epochs)
        begin = time.perf_counter()
        ledger.add_intent(intent)
        ledger.add_trial(intent, outcome)
        seconds.append(time.perf_counter() - begin)
        planner.finish(intent.trial_id, outcome)
    return seconds


def _outcome(intent: Intent, epochs: int) -> Outcome:
    now = datetime.now(UTC)
    return Outcome(
        "completed",
        tuple(curve(intent, epochs)),
        trainable_parameters=80_000,
        head_parameters=7_000,
        total_parameters=86_000_000,
        train_seconds=50.0,
        wall_seconds=55.0,
        peak_memory=2**31,
        device="some GPU",
        node="node",
        checkpoint_hash="c" * 64,
        data_hash="d" * 64,
        started=now,
        ended=now,
    )

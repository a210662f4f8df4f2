"""Made-up trials: curves that need no training, an environment without images, and ledgers full of both."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.curves import curve
from wst.data.splits import DataHashes, TaskData
from wst.data.suites import find_suite
from wst.ledger import Ledger
from wst.planning.planner import Planner
from wst.records import Intent, Outcome
from wst.study import Study

if TYPE_CHECKING:
    from wst.engine.environment import Environment

CODE = {"version": "0", "commit": None, "libraries": "{}"}
"""What ledgers here say about the code that wrote them."""


def environment(folder: Path, study: Study) -> Environment:
    """For trials that read no image."""
    # Here, since they load torch: a ledger needs none.
    from wst.engine.environment import Environment
    from wst.engine.fingerprint import Fingerprint

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

"""What Ray's workers run in the place of training.

A module of its own: a worker imports a job's class by its module's name, and the module that is run has none
that it could import.  It imports no torch, so that workers start quickly.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import UTC, datetime
from typing import Any

from ray import tune

from benchmarks.curves import curve, noise
from wst.records import Cost, End, Report, Score

SLEEP_S = 1.0
"""Mean length of a sleeping job's epoch."""


class TrivialJob(tune.Trainable):  # type: ignore[misc]
    """Reports a curve that needs no computing; slot and times are noted as a real trial notes them."""

    def setup(self, config: dict[str, Any]) -> None:
        (self._spec,), self._report_epochs = config["specs"], config["report_epochs"]
        self._begin, self._started = time.perf_counter(), datetime.now(UTC)
        self._left = curve(self._spec.intent, self._spec.recipe.epochs)

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        intent, new = self._spec.intent, []
        for epoch in self._left:
            self.work()
            new.append(epoch)
            if epoch.epoch in self._report_epochs:
                break
        last = new[-1].epoch == self._spec.recipe.epochs
        end = End(test=Score(0.8, 1000) if intent.stage == "final" else None)
        cost = Cost(
            wall_seconds=time.perf_counter() - self._begin,
            node=socket.gethostname(),
            slot=f"{socket.gethostname()}:{os.getpid()}",
            started=self._started,
            ended=datetime.now(UTC),
        )
        report = Report(intent.trial_id, tuple(new), cost, end if last else None)
        return {"reports": (report,), "done": last}

    def work(self) -> None:
        """An epoch's work: none."""


class SleepingJob(TrivialJob):
    """The same with epochs that are sleeps, of 0.8 to 1.2 times :data:`SLEEP_S`: tasks and methods differ."""

    def work(self) -> None:
        time.sleep(SLEEP_S * (0.8 + 0.4 * noise(self._spec.intent)))


class PlainJob(tune.Trainable):  # type: ignore[misc]
    """A trivial trial of plain Ray Tune."""

    def setup(self, config: dict[str, Any]) -> None:
        self._lr, self._reports, self._done = config["lr"], config["reports"], 0

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        self._done += 1
        value = 1 - abs(self._lr - 0.5) - 1 / (self._done + 10)
        return {"val_top1": value, "done": self._done >= self._reports}

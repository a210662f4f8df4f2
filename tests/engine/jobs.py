"""What Ray's workers run in the place of training; it imports no torch, so that they start quickly."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from tests.curves import curve
from wst.engine.faults import failed
from wst.records import Cost, End, Epoch, Report, Score


class SyntheticJob(tune.Trainable):  # type: ignore[misc]
    """Reports synthetic curves; ``wait_s`` slows each epoch down."""

    wait_s = 0.0

    def setup(self, config: dict[str, Any]) -> None:
        (self._spec,), self._reports = config["specs"], config["report_epochs"]
        self._left = curve(self._spec.intent, self._spec.recipe.epochs)

    def reset_config(self, config: dict[str, Any]) -> bool:
        self.setup(config)
        return True

    def step(self) -> dict[str, Any]:
        new: list[Epoch] = []
        while self._left:
            time.sleep(self.wait_s)
            new.append(self._left.pop(0))
            if new[-1].epoch in self._reports:
                break
        test = Score(0.8, 797) if self._spec.intent.stage == "final" else None
        return self._result(tuple(new), None if self._left else End(test=test))

    def _result(self, epochs: tuple[Epoch, ...], end: End | None) -> dict[str, Any]:
        return {
            "reports": (Report(self._spec.intent.trial_id, epochs, Cost(), end),),
            "done": end is not None,
        }


class SlowJob(SyntheticJob):
    wait_s = 0.2


class FailingJob(SyntheticJob):
    """Every odd trial raises in the trial; the engine's own job catches that, and so does this one."""

    def step(self) -> dict[str, Any]:
        if self._spec.intent.number % 2:
            error = ValueError(f"planted in {self._spec.intent.trial_id}")
            return self._result((), failed(error))
        return super().step()


class DyingJob(SyntheticJob):
    """The process of trial 1 dies once at its second report, that of trial 2 every time."""

    def step(self) -> dict[str, Any]:
        result = super().step()
        number, mark = self._spec.intent.number, self._spec.data.folder / "died"
        if number > 0 and result["reports"][0].epochs[-1].epoch > 1 and (number == 2 or not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result


class NodeJob(SyntheticJob):
    """Reports on which node it runs; goes on after its first epoch once another node has been lost."""

    def step(self) -> dict[str, Any]:
        began = len(self._left) < self._spec.recipe.epochs
        # A worker outlives its node by a moment, in which it must not end its trial.
        here = f"lost-{ray.get_runtime_context().get_node_id()}"
        while began and [path.name for path in self._spec.data.folder.glob("lost-*")] in ([], [here]):
            time.sleep(0.05)
        return super().step()

    def _result(self, epochs: tuple[Epoch, ...], end: End | None) -> dict[str, Any]:
        cost = Cost(node=ray.get_runtime_context().get_node_id())
        result = super()._result(epochs, end)
        return {**result, "reports": tuple(replace(report, cost=cost) for report in result["reports"])}

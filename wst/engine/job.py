"""What one slot runs at a time: a trial, or several seeds of a final, a report at a time."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

from wst.engine.faults import failed, time_limit
from wst.records import Epoch, Report, State
from wst.training.spec import TrialSpec


class Job:
    """Runs its trials one after another, up to the next report at a time.

    What a trial raises comes back as its outcome, and the process can go on with another job.  Several trials
    are the seeds of a final, whose test split is read once for all of them when the last has been trained.

    Args:
        specs: the trials; each is built in a step, where its errors are caught.
        report_epochs: epochs (1-based) after which a trial reports; it does so at its end as well.
    """

    def __init__(self, specs: Sequence[TrialSpec], report_epochs: Collection[int]):
        self._left = deque(specs)
        self._report_epochs = report_epochs
        self._trial: Any = None
        self._epochs: Iterator[Epoch] = iter(())
        self._trained: list[tuple[Any, tuple[Epoch, ...]]] = []
        """Trials of a final that wait to be scored, with the epochs not yet reported."""

    @property
    def done(self) -> bool:
        """True once every trial has ended."""
        return not self._left and not self._trained

    def step(self) -> tuple[Report, ...]:
        """Train to the next report, or, when all trials have been trained, score them."""
        spec = self._left[0] if self._left else self._trained[0][0].spec
        try:
            import_module("wst.training.trial")  # outside the limit, which would leave PyTorch half loaded
            taken = self._trial.seconds if self._trial is not None else 0.0
            left = spec.time_limit - taken if spec.time_limit is not None else None
            with time_limit(left, spec.time_limit):
                reports = self._train(spec) if self._left else self._score()
        except Exception as error:
            reports = self._failed(spec, error)
        return tuple(reports)

    def _train(self, spec: TrialSpec) -> list[Report]:
        if self._trial is None:
            from wst.training.trial import Trial

            self._trial = Trial(spec)
            self._epochs = self._trial.epochs()
            if self._trial.curve:  # continued: report what came before without training
                return [self._report(self._trial, self._trial.curve, "pruned")]
        new: list[Epoch] = []
        for epoch in self._epochs:
            new.append(epoch)
            if epoch.epoch in self._report_epochs and epoch.epoch < spec.recipe.epochs:
                return [self._report(self._trial, new, "pruned")]
        trial, self._trial = self._trial, None
        self._left.popleft()
        if spec.intent.stage != "final":
            return [self._report(trial, new, "completed", ended=True)]
        self._trained.append((trial, tuple(new)))
        return [] if self._left else self._score()

    def _score(self) -> list[Report]:
        from wst.training.trial import test_together

        scores = test_together([trial for trial, _ in self._trained])
        reports = []
        for (trial, new), test in zip(self._trained, scores, strict=True):
            trial.save_adapter(test)
            reports.append(self._report(trial, new, "completed", ended=True, test=test))
        self._trained = []
        return reports

    def _failed(self, spec: TrialSpec, error: Exception) -> list[Report]:
        """The trial in training has failed, or all those that were to be scored."""
        if self._left and self._left[0] is spec:
            self._left.popleft()
            specs = [spec]
        else:  # trained: it failed to say how it ended, or in the scoring
            specs = [trial.spec for trial, _ in self._trained] or [spec]
            self._trained = []
        outcome = failed(error)
        if self._trial is not None:
            with suppress(Exception):  # what it cost, if it can still say
                known = self._trial.outcome("failed")
                outcome = replace(
                    known, epochs=(), error_type=outcome.error_type, error_text=outcome.error_text
                )
        # The exception's frames hold the model, and with it the memory that a next trial needs.
        self._trial, error.__traceback__ = None, None
        self._epochs = iter(())
        _free_memory()
        return [Report(spec.intent.trial_id, (), outcome, ended=True) for spec in specs]

    def _report(
        self,
        trial: Any,
        epochs: Sequence[Epoch],
        state: State,
        ended: bool = False,
        test: tuple[float, int] | None = None,
    ) -> Report:
        # The driver has the earlier epochs: sending the whole curve each time would grow quadratically.
        outcome = replace(trial.outcome(state, test), epochs=())
        return Report(trial.spec.intent.trial_id, tuple(epochs), outcome, ended)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

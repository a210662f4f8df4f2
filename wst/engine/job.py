"""What one slot runs at a time: a trial, or several seeds of a final, a report at a time."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import torch

from wst.engine.faults import failed, time_limit
from wst.records import Cost, End, Epoch, Report, Score
from wst.training.spec import TrialSpec
from wst.training.trial import Trial, score_together


class Job:
    """Runs its trials one after another, up to the next report at a time.

    What a trial raises comes back as its end, and the process can go on with another job.  Several trials
    are the seeds of a final, whose test split is read once for all of them when the last has been trained.

    Args:
        specs: the trials; each is built in a step, where its errors are caught.
        report_epochs: epochs (1-based) after which a trial reports; it does so at its end as well.
    """

    def __init__(self, specs: Sequence[TrialSpec], report_epochs: Collection[int]):
        self._left = deque(specs)
        self._report_epochs = report_epochs
        self._trial: Trial | None = None
        self._epochs: Iterator[Epoch] = iter(())
        self._trained: list[tuple[Trial, tuple[Epoch, ...]]] = []
        """Trials of a final that wait to be scored, with the epochs not yet reported."""

    @property
    def done(self) -> bool:
        """True once every trial has ended."""
        return not self._left and not self._trained

    def step(self) -> tuple[Report, ...]:
        """Train to the next report, or, when all trials have been trained, score them."""
        spec = self._left[0] if self._left else self._trained[0][0].spec
        try:
            taken = self._trial.seconds if self._trial is not None else 0.0
            left = spec.time_limit - taken if spec.time_limit is not None else None
            with time_limit(left, spec.time_limit):
                reports = self._train(spec) if self._left else self._score()
        except Exception as error:
            reports = self._failed(spec, error)
        return tuple(reports)

    def drop(self, trial_ids: Collection[str]) -> None:
        """Leave trials that need not go on; the one in training, too."""
        if self._left and self._trial is not None and self._left[0].intent.trial_id in trial_ids:
            self._trial, self._epochs = None, iter(())
        self._left = deque(spec for spec in self._left if spec.intent.trial_id not in trial_ids)

    def _train(self, spec: TrialSpec) -> list[Report]:
        if self._trial is None:
            self._trial = Trial(spec)
            self._epochs = self._trial.epochs()
            if self._trial.curve:  # continued: report what came before without training
                return [_report(self._trial, self._trial.curve)]
        new: list[Epoch] = []
        for epoch in self._epochs:
            new.append(epoch)
            if epoch.epoch in self._report_epochs and epoch.epoch < spec.recipe.epochs:
                return [_report(self._trial, new)]
        trial, self._trial = self._trial, None
        self._left.popleft()
        if spec.intent.stage != "final":
            return [_report(trial, new, End())]
        self._trained.append((trial, tuple(new)))
        return [] if self._left else self._score()

    def _score(self) -> list[Report]:
        scores: list[Score] = score_together([trial for trial, _ in self._trained])
        reports = []
        for (trial, new), test in zip(self._trained, scores, strict=True):
            trial.save_adapter(test)
            reports.append(_report(trial, new, End(test=test)))
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
        end, cost = failed(error), None
        if self._trial is not None:
            with suppress(Exception):  # if it can still say
                cost = self._trial.cost()
        # The exception's frames hold the model, and with it the memory that a next trial needs.
        self._trial, error.__traceback__ = None, None
        self._epochs = iter(())
        _free_memory()
        return [Report(spec.intent.trial_id, (), cost, end) for spec in specs]


def _report(trial: Trial, epochs: Sequence[Epoch], end: End | None = None) -> Report:
    # New epochs alone: sending the whole curve each time would grow quadratically.
    cost: Cost = trial.cost()
    return Report(trial.spec.intent.trial_id, tuple(epochs), cost, end)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

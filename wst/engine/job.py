"""What one slot runs at a time: a trial, or several seeds of a final, a report at a time."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import torch

from wst.engine.faults import failed, time_limit
from wst.records import Cost, End, Epoch, Report, Score
from wst.training.spec import TrialSpec
from wst.training.trial import Trial, score_together


class Job:
    """Runs its trials one after another, up to the next report at a time.

    What a trial raises comes back as its end, and the process can go on with another job.  Several trials
    are the seeds of a final, whose test split is read once for all of them when the last has been trained.
    That it is to be read is reported first, in a step that does not read it: whoever takes the reports writes
    it down, and calls the next step only then.

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
        self._announced = False
        """Whether it was reported that they are to be scored."""

    @property
    def done(self) -> bool:
        """True once every trial has ended."""
        return not self._left and not self._trained

    def step(self) -> tuple[Report, ...]:
        """Train to the next report; when all trials have been trained, say so, and then score them."""
        spec = self._left[0] if self._left else self._trained[0][0].spec
        try:
            taken = self._trial.seconds if self._trial is not None else 0.0
            if not self._left:
                taken = self._trained[-1][0].seconds
            left = spec.time_limit - taken if spec.time_limit is not None else None
            with time_limit(left, spec.time_limit):
                reports = self._train(spec) if self._left else self._finish()
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
        reports: list[Report] = []
        if spec.intent.stage == "final":
            self._trained.append((self._trial, tuple(new)))
        else:
            reports = [_report(self._trial, new, End())]
        self._trial = None
        self._left.popleft()
        return self._finish() if self._trained and not self._left else reports

    def _finish(self) -> list[Report]:
        """Announce that the test split is to be read, or, where that was done, read it."""
        return self._score() if self._announced else self._announce()

    def _announce(self) -> list[Report]:
        spec = self._trained[0][0].spec  # all of them are seeds of one final
        listed, _ = spec.data.listed("test", spec.intent.stage)  # a split that has changed is not to be read
        reports, ready = [], []
        for trial, epochs in self._trained:
            try:
                trial.check_adapter_place()
            except Exception as error:  # of this trial alone, whose test split stays closed
                reports.append(_last_report(trial.spec, trial, failed(error)))
                continue
            reports.append(replace(_report(trial, epochs), reads=len(listed.labels)))
            ready.append(trial)
        self._trained = [(trial, ()) for trial in ready]
        self._announced = True
        return reports

    def _score(self) -> list[Report]:
        scores: list[Score] = score_together([trial for trial, _ in self._trained])
        reports = [_kept(trial, new, test) for (trial, new), test in zip(self._trained, scores, strict=True)]
        self._trained = []
        return reports

    def _failed(self, spec: TrialSpec, error: Exception) -> list[Report]:
        """The trial in training has failed, or all those that were to be scored."""
        end = failed(error)
        if self._left:
            self._left.popleft()
            reports = [_last_report(spec, self._trial, end)]
        else:
            reports = [_last_report(trial.spec, trial, end) for trial, _ in self._trained]
            self._trained = []
        # The exception's frames hold the model, and with it the memory that a next trial needs.
        self._trial, error.__traceback__ = None, None
        self._epochs = iter(())
        _free_memory()
        return reports


def _kept(trial: Trial, epochs: Sequence[Epoch], test: Score) -> Report:
    """The end of a scored trial.  The test split has been read: what fails from here on is an error of this
    trial alone, beside its score."""
    cost, end = None, End(test=test)
    try:
        cost = trial.cost()
        trial.save_adapter(test)
    except Exception as error:
        end = replace(failed(error), test=test)
    return Report(trial.spec.intent.trial_id, tuple(epochs), cost, end)


def _last_report(spec: TrialSpec, trial: Trial | None, end: End) -> Report:
    """That of a trial that failed: its whole curve, since part of it may not have been reported."""
    cost, curve = None, tuple(trial.curve) if trial is not None else ()
    if trial is not None:
        with suppress(Exception):  # if it can still say
            cost = trial.cost()
    return Report(spec.intent.trial_id, curve, cost, end)


def _report(trial: Trial, epochs: Sequence[Epoch], end: End | None = None) -> Report:
    # New epochs alone: sending the whole curve each time would grow quadratically.
    cost: Cost = trial.cost()
    return Report(trial.spec.intent.trial_id, tuple(epochs), cost, end)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""What one slot runs at a time: a trial, or several, a report at a time."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby

import torch

from wst.engine.faults import OUT_OF_MEMORY, failed, time_limit, too_long
from wst.records import Cost, End, Epoch, Report, Score
from wst.training import stack
from wst.training.spec import TrialSpec
from wst.training.together import Pass, Round
from wst.training.trial import Trial, score_together


class Job:
    """Runs its trials up to the next report at a time: one after another, or together in one pass.

    What a trial raises comes back as its end, and the process can go on with another job.  Finals wait until
    the last of the job has been trained; then each task's test split is read once for all of them.  That it
    is to be read is reported first, in a step that does not read it: whoever takes the reports writes it
    down, and calls the next step only then.

    Args:
        specs: the trials; each is built in a step, where its errors are caught.
        report_epochs: epochs (1-based) after which a trial reports; it does so at its end as well.
    """

    def __init__(self, specs: Sequence[TrialSpec], report_epochs: Collection[int]):
        named = [(spec.intent.trial_id, spec) for spec in specs]
        size = min((spec.together for spec in specs), default=1)
        self._left = deque(dict(named[start : start + size]) for start in range(0, len(named), size))
        """Trials that are to be trained, by whom they train with and name; the first are in training."""
        self._report_epochs = report_epochs
        self._training: dict[str, Trial] = {}
        """Those in training, by name."""
        self._pass: Pass | None = None
        """Theirs, where they are several, or their steps are replayed."""
        self._rounds: Iterator[Round] | None = None
        """Their epochs; None until they are built."""
        self._new: dict[str, list[Epoch]] = {}
        """Epochs not yet reported."""
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
        if self.done:
            return ()
        spec = next(iter(self._left[0].values())) if self._left else self._trained[0][0].spec
        try:
            with time_limit(self._seconds_left(spec.time_limit), spec.time_limit):
                reports = self._train(self._left[0]) if self._left else self._finish()
        except Exception as error:
            reports = self._all_failed(error)
        ends = {report.end.error_type for report in reports if report.end is not None}
        if ends - {None}:
            _free_memory(graphs=bool(ends & OUT_OF_MEMORY))
        return tuple(reports)

    def drop(self, trial_ids: Collection[str]) -> None:
        """Leave trials that need not go on; those in training, too."""
        for group in self._left:
            for trial_id in group.keys() & set(trial_ids):
                self._leave(group, trial_id)
        self._next()

    def _seconds_left(self, limit: float | None) -> float | None:
        """Until all of the trials at hand have had their time; those in a pass have a share of it each."""
        if limit is None:
            return None
        trials = list(self._training.values()) if self._left else [trial for trial, _ in self._trained]
        taken = min((trial.seconds for trial in trials), default=0.0)
        return (limit - taken) * len(self._left[0] if self._left else trials)

    def _train(self, group: dict[str, TrialSpec]) -> list[Report]:
        reports = self._build(group) if self._rounds is None else []
        if not reports:
            for ended in self._rounds or ():
                for trial, epoch in ended:
                    reports += self._ended(group, trial, epoch)
                if reports:
                    break
        self._next()
        return reports or (self._finish() if self._trained and not self._left else [])

    def _build(self, group: dict[str, TrialSpec]) -> list[Report]:
        """Build trials; the reports of those that cannot be, and of the epochs that came before."""
        reports = []
        for trial_id, spec in tuple(group.items()):
            try:
                trial = Trial(spec)
            except Exception as error:
                del group[trial_id]
                reports.append(_failure(spec, None, error))
                continue
            if len(group) > 1:
                trial.clock.stop()  # while the others are built
            if trial.curve:  # continued
                reports.append(_report(trial, trial.curve))
            if trial.trained:
                del group[trial_id]
                self._trained.append((trial, ()))
            else:
                self._training[trial_id] = trial
        trials = list(self._training.values())
        replays = any(trial.spec.steps != "eager" and trial.device.type == "cuda" for trial in trials)
        if len(trials) > 1 or replays:
            try:
                self._pass = Pass(trials)
            except Exception as error:  # out of memory, say; what is reported already is not lost
                reports += [_failure(trial.spec, trial, error) for trial in trials]
                group.clear()
                self._training, self._rounds = {}, iter(())
                return reports
            self._rounds = self._pass.rounds()
        else:
            self._rounds = ([(trial, epoch)] for trial in trials for epoch in trial.epochs())
        return reports

    def _ended(self, group: dict[str, TrialSpec], trial: Trial, epoch: Epoch | Exception) -> list[Report]:
        """An epoch of a trial has ended, or the trial itself with an error."""
        trial_id = trial.spec.intent.trial_id
        try:
            if isinstance(epoch, Exception):
                raise epoch
            new = [*self._new.pop(trial_id, ()), epoch]
            if not trial.trained:
                limit = trial.spec.time_limit
                if limit is not None and trial.seconds > limit:
                    raise too_long(limit)
                if epoch.epoch in self._report_epochs:
                    return [_report(trial, new)]
                self._new[trial_id] = new
                return []
            reports = []
            if trial.spec.intent.stage == "final":
                self._trained.append((trial, tuple(new)))
            else:
                reports = [_report(trial, new, End())]
        except Exception as error:
            reports = [_failure(trial.spec, trial, error)]
        self._leave(group, trial_id)
        return reports

    def _leave(self, group: dict[str, TrialSpec], trial_id: str) -> None:
        """A trial is not to be trained any more."""
        del group[trial_id]
        trial = self._training.pop(trial_id, None)
        if self._pass is not None and trial is not None:
            self._pass.drop([trial])
        self._new.pop(trial_id, None)

    def _next(self) -> None:
        """Go on with the next trials where the first have all been trained."""
        if self._left and not self._left[0]:
            self._training, self._pass, self._rounds = {}, None, None
        self._left = deque(group for group in self._left if group)

    def _finish(self) -> list[Report]:
        """Announce that test splits are to be read, or, where that was done, read them."""
        by_task = sorted(self._trained, key=lambda entry: entry[0].spec.intent.task)
        self._trained = []
        reports = []
        for _, entries in groupby(by_task, key=lambda entry: entry[0].spec.intent.task):
            alike = list(entries)
            try:
                reports += self._score(alike) if self._announced else self._announce(alike)
            except Exception as error:
                reports += [_failure(trial.spec, trial, error) for trial, _ in alike]
        self._announced = True
        return reports

    def _announce(self, alike: Iterable[tuple[Trial, tuple[Epoch, ...]]]) -> list[Report]:
        """Of trials of one task."""
        reports, ready = [], []
        listed = None
        for trial, epochs in alike:
            # a split that has changed is not to be read
            listed = listed or trial.spec.data.listed("test", trial.spec.intent.stage)[0]
            try:
                trial.check_adapter_place()
            except Exception as error:  # of this trial alone, whose test split stays closed
                reports.append(_failure(trial.spec, trial, error))
                continue
            reports.append(replace(_report(trial, epochs), reads=len(listed.labels)))
            ready.append(trial)
        self._trained += [(trial, ()) for trial in ready]
        return reports

    def _score(self, alike: Sequence[tuple[Trial, tuple[Epoch, ...]]]) -> list[Report]:
        """Of trials of one task."""
        scores: list[Score] = score_together([trial for trial, _ in alike])
        return [_kept(trial, new, test) for (trial, new), test in zip(alike, scores, strict=True)]

    def _all_failed(self, error: Exception) -> list[Report]:
        """What all trials at hand share has failed: a step of a pass, say."""
        if self._left:
            group = self._left.popleft()
            reports = [
                _failure(spec, self._training.get(spec.intent.trial_id), error) for spec in group.values()
            ]
        else:
            reports = [_failure(trial.spec, trial, error) for trial, _ in self._trained]
            self._trained = []
        self._training, self._pass, self._rounds, self._new = {}, None, None, {}
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


def _failure(spec: TrialSpec, trial: Trial | None, error: Exception) -> Report:
    """The report of a trial that failed: its whole curve, since part of it may not have been reported."""
    cost, curve = None, tuple(trial.curve) if trial is not None else ()
    if trial is not None:
        with suppress(Exception):  # if it can still say
            cost = trial.cost()
    report = Report(spec.intent.trial_id, curve, cost, failed(error))
    # The exception's frames hold the model, and with it the memory that a next trial needs.
    error.__traceback__ = None
    return report


def _report(trial: Trial, epochs: Sequence[Epoch], end: End | None = None) -> Report:
    # New epochs alone: sending the whole curve each time would grow quadratically.
    cost: Cost = trial.cost()
    return Report(trial.spec.intent.trial_id, tuple(epochs), cost, end)


def _free_memory(graphs: bool) -> None:
    if graphs:
        stack.forget()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Trials that train together: a step of each at a time, in one call of the model where they can share it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from uuid import uuid4

import torch
from torch import Tensor

from wst.records import Epoch, Steps
from wst.training.draws import Draw
from wst.training.stack import CannotCompileError, CannotStackError, Stack, forget
from wst.training.trial import Trial

_log = logging.getLogger(__name__)
_said: set[tuple[str, str]] = set()
"""Methods, and what was said of them in this process: it holds for all their trials."""

Round = list[tuple[Trial, Epoch | Exception]]
"""Epochs that end with the same step, each with its trial; or what ended the trial."""


class Pass:
    """Trials in lockstep over one frozen backbone, or one whose steps are captured or compiled.

    Each has its own draws, schedule, optimiser and curve, and its numbers are those that it has alone, up to
    rounding: stacked products add in another order.  Its clock has its share of the steps that it was in.
    One that fails, or is dropped, leaves the others as they are.

    Trials that cannot share a call of the model do their steps one after another; steps that cannot be
    compiled are captured as they are.

    Args:
        trials: of one study and one device, none of them trained to its end.
    """

    def __init__(self, trials: Sequence[Trial]):
        self._epochs: dict[Trial, Generator[tuple[Draw, float], Tensor, Epoch]] = {}
        self._wanted: dict[Trial, tuple[Draw, float]] = {}
        for trial in trials:
            if len(trials) > 1:
                trial.clock.stop()
            self._begin(trial)
        self._stacked: tuple[Trial, ...] = tuple(trials)
        """Those of the stack, or of which none could be made."""
        self._how: Steps = trials[0].spec.steps if trials[0].device.type == "cuda" else "eager"
        self._stack = self._made()
        # unique: an interrupted pass may begin again with the same trials
        name = f"{trials[0].spec.intent.trial_id}/{uuid4().hex[:8]}"
        if self._stack is not None:
            for trial in trials:
                trial.steps = self._how
                trial.shared = (name, len(trials)) if len(trials) > 1 else None

    def rounds(self) -> Iterator[Round]:
        """Train the epochs that are left: those that end with the same step come together.

        What a single trial raises, such as :class:`~wst.training.finite.DivergedError`, comes in the place
        of its epoch; what the shared step raises is raised.
        """
        while self._wanted:
            found = self._round()
            if found:
                yield found

    def drop(self, trials: Collection[Trial]) -> None:
        """Leave trials that need not go on."""
        for trial in trials:
            if self._wanted.pop(trial, None) is not None:
                self._epochs.pop(trial).close()

    def _begin(self, trial: Trial) -> None:
        self._epochs[trial] = trial.epoch()
        self._wanted[trial] = next(self._epochs[trial])

    def _made(self) -> Stack | None:
        if len(self._stacked) < (2 if self._how == "eager" else 1):
            return None
        try:
            return Stack(self._stacked, self._how)
        except CannotStackError as error:
            return self._without(error)

    def _without(self, error: CannotStackError) -> Stack | None:
        """Another stack where one was refused, and say so: with captured steps where they could not be
        compiled; else none, and trials do their own steps."""
        instead: Steps = "captured" if isinstance(error, CannotCompileError) else "eager"
        for trial in self._stacked:
            trial.steps = instead
        if instead == "eager":
            self._say(f"{error}; trials do their own steps")
            return None
        self._say(f"{error}; they are captured as they are")
        self._how = instead
        return self._made()

    def _say(self, what: str) -> None:
        method = self._stacked[0].spec.method
        if (method, what) not in _said:
            _said.add((method, what))
            names = ", ".join(trial.spec.intent.trial_id for trial in self._stacked)
            _log.warning("wst: %s: %s", names, what)

    def _round(self) -> Round:
        """A step of every trial; the epochs that end with it."""
        found: Round = []
        for trial, loss in self._steps():
            try:
                self._wanted[trial] = self._epochs[trial].send(loss)
            except StopIteration as end:
                found.append((trial, end.value))
                if trial.trained:
                    trial.clock.stop()
                    self.drop([trial])
                else:
                    self._begin(trial)
            except Exception as error:
                found.append((trial, error))
                self.drop([trial])
        return found

    def _steps(self) -> list[tuple[Trial, Tensor]]:
        """A step of every trial, with the loss before it."""
        begin = time.perf_counter()
        trials, wanted = list(self._wanted), list(self._wanted.values())
        if self._stack is not None and self._stacked != tuple(trials):
            self._stack = None  # before the next is made, which takes its memory
            self._stacked = tuple(trials)
            self._stack = self._made()
        draws = [draw for draw, _ in wanted]
        # The last batch of an epoch may be smaller, and come earlier for a task of fewer images.
        steps, stack, setup = None, self._stack, 0.0
        if stack is not None and len({len(draw.indices) for draw in draws}) == 1:
            before = stack.setup_seconds
            try:
                steps = stack(draws, [trial.update.loss_scale() for trial in trials])
            except CannotStackError as error:
                self._stack = self._without(error)
            except torch.OutOfMemoryError:  # a graph keeps memory that the step alone may not need
                if self._how == "eager" or len(trials) > 1:
                    raise
                self._stack = None
                forget()
                torch.cuda.empty_cache()
                self._without(
                    CannotStackError(f"expected room for {self._how} steps; found too little memory")
                )
            setup = stack.setup_seconds - before
        if steps is None:
            losses = [trial.update(draw, lr) for trial, (draw, lr) in zip(trials, wanted, strict=True)]
        else:
            for trial, (_, lr), (_, gradients) in zip(trials, wanted, steps, strict=True):
                trial.update.apply(gradients, lr)
            losses = [loss for loss, _ in steps]
        if trials[0].device.type == "cuda" and any(draw.last for draw in draws):
            torch.cuda.synchronize(trials[0].device)  # or the first to ask for its loss would pay for all
        share = (time.perf_counter() - begin - setup) / len(trials)
        for trial in trials:
            trial.clock.add_training(share)
            trial.clock.add_setup(setup / len(trials))
        return list(zip(trials, losses, strict=True))

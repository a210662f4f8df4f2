"""How fast trials train and score on this machine, measured on a few batches, and what it could reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from wst.records import Steps
from wst.training.precision import LOWER
from wst.training.scoring import score
from wst.training.spec import TrialSpec
from wst.training.stack import CannotStackError, Stack, forget
from wst.training.trial import Trial

SHORTEST = 0.2
"""Seconds that a measurement takes at least; it has two steps, however long these take."""
_SIDE = {"cpu": 2048, "cuda": 8192}
"""Of the matrices whose product is timed: large enough that more brings no more."""
_AT_ONCE = {"cpu": 1, "cuda": 8}
"""Training steps between two waits for the device."""


class Sample:
    """A trial on the first batch of its training split: its steps cost what those of the trial cost.

    Where the trial would train on kept features, these are taken to be there.

    Args:
        spec: the trial; nothing of it is kept.
        together: as many of it train in one pass.

    Attributes:
        trial: the trial, the first of them.
        batch: number of images in a step of one of them.
        images: that a call of :meth:`step` trains on, of all of them.

    Raises:
        InputError: as :class:`~wst.training.trial.Trial`.
        CannotStackError: they cannot share a pass, or have such steps.
    """

    def __init__(self, spec: TrialSpec, together: int = 1):
        self._trials = [Trial(spec, sample=True) for _ in range(together)]
        self.trial = self._trials[0]
        drawn = next(self.trial.draws.epoch())
        self.batch = len(drawn.indices)
        self.images = self.batch * together * _AT_ONCE[self.trial.device.type]
        self._draw = replace(drawn, indices=torch.arange(self.batch, device=self.trial.device))
        steps: Steps = spec.steps if self.trial.device.type == "cuda" else "eager"
        self._stack = Stack(self._trials, steps) if together > 1 or steps != "eager" else None
        for trial in self._trials:
            trial.steps = steps
        self.step()  # the first makes the optimiser's state

    def step(self) -> None:
        """Some training steps of each, done when it returns: a trial waits for its device once an epoch."""
        for trial in self._trials:
            trial.model.train()
        for _ in range(_AT_ONCE[self.trial.device.type]):
            loss = self._step()
        loss.item()  # which waits

    def _step(self) -> Tensor:
        if self._stack is None:
            return self.trial.update(self._draw, 0.0)
        draws = [self._draw] * len(self._trials)
        found = self._stack(draws, [trial.update.loss_scale() for trial in self._trials])
        for trial, (_, gradients) in zip(self._trials, found, strict=True):
            trial.update.apply(gradients, 0.0)
        return found[0][0]

    def score(self) -> None:
        """A batch of images scored as the test split is, through the whole model."""
        trial, size, count = self.trial, self.trial.input.size, self.batch
        images = torch.zeros(count, 3, size, size, dtype=torch.uint8, device=trial.device)
        labels = torch.zeros(count, dtype=torch.int64, device=trial.device)
        score([trial.model], [(images, labels)], trial.normalise, trial.recipe, trial.device)

    def operations(self) -> int:
        """Floating-point operations of products of matrices in a step, forward and backward, per image."""
        # The counter knows no fused attention of a CPU.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            self.trial.update(self._draw, 0.0)
        return int(counter.get_total_flops()) // self.batch


def seconds_of(call: Callable[[], None], shortest: float = SHORTEST) -> float:
    """Seconds that a call takes, the mean of two at least and of as many as fill ``shortest`` seconds."""
    begin, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - begin < shortest:
        call()
        done += 1
    return (time.perf_counter() - begin) / done


def _sample(spec: TrialSpec) -> Sample:
    """A trial that does its steps as it would in a study: captured where they cannot be compiled, eager where
    they cannot be captured."""
    ways: tuple[Steps, ...] = ("compiled", "captured")
    for steps in ways[ways.index(spec.steps) :] if spec.steps in ways else ():
        try:
            return Sample(replace(spec, steps=steps))
        except (CannotStackError, torch.OutOfMemoryError):
            forget()
    return Sample(replace(spec, steps="eager"))


def seconds_per_epoch(spec: TrialSpec) -> float:
    """Training seconds of one epoch of a trial, estimated from a few steps.

    Raises:
        InputError: as :class:`Sample`.
    """
    sample = _sample(spec)
    seconds = seconds_of(sample.step) / sample.images * sample.trial.draws.images_per_epoch
    forget()
    return seconds


@dataclass(frozen=True)
class Speed:
    """How fast a trial is.

    Attributes:
        training, scoring: images a second.
        operations: as :meth:`Sample.operations`.
        precision: numbers that it computes in.
        memory: bytes, as in the ledger.
    """

    training: float
    scoring: float
    operations: int
    precision: str
    memory: int | None


def measured(spec: TrialSpec, shortest: float = SHORTEST) -> Speed:
    """Measure a trial.

    Args:
        spec: the trial.
        shortest: seconds that each measurement takes at least.

    Raises:
        InputError: as :class:`Sample`.
    """
    sample = _sample(spec)
    training = sample.images / seconds_of(sample.step, shortest)
    scoring = sample.batch / seconds_of(sample.score, shortest)
    memory = sample.trial.cost().peak_memory  # before the counting, which needs more
    forget()
    return Speed(training, scoring, sample.operations(), sample.trial.recipe.precision, memory)


def products_per_second(precision: str, device: torch.device, shortest: float = SHORTEST) -> float:
    """Floating-point operations a second in a product of two large matrices: what trials could reach.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: where; on a CPU with as many threads as torch has.
        shortest: seconds that the measurement takes at least.
    """
    side = _SIDE[device.type]
    one, other = (
        torch.randn(side, side, device=device).to(LOWER.get(precision, torch.float32)) for _ in range(2)
    )

    def product() -> None:
        (one @ other)[0, 0].item()

    product()
    return 2 * side**3 / min(seconds_of(product, shortest / 3) for _ in range(3))

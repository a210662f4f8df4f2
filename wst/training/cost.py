"""What a trial takes: seconds by kind, memory, and with what it ran."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch
from torch import nn

from wst.models.backbones import InputSpec
from wst.models.create import parameter_counts
from wst.records import Cost

if TYPE_CHECKING:
    from wst.study import Recipe
    from wst.training.spec import TrialSpec


class Clock:
    """The seconds of a trial: training, evaluation, and all in all (wall-clock), from its making on.

    What a trial took before it was interrupted counts, see :meth:`load_state_dict`; what it waits for
    others once it is stopped does not.

    Attributes:
        started: when this part of the trial began.
        training_seconds, evaluation_seconds: so far.
    """

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.training_seconds = self.evaluation_seconds = 0.0
        self._earlier = 0.0
        """Wall-clock seconds that are no longer running."""
        self._running: float | None = time.perf_counter()
        """Since when it runs; None while it stands."""

    @property
    def seconds(self) -> float:
        """Wall-clock seconds so far."""
        running = 0.0 if self._running is None else time.perf_counter() - self._running
        return self._earlier + running

    @contextmanager
    def training(self) -> Iterator[None]:
        """What happens inside is training."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add_training(time.perf_counter() - begin)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """What happens inside is evaluation."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.add_evaluation(time.perf_counter() - begin)

    def stop(self) -> None:
        """The trial waits from here on, but for the training and the evaluation that are added."""
        self._earlier, self._running = self.seconds, None

    def add_training(self, seconds: float) -> None:
        """Seconds of training: its share, where the trial shared them with others while its clock stands."""
        self.training_seconds += seconds
        self._add(seconds)

    def add_evaluation(self, seconds: float) -> None:
        """Seconds of an evaluation, likewise."""
        self.evaluation_seconds += seconds
        self._add(seconds)

    def add_setup(self, seconds: float) -> None:
        """Seconds of what is neither, likewise."""
        self._add(seconds)

    def _add(self, seconds: float) -> None:
        if self._running is None:
            self._earlier += seconds

    def state_dict(self) -> dict[str, float]:
        """What was taken so far."""
        return {
            "training": self.training_seconds,
            "evaluation": self.evaluation_seconds,
            "wall": self.seconds,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Count what an interrupted trial took before :meth:`state_dict` was taken."""
        training, evaluation, wall = (float(state[key]) for key in ("training", "evaluation", "wall"))
        self.training_seconds += training
        self.evaluation_seconds += evaluation
        self._earlier += wall


def cost(
    spec: TrialSpec,
    recipe: Recipe,
    model: nn.Module,
    input_spec: InputSpec,
    clock: Clock,
    images: int,
    device: torch.device,
) -> Cost:
    """What a trial took so far, and with what it ran.

    Args:
        spec: the trial.
        recipe: its recipe, with the precision that it comes to.
        model: what it trains.
        input_spec: size and normalisation of the model's images.
        clock: the trial's.
        images: number that it trained on so far; one in two epochs counts twice.
        device: where.
    """
    counts, node = parameter_counts(model), socket.gethostname()
    return Cost(
        trainable_parameters=counts["trainable"],
        head_parameters=counts["head"],
        total_parameters=counts["total"],
        train_seconds=clock.training_seconds,
        eval_seconds=clock.evaluation_seconds,
        wall_seconds=clock.seconds,
        images_per_second=images / clock.training_seconds if clock.training_seconds else None,
        peak_memory=_peak_memory(device),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision=recipe.precision,
        node=node,
        slot=f"{node}:{os.getpid()}",
        checkpoint_hash=spec.weights,
        normalisation=input_spec.describe_normalisation(),
        data_hash=spec.data_hash,
        preprocessing=spec.data.preprocessing(input_spec.size).words,
        started=clock.started,
        ended=datetime.now(UTC),
    )


def _peak_memory(device: torch.device) -> int:
    """In bytes: of the accelerator's memory, or on a CPU of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

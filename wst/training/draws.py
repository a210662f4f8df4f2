"""What chance decides in a trial: its start, the order of its images, what is dropped in each step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from wst.records import stable_seed
from wst.training.drop_path import StochasticDepth


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's global generators start from ``seed`` inside; outside it is as if nothing had been drawn.

    Args:
        seed: the seed.
        device: the generator of this device is seeded besides that of the CPU.
    """
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    before = [generator.get_state() for generator in generators]
    try:
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        for generator, state in zip(generators, before, strict=True):
            generator.set_state(state)


@dataclass(frozen=True, eq=False)
class Draw:
    """What chance decides about one step.

    Attributes:
        indices: (B,) int64, the images.
        masks: (modules, B), of the stochastic depth.
        seed: of whatever else the model draws, as dropout does.
        last: whether the epoch ends with it.
    """

    indices: Tensor
    masks: Tensor
    seed: int
    last: bool = False


class Draws:
    """The draws of a trial, an epoch at a time, from generators of its own.

    They depend on the trial's seed and on how many epochs were drawn, on nothing else in the process.  The
    order of the images has a generator to itself: trials of one seed that differ in stochastic depth see
    the same batches.

    Args:
        seed: the trial's.
        images: number of images in the training split.
        batch_size: images in a step.
        drop_last: leave out an epoch's last batch where it is smaller.
        depth: the model's stochastic depth.
        device: where the draws are wanted; they are drawn on the CPU and the same everywhere.

    Attributes:
        steps: number of steps in an epoch.
        images_per_epoch: number of images that an epoch trains on.
    """

    def __init__(
        self,
        seed: int,
        images: int,
        batch_size: int,
        drop_last: bool,
        depth: StochasticDepth,
        device: torch.device,
    ):
        full, rest = divmod(images, batch_size)
        self.steps = max(1, full if drop_last else full + bool(rest))
        self.images_per_epoch = min(self.steps * batch_size, images)
        self._images, self._batch_size, self._depth, self._device = images, batch_size, depth, device
        self._order = torch.Generator().manual_seed(seed)
        self._noise = torch.Generator().manual_seed(stable_seed("noise", seed))

    def epoch(self) -> Iterator[Draw]:
        """The draws of the next epoch's steps; all are drawn at once and move to the device together."""
        order = torch.randperm(self._images, generator=self._order)[: self.images_per_epoch]
        batch_size = min(self._batch_size, self._images)
        masks = self._depth.draw(self.steps, batch_size, self._noise).to(self._device)
        seeds = torch.randint(2**63 - 1, (self.steps,), generator=self._noise).tolist()
        order = order.to(self._device)
        for step, seed in enumerate(seeds):
            indices = order[step * batch_size : (step + 1) * batch_size]
            yield Draw(indices, masks[step, :, : len(indices)], seed, last=step == self.steps - 1)

    def of(self, indices: Tensor) -> Draw:
        """A step on given images that drops nothing; no generator moves on."""
        return Draw(indices, torch.ones(len(self._depth.names), len(indices), device=self._device), 0)

    def state_dict(self) -> dict[str, Tensor]:
        """Where the generators are, between two epochs."""
        return {"order": self._order.get_state(), "noise": self._noise.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from where :meth:`state_dict` was taken."""
        self._order.set_state(state["order"])
        self._noise.set_state(state["noise"])

"""A split on the device that trains, and what makes a backbone's input of its images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from wst.data.lists import Split
    from wst.data.splits import TaskData
    from wst.records import Stage


@dataclass(frozen=True, eq=False)
class Resident:
    """A split on the device: nothing moves while it is trained on.

    Attributes:
        inputs: images (N, 3, H, W) uint8, or the features of a model's first half (N, ...).
        labels: (N,) int64.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels in the split's order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.inputs[start : start + size], self.labels[start : start + size]


def resident(data: TaskData, split: Split, size: int, stage: Stage, device: torch.device) -> Resident:
    """A split decoded to ``size`` pixels a side, kept on the device for the next trial of this process.

    The disk is asked each time whether its list and files are still those that are kept.

    Raises:
        TestSplitClosedError: ``test`` outside stage ``final``.
        ChangedError: it is not as ``data`` expects.
        InputError: the data is missing or unreadable.
    """
    _, found = data.listed(split, stage)
    return _kept(replace(data, expected={split: found.content}), split, size, stage, device)


@lru_cache(maxsize=4)
def _kept(data: TaskData, split: Split, size: int, stage: Stage, device: torch.device) -> Resident:
    """A split with the content that ``data`` expects of it."""
    decoded = data.open(split, size, stage)
    images = torch.from_numpy(decoded.images).to(device)
    return Resident(images, torch.from_numpy(decoded.labels).to(device))


class Normaliser:
    """Turns uint8 images into ``(image / 255 - mean) / std``.

    The floats go into one buffer that every call overwrites: on a CPU most of the time of a fresh batch
    goes into the pages of its memory.  So a batch is done with before the next one is asked for.

    Args:
        mean: mean of each channel, in [0, 1].
        std: standard deviation of each channel, in [0, 1].
        size: side of the square images, in pixels.
        batch_size: most images in a call.
        device: where the images are.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], size: int, batch_size: int, device: torch.device
    ):
        # image / (255 std) - mean / std: one multiplication and one addition a pixel
        self._channels = [(1 / (255 * s), torch.tensor(-m / s)) for m, s in zip(mean, std, strict=True)]
        self._buffer = torch.empty(batch_size, len(mean), size, size, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 to (B, 3, H, W) float32; valid until the next call."""
        # Converted first, then a channel at a time: mixing types or broadcasting over channels is slower.
        batch = self._buffer[: len(images)].copy_(images)
        for channel, (scale, shift) in zip(batch.unbind(1), self._channels, strict=True):
            torch.add(shift, channel, alpha=scale, out=channel)
        return batch

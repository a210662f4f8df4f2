"""Bytes to normalised floats, as a backbone's input wants them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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

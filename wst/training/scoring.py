"""Scoring: how many images models classify correctly, and their loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wst.training.precision import autocast

if TYPE_CHECKING:
    from wst.study import Recipe

SCORING_BATCH = 256
"""Images in a batch that is scored."""


@torch.inference_mode()
def score(
    models: Sequence[nn.Module],
    batches: Iterable[tuple[Tensor | np.ndarray, Tensor | np.ndarray]],
    prepare: Callable[[Tensor], Tensor],
    recipe: Recipe,
    device: torch.device,
) -> list[tuple[int, float]]:
    """Score models on the same images, each of which is read once.

    Args:
        models: of one backbone; they are put in evaluation mode.
        batches: images (B, 3, H, W) uint8, or features, and labels (B,).
        prepare: makes the models' input of these.
        recipe: for the precision.
        device: where the models are.

    Returns:
        For each model: number of images classified correctly, and sum of the cross-entropies; the sum is NaN
        where a logit is no finite number, since the class of such logits, the first of them, is no answer.
    """
    correct, loss = [0] * len(models), [0.0] * len(models)
    for model in models:
        model.eval()
    for images, labels in batches:
        inputs = prepare(_tensor(images).to(device))
        target = _tensor(labels).to(device)
        for i, model in enumerate(models):
            with autocast(recipe, device):
                logits = model(inputs)
            entropy = F.cross_entropy(logits.float(), target, reduction="sum")
            correct[i] += int((logits.argmax(1) == target).sum())
            loss[i] += torch.where(logits.isfinite().all(), entropy, torch.nan).item()
    return list(zip(correct, loss, strict=True))


def _tensor(values: Tensor | np.ndarray) -> Tensor:
    """A tensor; of a memory-mapped array, which is read only, a copy."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))

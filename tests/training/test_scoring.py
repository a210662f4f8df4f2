from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wst.study import Recipe
from wst.training.batches import Normaliser, Resident
from wst.training.scoring import score

CPU = torch.device("cpu")


class _Means(nn.Module):
    """Logits from the channels' means, in an order; random in training."""

    def __init__(self, order: tuple[int, ...]):
        super().__init__()
        self.order, self.dropout = list(order), nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.dropout(images.mean((2, 3))[:, self.order])
        return logits


class _Given(nn.Module):
    """The same logits for every image."""

    def __init__(self, *logits: float):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_no_numbers_have_no_loss(broken: float) -> None:
    """The first of them would be the answer, and right for a class; so would one beside them."""
    split = Resident(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.zeros(6, dtype=torch.long))
    models = [_Given(broken, broken, broken), _Given(1.0, broken, 0.0), _Given(1.0, 0.0, 0.0)]
    normalise = Normaliser((0.5,) * 3, (0.5,) * 3, 8, 4, CPU)
    scores = score(models, list(split.batches(4)), normalise, Recipe(), CPU)
    assert [math.isfinite(loss) for _, loss in scores] == [False, False, True]
    assert scores[2][0] == 6


@pytest.mark.parametrize("mapped", [False, True])
def test_models_are_scored_on_the_same_batches(mapped: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8, generator=generator)
    split = Resident(images, torch.arange(10) % 3)
    models = [_Means((0, 1, 2)).train(), _Means((2, 0, 1)).train()]
    normalise = Normaliser((0.5,) * 3, (0.5,) * 3, 8, 4, CPU)
    batches = [(i.numpy(), np.asarray(label)) if mapped else (i, label) for i, label in split.batches(4)]
    assert [len(label) for _, label in batches] == [4, 4, 2]
    for model, (correct, loss) in zip(models, score(models, batches, normalise, Recipe(), CPU), strict=True):
        logits = model((images.double() / 255 - 0.5) / 0.5)
        assert correct == int((logits.argmax(1) == split.labels).sum())
        assert loss == pytest.approx(F.cross_entropy(logits, split.labels, reduction="sum").item(), rel=1e-5)

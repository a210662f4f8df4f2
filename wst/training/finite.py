"""What is not a number, found before anything rests on it."""

from __future__ import annotations

import math

from torch import nn

from wst.models.create import not_finite
from wst.records import Score


class DivergedError(ArithmeticError):
    """A loss, or what was trained, is no longer finite."""


def check_loss(what: str, loss: float | None, epoch: int) -> None:
    """Refuse a loss that is no finite number; None was not measured.

    Raises:
        DivergedError: naming the loss and the epoch.
    """
    if loss is not None and not math.isfinite(loss):
        raise DivergedError(f"{what} loss is {loss} in epoch {epoch}")


def check_trained(model: nn.Module, epoch: int) -> None:
    """Refuse a model in which something that was trained is no finite number.

    Raises:
        DivergedError: naming the first such tensor and the epoch.
    """
    found = not_finite(model)
    if found is not None:
        raise DivergedError(f"{found} is not finite after epoch {epoch}")


def check_score(score: Score) -> None:
    """Refuse a score of which the model's answers were no finite numbers.

    Raises:
        DivergedError: they were not.
    """
    if score.top1 is None:
        raise DivergedError(f"test loss is not finite on {score.images} images")

"""How a trial trains: parameter groups and learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from wst.study import Recipe


def optimiser(model: nn.Module, recipe: Recipe, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters in two groups, with and without weight decay.

    ``no_decay: vectors`` spares tensors of one dimension, that is biases and norms; ``biases`` spares those
    whose name ends in ``.bias``, as the authors' scripts do.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            spare = name.endswith(".bias") if recipe.no_decay == "biases" else parameter.ndim <= 1
            (spared if spare else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def learning_rate(recipe: Recipe, peak: float, epoch: float) -> float:
    """Learning rate after ``epoch`` epochs (0 at the start, fractions within an epoch).

    See :class:`wst.study.Recipe` for the two schedules.
    """
    overlapping = recipe.schedule == "timm_cosine"
    if overlapping:
        epoch = math.floor(epoch)  # stepped once an epoch
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_lr + (peak - recipe.warmup_lr) * epoch / recipe.warmup_epochs
    end = recipe.epochs - recipe.cooldown_epochs
    if epoch >= end:
        return recipe.min_lr
    start = 0 if overlapping else recipe.warmup_epochs
    progress = (epoch - start) / (end - start)
    return recipe.min_lr + (peak - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))

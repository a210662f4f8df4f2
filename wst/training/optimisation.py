"""How a trial trains: parameter groups, learning rate, precision."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from wst.study import Recipe

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
    return torch.optim.AdamW(groups, lr=lr)


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


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision for forward passes; fp16 exists on CUDA only and falls back to fp32 elsewhere."""
    if recipe.precision == "fp32" or (recipe.precision == "fp16" and device.type != "cuda"):
        return nullcontext()
    return torch.autocast(device.type, _AUTOCAST[recipe.precision])


def gradient_scaler(recipe: Recipe, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling, which fp16 on CUDA needs; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16" and device.type == "cuda")

"""How a trial trains: parameter groups, learning rate, precision."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from wst.study import Recipe

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def optimiser(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; no weight decay on biases and norms (tensors of one dimension)."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def learning_rate(recipe: Recipe, peak: float, epoch: float) -> float:
    """Learning rate after ``epoch`` epochs (0 at the start, fractions within an epoch).

    Linear from ``warmup_lr`` to ``peak`` over the warm-up, then half a cosine down to ``min_lr``.
    """
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_lr + (peak - recipe.warmup_lr) * epoch / recipe.warmup_epochs
    progress = (epoch - recipe.warmup_epochs) / (recipe.epochs - recipe.warmup_epochs)
    return recipe.min_lr + (peak - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision for forward passes; fp16 exists on CUDA only and falls back to fp32 elsewhere."""
    if recipe.precision == "fp32" or (recipe.precision == "fp16" and device.type != "cuda"):
        return nullcontext()
    return torch.autocast(device.type, _AUTOCAST[recipe.precision])


def gradient_scaler(recipe: Recipe, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling, which fp16 on CUDA needs; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16" and device.type == "cuda")

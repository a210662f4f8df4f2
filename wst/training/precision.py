"""In which numbers a trial computes: what a recipe asks for, and what the device has fast.

Parameters that are trained, their gradients, the optimiser and the norms stay in float32 in each of them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from wst.study import Recipe

LOWER = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Types of the precisions below float32, by their names in a recipe."""
_WIDE = 192
"""Width of what the head reads from which bf16 is faster on a CPU that has it: with 96 (``micro``) casts cost
more than products save (1.5 times the seconds of float32), with 192 it takes 0.77 of them, with 384 0.62."""


def resolved(recipe: Recipe, model: nn.Module, device: torch.device) -> Recipe:
    """The recipe with the precision that it comes to here.

    ``auto`` is bf16 where the device is faster with it, else fp32; fp16 exists on CUDA only and is fp32
    elsewhere.  On CUDA, fp32 is without TF32, which rounds factors to ten bits.

    Args:
        recipe: what is asked for.
        model: a timm model, or one adapted.
        device: where it will train.
    """
    precision = recipe.precision
    if precision == "auto":
        precision = "bf16" if _has_fast_bf16(model, device) else "fp32"
    elif precision == "fp16" and device.type != "cuda":
        precision = "fp32"
    if device.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return recipe.model_copy(update={"precision": precision})


def _has_fast_bf16(model: nn.Module, device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    processor = torch.cpu.get_capabilities()
    has = bool(processor.get("amx_bf16") or processor.get("avx512_bf16"))
    head = model.get_classifier()  # type: ignore[operator]
    return has and max((p.shape[1] for p in head.parameters() if p.ndim > 1), default=0) >= _WIDE


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """Mixed precision for forward passes, of a recipe that is :func:`resolved`."""
    if recipe.precision not in LOWER:
        return nullcontext()
    return torch.autocast(device.type, LOWER[recipe.precision])


def gradient_scaler(recipe: Recipe, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling, which fp16 needs; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")


@torch.no_grad()
def store_frozen(model: nn.Module, recipe: Recipe) -> None:
    """Keep what is frozen of the model's linear and convolutional maps in the type that they compute in.

    Autocast would cast them in every forward pass, and gives the same numbers.  In place.
    """
    if recipe.precision not in LOWER:
        return
    for name, module in model.named_modules():
        # Around its base layers peft computes with their weights, too, in float32.
        if type(module) in (nn.Linear, nn.Conv2d) and not name.endswith("base_layer"):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(LOWER[recipe.precision])

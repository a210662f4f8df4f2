"""Folding what was trained into the backbone's own weights, so that a plain timm model computes the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods._projections import split_qkv
from wst.methods._trunk import TimmModel, blocks


def fold_projections(model: TimmModel) -> TimmModel:
    """Put one linear map in the place of every module that can say which (``merged()``), in place."""
    for name, module in list(model.named_modules()):
        if callable(getattr(module, "merged", None)):
            model.set_submodule(name, module.merged())
    for block in blocks(model):
        split_qkv(block.attn)
    return model


@torch.no_grad()
def scale_outputs(module: nn.Module, factor: Tensor, shift: Tensor) -> None:
    """Make ``module(x)`` what ``factor * module(x) + shift`` was, in place; channels are the outputs.

    Raises:
        InputError: a shift for a module that has no bias and cannot have one.
    """
    weight = module.weight
    assert isinstance(weight, Tensor)
    weight.mul_(factor.reshape(-1, *[1] * (weight.dim() - 1)))
    if getattr(module, "bias", None) is not None:
        assert isinstance(module.bias, Tensor)
        module.bias.mul_(factor).add_(shift)
    elif isinstance(module, nn.Linear | nn.LayerNorm):
        module.bias = nn.Parameter(shift.clone(), requires_grad=False)
    else:
        raise InputError(f"backbone: expected modules that can have a bias; found {type(module).__name__}")


@torch.no_grad()
def map_inputs(linear: nn.Linear, matrix: Tensor, offset: Tensor) -> None:
    """Make ``linear(x)`` what ``linear(matrix @ x + offset)`` was, in place."""
    shift = linear.weight @ offset
    if linear.bias is None:
        linear.bias = nn.Parameter(torch.zeros_like(shift), requires_grad=False)
    linear.bias.add_(shift)
    linear.weight.copy_(linear.weight @ matrix)

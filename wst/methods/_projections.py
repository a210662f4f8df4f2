"""The linear maps inside a block, and one map from tokens to queries, keys and values in every family."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from wst.errors import InputError


def fused_qkv(attention: Any) -> nn.Linear:
    """An attention's one map to queries, keys and values; made, in place, where a family keeps three maps
    (EVA-02) or keeps the biases apart from the weight (BEiT, Swin V2).

    Raises:
        InputError: queries, keys and values differ in width.
    """
    if getattr(attention, "qkv", None) is None:
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        attention.qkv = _joined([_weight_and_bias(part) for part in parts])
        attention.q_proj = attention.k_proj = attention.v_proj = None
    elif getattr(attention, "q_bias", None) is not None:
        keys = attention.k_bias if attention.k_bias is not None else torch.zeros_like(attention.q_bias)
        weights = attention.qkv.weight.chunk(3)
        attention.qkv = _joined(list(zip(weights, (attention.q_bias, keys, attention.v_bias), strict=True)))
        attention.q_bias = attention.v_bias = None
    found: nn.Linear = attention.qkv
    if found.out_features % 3 or found.out_features != 3 * attention.proj.in_features:
        raise InputError(
            f"backbone: expected queries, keys and values of one width; found {found.out_features} channels "
            f"in all"
        )
    return found


def linear_maps(block: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps of a block's attention and MLP, by their paths in it."""
    return {
        f"{part}.{name}": module
        for part in ("attn", "mlp")
        for name, module in block.get_submodule(part).named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("cpb_mlp")  # Swin V2's position network
    }


def _weight_and_bias(linear: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
    bias = linear.bias if linear.bias is not None else linear.weight.new_zeros(linear.out_features)
    return linear.weight, bias


def _joined(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> nn.Linear:
    """A frozen linear map whose output is that of the parts, one after the other."""
    weight = torch.cat([weight for weight, _ in parts]).detach()
    joined = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    joined.weight = nn.Parameter(weight, requires_grad=False)
    joined.bias = nn.Parameter(torch.cat([bias for _, bias in parts]).detach(), requires_grad=False)
    return joined

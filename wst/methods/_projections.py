"""The linear maps inside a block, and one map from tokens to queries, keys and values in every family."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wst.errors import InputError

_APART = "apart"
"""Attribute of a map that was joined: how the family keeps it."""


def fused_qkv(attention: Any) -> nn.Linear:
    """An attention's one map to queries, keys and values; made, in place, where a family keeps three maps
    (EVA-02) or keeps the biases apart from the weight (BEiT, Swin V2).  :func:`split_qkv` takes it back.

    Raises:
        InputError: queries, keys and values differ in width.
    """
    if getattr(attention, "qkv", None) is None:
        maps = (attention.q_proj, attention.k_proj, attention.v_proj)
        biases = [one.bias for one in maps]
        attention.qkv = _joined([one.weight for one in maps], biases, apart="maps")
        attention.q_proj = attention.k_proj = attention.v_proj = None
    elif getattr(attention, "q_bias", None) is not None:
        biases = [attention.q_bias, None, attention.v_bias]
        attention.qkv = _joined(list(attention.qkv.weight.chunk(3)), biases, apart="biases")
        attention.q_bias = attention.v_bias = None
    found: nn.Linear = attention.qkv
    if found.out_features % 3 or found.out_features != 3 * attention.proj.in_features:
        raise InputError(
            f"backbone: expected queries, keys and values of one width; found {found.out_features} channels "
            f"in all"
        )
    return found


def joined_in(model: nn.Module) -> bool:
    """Whether the model has a map that :func:`fused_qkv` made."""
    return any(hasattr(module, _APART) for module in model.modules())


def split_qkv(attention: Any) -> None:
    """Undo :func:`fused_qkv`, in place, after the map may have changed.

    Raises:
        InputError: the keys' bias is no longer zero, and the family has no place for one.
    """
    joined, apart = attention.qkv, getattr(attention.qkv, _APART, None)
    if apart is None:
        return
    biases = list(joined.bias.chunk(3))
    if not apart["biased"][1] and bool(biases[1].any()):
        raise InputError("backbone: expected keys without a bias, which this family has no place for")
    kept = [nn.Parameter(bias, requires_grad=False) for bias in biases]
    weights = joined.weight.chunk(3)
    if apart["kind"] == "maps":
        for name, weight, bias, biased in zip("qkv", weights, kept, apart["biased"], strict=True):
            setattr(attention, f"{name}_proj", _linear(weight, bias if biased else None))
        attention.qkv = None
    else:
        attention.qkv = _linear(joined.weight, None)
        attention.q_bias, attention.v_bias = kept[0], kept[2]


def linear_maps(block: nn.Module) -> dict[str, nn.Linear]:
    """The linear maps of a block's attention and MLP, by their paths in it."""
    return {
        f"{part}.{name}": module
        for part in ("attn", "mlp")
        for name, module in block.get_submodule(part).named_modules()
        if isinstance(module, nn.Linear) and not name.startswith("cpb_mlp")  # Swin V2's position network
    }


def _joined(weights: list[Tensor], biases: list[Tensor | None], apart: str) -> nn.Linear:
    """A frozen linear map whose output is that of the parts, one after the other."""
    zeros = weights[0].new_zeros(len(weights[0]))
    joined = _linear(torch.cat(weights), torch.cat([zeros if bias is None else bias for bias in biases]))
    setattr(joined, _APART, {"kind": apart, "biased": [bias is not None for bias in biases]})
    return joined


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen linear map with these tensors."""
    found = nn.Linear(
        weight.shape[1], weight.shape[0], bias=bias is not None, device=weight.device, dtype=weight.dtype
    )
    found.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        found.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return found

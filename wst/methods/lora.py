"""LoRA on the attention's projections.

Hu et al.: "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._fold import fold_projections
from wst.methods._projections import fused_qkv
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, TimmModel, blocks

TARGETS = {"qv": (0, 2), "qkv": (0, 1, 2)}
"""Which thirds of the map to queries, keys and values gain something."""


class LoRA(nn.Module):
    """The map to queries, keys and values, and scale * B A x beside it.

    With ``qv`` queries and values have a pair each; with ``qkv`` one A is shared and B gives all three.
    Both have 4 * width * r parameters where the attention is as wide as the tokens.

    Args:
        linear: the frozen map, width -> 3 * attention width.
        r: rank.
        targets: a key of :data:`TARGETS`.
        scale: factor on what is added; in peft's words ``lora_alpha / r``.
        dropout: rate on what enters A.
    """

    scale: Tensor

    def __init__(self, linear: nn.Linear, r: int, targets: str, scale: float, dropout: float):
        super().__init__()
        self.linear, self.targets = linear, targets
        pairs, out = (2, linear.out_features // 3) if targets == "qv" else (1, linear.out_features)
        self.a = nn.Parameter(torch.empty(pairs, r, linear.in_features))
        self.b = nn.Parameter(torch.zeros(pairs, out, r))
        for pair in self.a:
            nn.init.kaiming_uniform_(pair, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., 3 * attention width)."""
        entering = self.dropout(tokens)
        added = [F.linear(F.linear(entering, a), b) for a, b in zip(self.a, self.b, strict=True)]
        if self.targets == "qv":
            added = [added[0], torch.zeros_like(added[0]), added[1]]
        out: Tensor = self.linear(tokens) + self.scale * torch.cat(added, dim=-1)
        return out

    def merged(self) -> nn.Linear:
        """One linear map with the same outputs."""
        products = [b @ a for a, b in zip(self.a, self.b, strict=True)]
        if self.targets == "qv":
            products = [products[0], torch.zeros_like(products[0]), products[1]]
        with torch.no_grad():
            self.linear.weight += self.scale * torch.cat(products)
        return self.linear


@method(fits=FAMILIES, free=("scale",), merge=fold_projections)
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 8,
    targets: Literal["qv", "qkv"] = "qv",
    scale: float = 1.0,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.0,
    readout: Readout = "paper",
) -> TimmModel:
    """W x + scale * B A x in every attention's projections, A r x width, B width x r.

    B starts at zero, so that the model starts as the frozen backbone.  ``qv`` has a pair for queries and one
    for values (the paper's choice); ``qkv`` shares one A among queries, keys and values (the "LoRA" of NOAH's
    tables).  4 * width * r a block either way: 294,912 on ViT-B/16 with r = 8.
    """
    set_readout(backbone, readout)
    for block in blocks(backbone):
        block.attn.qkv = LoRA(fused_qkv(block.attn), r, targets, scale, dropout)
    return backbone

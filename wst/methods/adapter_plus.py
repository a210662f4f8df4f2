"""Adapter+: one adapter after every block, with a learned factor for each channel.

Steitz, Roth: "Adapters Strike Back", CVPR 2024.
"""

from __future__ import annotations

from typing import Annotated

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._blocks import open_blocks
from wst.methods._bottleneck import Bottleneck
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, TimmModel


class _AdapterPlus(nn.Module):
    """z + factor * drop_path(adapter(z))."""

    def __init__(self, width: int, r: int, adapter_drop_path: float):
        super().__init__()
        self.adapter = Bottleneck(width, r, nn.GELU(), "small")
        self.factor = nn.Parameter(torch.ones(width))
        self.drop_path = DropPath(adapter_drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = torch.addcmul(tokens, self.factor, self.drop_path(self.adapter(tokens)))
        return out


@method(fits=FAMILIES)
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 8,
    adapter_drop_path: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """z + c * Up GELU(Down z) on what leaves a block, z (B, N, width), with a trained c (width) from one on.

    ``adapter_drop_path`` is the adapter's stochastic depth, the same in every block.  The matrices start
    small (std 0.01), not at zero.  2 * width * r + r + 2 * width a block: 165,984 on ViT-B/16 with r = 8.
    """
    set_readout(backbone, readout)
    for block in open_blocks(backbone):
        block.output = _AdapterPlus(block.dim, r, adapter_drop_path)
    return backbone

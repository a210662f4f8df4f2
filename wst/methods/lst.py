"""LST: a small transformer beside the frozen one, fed by it through a ladder of thin maps.

Sung, Cho, Bansal: "LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning",
NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods import AtLeast, method
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import HIERARCHICAL, ISOTROPIC, ONE_WIDTH, Context, OnFrozen, TimmModel

TEMPERATURE = 0.1
"""Of the gates."""


class Ladder(OnFrozen):
    """A frozen backbone and its side network.

    Args:
        backbone: frozen isotropic model with a trainable head.
        r: how many times thinner the side network is than the backbone.
    """

    def __init__(self, backbone: TimmModel, r: int):
        super().__init__(backbone)
        depth, width, heads = len(backbone.blocks), backbone.embed_dim, backbone.blocks[0].attn.num_heads
        if width % (r * heads):
            raise InputError(
                f"r of lst: expected a width of {width} to be divisible by r times {heads} heads; found {r}"
            )
        thin = width // r
        self.downs = nn.ModuleList(nn.Linear(width, thin) for _ in range(depth + 1))
        self.gates = nn.Parameter(torch.zeros(depth))
        self.side = nn.ModuleList(Block(thin, heads, qkv_bias=True) for _ in range(depth))
        self.norm, self.up = nn.LayerNorm(thin), nn.Linear(thin, width)
        self.frozen_blocks = depth

    def beside(self, tokens: Iterable[Tensor], contexts: list[Context]) -> Tensor:
        """Tokens (B, N, width) before and after every block -> the side network's, as wide as those."""
        first, *others = (down(one) for down, one in zip(self.downs, tokens, strict=True))
        side = first
        for block, gate, entering in zip(self.side, self.gates, others, strict=True):
            side = block(torch.lerp(side, entering, torch.sigmoid(gate / TEMPERATURE).to(side.dtype)))
        out: Tensor = self.up(self.norm(side))
        return out


@method(fits=ISOTROPIC, reasons=dict.fromkeys(HIERARCHICAL, ONE_WIDTH))
def adapt(backbone: TimmModel, *, r: Annotated[int, AtLeast(1)] = 8, readout: Readout = "paper") -> nn.Module:
    """h_i = side_i(g_i Down_i x_i + (1 - g_i) h_(i-1)), x_i a block's output (B, N, width).

    h is r times thinner.

    The head reads Up(norm(h)) of the last, through the backbone's own norm and pooling.  The gates
    g = sigmoid(a / 0.1) start at one half, the side network at random, where the paper prunes the backbone
    for it; so it does not start as the frozen backbone.  No gradient enters the backbone.
    """
    set_readout(backbone, readout)
    return Ladder(backbone, r)

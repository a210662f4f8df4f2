"""Convpass: convolutional bypasses beside attention and MLP.

Jie, Deng, Chen, Jin: "Convolutional Bypasses Are Better Vision Transformer Adapters", ECAI 2024.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from timm.layers import DropPath, QuickGELU
from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._blocks import Branch, open_blocks
from wst.methods._readout import Readout, set_readout
from wst.methods._scale import Scaled
from wst.methods._trunk import FAMILIES, HIERARCHICAL, TimmModel, prefix


class _Bypass(nn.Module):
    """up(dropout(act(conv(act(down(u)))))), the convolution 3 x 3 over the patches' grid.

    Class and register tokens are grids of one cell each, on which only the middle of the kernel acts.
    """

    def __init__(self, width: int, r: int, conv_init: str, dropout: float, grid: tuple[int, int], first: int):
        super().__init__()
        self.grid, self.first = grid, first
        self.down, self.conv, self.up = (
            nn.Linear(width, r),
            nn.Conv2d(r, r, 3, padding=1),
            nn.Linear(r, width),
        )
        self.activation, self.dropout = QuickGELU(), nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.up.weight)
        if conv_init == "identity":
            nn.init.zeros_(self.conv.weight)
            with torch.no_grad():
                self.conv.weight[:, :, 1, 1] = torch.eye(r)
        else:
            nn.init.xavier_uniform_(self.conv.weight)
        biases: list[Any] = [self.down.bias, self.conv.bias, self.up.bias]
        for bias in biases:
            nn.init.zeros_(bias)

    def forward(self, tokens: Tensor, entering: Tensor) -> Tensor:
        """What the block's branch reads: (B, first + H * W, width) or (B, H, W, width) -> the same shape."""
        inner = self.activation(self.down(entering))
        if inner.dim() == 4:
            mixed = self._convolved(inner)
        else:
            patches = self._convolved(inner[:, self.first :].unflatten(1, self.grid)).flatten(1, 2)
            alone = F.linear(inner[:, : self.first], self.conv.weight[:, :, 1, 1], self.conv.bias)
            mixed = torch.cat((alone, patches), dim=1)
        out: Tensor = self.up(self.dropout(self.activation(mixed)))
        return out

    def _convolved(self, maps: Tensor) -> Tensor:
        """(B, H, W, r) -> (B, H, W, r)."""
        out: Tensor = self.conv(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out


@method(fits=FAMILIES, free=("scale",))
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 8,
    position: Literal["both", "attention"] = "both",
    scale: float = 1.0,
    conv_init: Literal["identity", "xavier"] = "xavier",
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """y = x + branch(norm(x)) + scale * bypass(norm(x)), in the attention's and the MLP's place.

    The bypass is Down (width -> r), QuickGELU, a 3 x 3 convolution over the patches' grid, QuickGELU, Up,
    and has stochastic depth of its own, of the branch's rate.  ``Up`` starts at zero, so that the model
    starts as the frozen backbone.  (2 r + 1) * width + 9 r^2 + 2 r a bypass: 327,552 on ViT-B/16 with r = 8.
    """
    set_readout(backbone, readout)
    grid = (0, 0) if isinstance(backbone, HIERARCHICAL) else tuple(backbone.patch_embed.grid_size)
    for block in open_blocks(backbone):
        for branch in block.branches if position == "both" else (block.attention,):
            bypass = _Bypass(block.dim, r, conv_init, dropout, grid, prefix(backbone))
            branch.beside = _Dropped(Scaled(bypass, scale), branch)
    return backbone


class _Dropped(nn.Module):
    """A bypass with stochastic depth of its branch's rate, drawn for itself."""

    def __init__(self, bypass: nn.Module, branch: Branch):
        super().__init__()
        self.bypass = bypass
        self.drop_path = DropPath(getattr(branch.drop_path, "drop_prob", 0.0))

    def forward(self, tokens: Tensor, entering: Tensor) -> Tensor:
        out: Tensor = self.drop_path(self.bypass(tokens, entering))
        return out

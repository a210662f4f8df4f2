"""AdaptFormer: a bottleneck beside every MLP.

Chen et al.: "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition", NeurIPS 2022.
"""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._blocks import open_blocks
from wst.methods._bottleneck import Bottleneck
from wst.methods._readout import Readout, set_readout
from wst.methods._scale import Scaled
from wst.methods._trunk import FAMILIES, TimmModel


class _Beside(nn.Module):
    """The adapter on the block's tokens as they are before the norm."""

    def __init__(self, adapter: nn.Module):
        super().__init__()
        self.adapter = adapter

    def forward(self, tokens: Tensor, entering: Tensor) -> Tensor:
        out: Tensor = self.adapter(tokens)
        return out


@method(fits=FAMILIES, free=("scale",))
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 8,
    scale: float = 0.1,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """z = y + MLP(norm(y)) + scale * Up dropout(ReLU(Down y)), with y (B, N, width) after attention.

    ``Up`` starts at zero, so that the model starts as the frozen backbone.  The branch has no stochastic
    depth, as in the authors' code.  2 * width * r + r + width a block: 156,768 on ViT-B/16 with r = 8.
    """
    set_readout(backbone, readout)
    for block in open_blocks(backbone):
        adapter = Bottleneck(block.dim, r, nn.ReLU(), "zero_up", dropout)
        block.mlp.beside = _Beside(Scaled(adapter, scale))
    return backbone

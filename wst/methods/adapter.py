"""Adapters after a block's branches.

Houlsby et al.: "Parameter-Efficient Transfer Learning for NLP", ICML 2019: after attention and after the MLP;
Pfeiffer et al.: "AdapterFusion", EACL 2021: after the MLP alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import nn

from wst.methods import AtLeast, method
from wst.methods._blocks import open_blocks
from wst.methods._bottleneck import Bottleneck, Residual
from wst.methods._readout import Readout, set_readout
from wst.methods._scale import Scaled
from wst.methods._trunk import FAMILIES, TimmModel


@method(fits=FAMILIES, free=("scale",))
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 8,
    position: Literal["pfeiffer", "houlsby"] = "pfeiffer",
    scale: float = 1.0,
    readout: Readout = "paper",
) -> TimmModel:
    """u + scale * Up GELU(Down u) on what leaves the MLP branch, u (B, N, width), before it is added.

    Position ``houlsby`` has one after the attention branch as well.  Two matrices and two biases each:
    2 * width * r + r + width; 156,768 (pfeiffer) or 313,536 (houlsby) on ViT-B/16 with r = 8.  The norms
    stay frozen, which Houlsby et al. train besides.
    """
    set_readout(backbone, readout)
    for block in open_blocks(backbone):
        for branch in block.branches if position == "houlsby" else (block.mlp,):
            branch.after = Residual(Scaled(Bottleneck(block.dim, r, nn.GELU(), "small"), scale))
    return backbone

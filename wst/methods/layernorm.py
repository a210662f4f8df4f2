"""LayerNorm tuning: the weights and biases of the backbone's norms.

Basu et al.: "Strong Baselines for Parameter-Efficient Few-Shot Fine-Tuning", AAAI 2024.
"""

from __future__ import annotations

from timm.layers import RmsNorm
from torch import nn

from wst.methods import method
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import TimmModel


@method(merge=lambda model: model)
def adapt(backbone: TimmModel, *, readout: Readout = "paper") -> TimmModel:
    """Train every norm, the final one included: 2 * width * (2 * blocks + 1) on a ViT."""
    set_readout(backbone, readout)
    for module in backbone.modules():
        if isinstance(module, nn.LayerNorm | RmsNorm):
            module.requires_grad_(True)
    return backbone

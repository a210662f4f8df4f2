"""SSF: a factor and a shift for every channel, after every operation.

Lian et al.: "Scaling & Shifting Your Features: A New Baseline for Efficient Model Tuning", NeurIPS 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import RmsNorm
from torch import Tensor, nn

from wst.methods import method
from wst.methods._fold import scale_outputs
from wst.methods._projections import fused_qkv, linear_maps, split_qkv
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, TimmModel, blocks, stages

_NORMS = (nn.LayerNorm, RmsNorm)


class ScaleShift(nn.Module):
    """factor * x + shift, channel by channel; at the start near the identity (both of std 0.02)."""

    def __init__(self, width: int):
        super().__init__()
        self.factor = nn.Parameter(torch.empty(width))
        self.shift = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.factor, mean=1.0, std=0.02)
        nn.init.normal_(self.shift, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        return torch.addcmul(self.shift, tokens, self.factor)


def _after(module: Any) -> nn.Sequential:
    """A linear map or a norm, and a factor and shift on what leaves it."""
    width = module.out_features if isinstance(module, nn.Linear) else module.normalized_shape[-1]
    return nn.Sequential(module, ScaleShift(width))


def merge(model: TimmModel) -> TimmModel:
    """Fold every factor and shift into what comes before it, in place."""
    embedding = model.patch_embed
    first, *normed = embedding.norm
    scale_outputs(embedding.proj, first.factor, first.shift)
    embedding.norm = nn.Identity()
    if normed:
        scale_outputs(normed[0], normed[1].factor, normed[1].shift)
        embedding.norm = normed[0]
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], ScaleShift):
            scale_outputs(module[0], module[1].factor, module[1].shift)
            model.set_submodule(name, module[0])
    for block in blocks(model):
        split_qkv(block.attn)
    return model


@method(fits=FAMILIES, merge=merge)
def adapt(backbone: TimmModel, *, readout: Readout = "paper") -> TimmModel:
    """a * x + b after the patch embedding, every norm and every linear map, a and b of x's width.

    a starts at 1 and b at 0, each with noise of std 0.02: not exactly the frozen backbone.  On a Swin also
    after the norms of patch embedding and patch merging.  205,824 on ViT-B/16.
    """
    for block in blocks(backbone):
        fused_qkv(block.attn)
        for name, module in linear_maps(block).items():
            block.set_submodule(name, _after(module))
        block.norm1, block.norm2 = _after(block.norm1), _after(block.norm2)
    for stage in stages(backbone):
        if stage.merging is not None:
            stage.merging.norm = _after(stage.merging.norm)
    embedding = backbone.patch_embed
    width = embedding.proj.out_channels
    normed = [embedding.norm, ScaleShift(width)] if isinstance(embedding.norm, _NORMS) else []
    embedding.norm = nn.Sequential(ScaleShift(width), *normed)  # the convolution's output, channels last
    last = "fc_norm" if isinstance(backbone.norm, nn.Identity) else "norm"
    setattr(backbone, last, _after(getattr(backbone, last)))
    set_readout(backbone, readout)
    return backbone

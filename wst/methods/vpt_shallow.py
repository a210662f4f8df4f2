"""VPT-Shallow: prompts before the first block.  Source: see :mod:`wst.methods._prompts`."""

from __future__ import annotations

from typing import Annotated

from timm.models import Eva, VisionTransformer

from wst.methods import AtLeast, Below, method
from wst.methods._prompts import new_prompts, put_before
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import TimmModel


@method(fits=(VisionTransformer, Eva))
def adapt(
    backbone: TimmModel,
    *,
    prompts: Annotated[int, AtLeast(1)] = 10,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.0,
    readout: Readout = "paper",
) -> TimmModel:
    """Trained tokens (prompts, width) among those of the image (N, width), from the first block to the last.

    prompts * width parameters: 7,680 on ViT-B/16 with 10.  Not on a Swin, where the published code mixes
    images of a batch.
    """
    set_readout(backbone, readout)
    own = new_prompts(prompts, backbone.embed_dim, backbone.patch_embed.patch_size)
    put_before(backbone, {0: own}, prompts, dropout=dropout)
    return backbone

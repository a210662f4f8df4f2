"""VPT-Shallow: prompts before the first block.  Source: see :mod:`wst.methods._prompts`."""

from __future__ import annotations

from typing import Annotated

from timm.models import Beit, Eva, VisionTransformer

from wst.methods import AtLeast, Below, method
from wst.methods._prompts import NO_PLACE, new_prompts, put_before
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import HIERARCHICAL, TimmModel

_MIXES = "prompts that stay from window to window are published only in a form that mixes images of a batch"


@method(fits=(VisionTransformer, Eva), reasons={Beit: NO_PLACE, **dict.fromkeys(HIERARCHICAL, _MIXES)})
def adapt(
    backbone: TimmModel,
    *,
    prompts: Annotated[int, AtLeast(1)] = 10,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.0,
    readout: Readout = "paper",
) -> TimmModel:
    """Trained tokens (prompts, width) among those of the image (N, width), from the first block to the last.

    prompts * width parameters: 7,680 on ViT-B/16 with 10.
    """
    set_readout(backbone, readout)
    own = new_prompts(prompts, backbone.embed_dim, backbone.patch_embed.patch_size)
    put_before(backbone, {0: own}, prompts, dropout=dropout)
    return backbone

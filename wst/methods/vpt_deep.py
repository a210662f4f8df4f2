"""VPT-Deep: prompts of its own before every block.  Source: see :mod:`wst.methods._prompts`."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from timm.models import Beit, Eva, SwinTransformer, SwinTransformerV2, VisionTransformer
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._prompts import NO_PLACE, new_prompts, put_before
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import TimmModel, stages


class PromptedWindows(nn.Module):
    """The attention of a Swin block, with the same prompts in every window.

    For prompts, position bias and shift mask are zero.  What comes out of the prompts is dropped, as the next
    block has prompts of its own.

    Args:
        block: the timm block, whose norm the prompts pass as the tokens do.
        prompts: (1, number, width).
        dropout: rate on the prompts.
    """

    def __init__(self, block: SwinTransformerBlock, prompts: nn.Parameter, dropout: float):
        super().__init__()
        self.attention, self.prompts, self.dropout = block.attn, prompts, nn.Dropout(dropout)
        self._norm = (block.norm1,)  # a tuple is not searched for modules: the norm's name is the block's

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Windows (n, cells, width) and a mask (windows an image, cells, cells) -> (n, cells, width)."""
        attention, number = self.attention, self.prompts.shape[1]
        prompts = self.dropout(self.prompts.expand(windows.shape[0], -1, -1))
        prompts = self._norm[0](prompts).to(windows.dtype)
        qkv = attention.qkv(torch.cat((prompts, windows), dim=1))
        query, key, value = qkv.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        bias = attention._get_rel_pos_bias()
        if mask is not None:
            bias = bias + mask.unsqueeze(1).repeat(windows.shape[0] // mask.shape[0], 1, 1, 1)
        mixed = F.scaled_dot_product_attention(
            query[:, :, number:], key, value, attn_mask=F.pad(bias, (number, 0)).to(query.dtype)
        )
        out: Tensor = attention.proj(mixed.transpose(1, 2).flatten(2))
        return out


_V1_ALONE = "prompts in its windows are defined for V1 alone"


@method(
    fits=(VisionTransformer, Eva, SwinTransformer),
    reasons={Beit: NO_PLACE, SwinTransformerV2: _V1_ALONE},
)
def adapt(
    backbone: TimmModel,
    *,
    prompts: Annotated[int, AtLeast(1)] = 10,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """Trained tokens (prompts, width) among those of the image (N, width), others for every block.

    In a Swin they are in every window.  prompts * width a block: 92,160 on ViT-B/16 with 10.  On a Swin the
    readout is of the image's tokens alone, where the published code also counts the last block's prompts.
    """
    set_readout(backbone, readout)
    patch = backbone.patch_embed.patch_size
    if isinstance(backbone, SwinTransformer):
        first = backbone.patch_embed.proj.out_channels
        for stage in stages(backbone):
            for block in stage.blocks:
                own = new_prompts(prompts, stage.width, patch, bound_width=first)
                block.attn = PromptedWindows(block, own, dropout)
    else:
        own_of = {i: new_prompts(prompts, backbone.embed_dim, patch) for i in range(len(backbone.blocks))}
        put_before(backbone, own_of, prompts, dropout=dropout)
    return backbone

"""NOAH: prompts, LoRA and adapters in every block, each of its own size.

Zhang, Zhou, Liu: "Neural Prompt Search", arXiv 2206.04673; IEEE TPAMI 2024.  Which sizes, the search says:
search_spaces/noah.yaml and a ceiling on parameters make it one study.
"""

from __future__ import annotations

from typing import Annotated

from timm.layers import QuickGELU
from timm.models import Beit, Eva, VisionTransformer

from wst.errors import InputError
from wst.methods import AtLeast, Below, method
from wst.methods._blocks import open_blocks
from wst.methods._bottleneck import Bottleneck, Residual
from wst.methods._projections import fused_qkv
from wst.methods._prompts import NO_PLACE, Prompted, new_prompts
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import HIERARCHICAL, ONE_WIDTH, TimmModel, blocks, prefix
from wst.methods.lora import LoRA

Sizes = tuple[Annotated[int, AtLeast(0)], ...]


@method(fits=(VisionTransformer, Eva), reasons={Beit: NO_PLACE, **dict.fromkeys(HIERARCHICAL, ONE_WIDTH)})
def adapt(
    backbone: TimmModel,
    *,
    prompt_sizes: Sizes,
    lora_sizes: Sizes,
    adapter_sizes: Sizes,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """Prompts, LoRA on queries, keys and values, and an adapter behind the MLP, of a size for each block.

    Lists of one size a block: numbers of prompts, ranks, inner widths; 0 means none.  The parts are those of
    ``vpt_deep``, ``lora`` (``qkv``) and ``adapter``, with QuickGELU and one dropout; adapters start small,
    where the authors start them at random.  With p prompts, rank r and inner width h, a block has
    width * p + 4 * width * r + (2 * width + 1) * h + width (the last where h is not 0).
    """
    depth = len(blocks(backbone))
    given = {"prompt_sizes": prompt_sizes, "lora_sizes": lora_sizes, "adapter_sizes": adapter_sizes}
    for name, sizes in given.items():
        if len(sizes) != depth:
            raise InputError(f"{name} of noah: expected {depth} sizes, one a block; found {len(sizes)}")
    set_readout(backbone, readout)
    for block, rank, number in zip(blocks(backbone), lora_sizes, prompt_sizes, strict=True):
        if rank:
            block.attn.qkv = LoRA(fused_qkv(block.attn), rank, "qkv", 1.0, dropout)
        if isinstance(backbone, Eva):
            block.attn.num_prefix_tokens += number  # prompts have no position to rotate by
    width, patch, first = backbone.embed_dim, backbone.patch_embed.patch_size, prefix(backbone)
    for place, (opened, number, inner) in enumerate(
        zip(open_blocks(backbone), prompt_sizes, adapter_sizes, strict=True)
    ):
        if inner:
            opened.mlp.after = Residual(Bottleneck(width, inner, QuickGELU(), "small", dropout))
        if number:
            own = new_prompts(number, width, patch)
            backbone.blocks[place] = Prompted(opened, own, number, True, first, dropout)
    return backbone

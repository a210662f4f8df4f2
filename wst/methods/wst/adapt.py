"""WST: wavelet-based multi-scale tuning of a vision transformer or a Swin transformer.

Zeng, Huang, Wang: "WST: Wavelet-Based Multi-scale Tuning for Visual Transfer Learning", AAAI 2025,
doi 10.1609/aaai.v39i21.34387.  Here are the options and the checks; the modules are in
:mod:`wst.methods.wst.branch`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from timm.layers import PatchEmbed
from timm.models import Beit, Eva, SwinTransformer, SwinTransformerV2, VisionTransformer
from torch import nn

from wst.errors import InputError
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import TimmModel
from wst.methods.contract import AtLeast, method
from wst.methods.wst.branch import Design, WaveletTuned

_NORMED_AFTER = "its blocks norm what they add, and WST is defined where tokens are added as they are"


@method(
    fits=(VisionTransformer, Eva, Beit, SwinTransformer),
    reasons={SwinTransformerV2: _NORMED_AFTER},
    free=("scale",),
)
def adapt(
    backbone: TimmModel,
    *,
    scale: float = 1.0,
    r: Annotated[int, AtLeast(1)] = 2,
    downsampling: Literal["haar", "db2", "space_to_depth", "average", "stride"] = "haar",
    small_patch: Literal["half", "quarter"] = "half",
    blocks: Literal["all", "first-half", "last-half", "every-second"] = "all",
    small_branch: bool = True,
    previous_state: bool = True,
    readout: Readout = "paper",
) -> WaveletTuned:
    """Attach WST to a frozen timm model.

    Every option but ``scale`` and ``r`` is there for ablations, and defaults to the paper's choice: it reads
    the mean of the patch tokens, then the norm; on a Swin what the backbone reads.

    Args:
        backbone: a timm ``VisionTransformer``, ``Eva``, ``Beit`` or ``SwinTransformer`` (v1) with one head.
        scale: factor on what the branch adds to the tokens.
        r: inner width of the linear maps; in the paper 2 throughout on ViT and 4 throughout on Swin.
        downsampling: how the small-patch map reaches the backbone's grid: by a wavelet, ``haar`` or
            ``db2``, or by ``average``, ``stride`` or ``space_to_depth``.
        small_patch: side of the small patches: ``half`` or ``quarter`` of the backbone's.
        blocks: which transformer blocks get a wavelet block: ``all``, ``first-half``, ``last-half`` or
            ``every-second`` (from the first on).
        small_branch: whether there is a small patch embedding.
        previous_state: whether a wavelet block reads the output of the one before it.
        readout: see :mod:`wst.methods._readout`.

    Raises:
        InputError: the backbone does not fit, and why.
    """
    design = Design(downsampling, small_patch, blocks, small_branch, previous_state)
    if not isinstance(backbone.get_classifier(), nn.Module):
        raise InputError("backbone of wst: expected one head; found a model with two, for distillation")
    if design.small_branch:
        _check_patches(backbone, design)
    if readout == "paper" and not isinstance(backbone, SwinTransformer):
        readout = "mean"
    set_readout(backbone, readout)
    return WaveletTuned(backbone, scale, r, design)


def _check_patches(backbone: TimmModel, design: Design) -> None:
    """Whether small patches can be cut from the backbone's, and their channels fill its width."""
    embedding = backbone.patch_embed
    if not isinstance(embedding, PatchEmbed) or embedding.dynamic_img_pad:
        kind = "one that pads images" if isinstance(embedding, PatchEmbed) else type(embedding).__name__
        raise InputError(f"backbone of wst: expected a patch embedding of one convolution; found {kind}")
    parts = 2**design.levels
    if any(side % parts for side in embedding.patch_size):
        sides = " x ".join(map(str, embedding.patch_size))
        raise InputError(f"backbone of wst: expected a patch size divisible by {parts}; found {sides}")
    if embedding.img_size and any(
        side % patch for side, patch in zip(embedding.img_size, embedding.patch_size, strict=True)
    ):
        sides = " x ".join(map(str, embedding.img_size))
        raise InputError(
            f"image size of wst: expected whole patches of {embedding.patch_size[0]} pixels; found {sides}"
        )
    width = embedding.proj.out_channels
    if width % design.gain:
        raise InputError(f"backbone of wst: expected a width divisible by {design.gain}; found {width}")

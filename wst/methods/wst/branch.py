"""Frozen transformers with a small-patch wavelet branch: the modules of the method ``wst``.

Zeng, Huang, Wang: "WST: Wavelet-Based Multi-scale Tuning for Visual Transfer Learning", AAAI 2025,
doi 10.1609/aaai.v39i21.34387.

The published form carries a small-patch feature map from block to block, transforms it into the wavelet
domain at the entry of every block and back at its exit.  An inverse transform followed by the next block's
transform is the identity, so this implementation never leaves the wavelet domain: one transform in the stem
is all.  What travels from block to block is called the *state*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wst.methods._trunk import HIERARCHICAL, TimmModel, Walked, embed, prefix, stages, widths
from wst.methods.wst.wavelet import DB2, dwt, haar_dwt


class Downsampling(NamedTuple):
    """A map from (B, C, 2H, 2W) to (B, gain * C, H, W)."""

    apply: Callable[[Tensor], Tensor]
    gain: int


def _stride(maps: Tensor) -> Tensor:
    return maps[..., ::2, ::2]


DOWNSAMPLINGS = {
    "haar": Downsampling(haar_dwt, 4),
    "db2": Downsampling(partial(dwt, lowpass=DB2), 4),
    "space_to_depth": Downsampling(partial(F.pixel_unshuffle, downscale_factor=2), 4),
    "average": Downsampling(partial(F.avg_pool2d, kernel_size=2), 1),
    "stride": Downsampling(_stride, 1),
}
"""How the small-patch map reaches the grid of the backbone.

The first three are orthonormal and quadruple the channels.  ``average`` (2 x 2 means) and ``stride`` (the
upper left of every 2 x 2 cell) keep their number; the small patch embedding then is as wide as the
backbone, which takes four times the parameters.
"""

LEVELS = {"half": 1, "quarter": 2}
"""Down-samplings between the grid of the small patches and the backbone's, by the small patch's side.

At two levels every band is transformed again (a wavelet packet), so that all of them reach the one grid.
"""

BLOCK_CHOICES = {
    "all": lambda depth: range(depth),
    "first-half": lambda depth: range((depth + 1) // 2),
    "last-half": lambda depth: range(depth // 2, depth),
    "every-second": lambda depth: range(0, depth, 2),
}
"""Which of ``depth`` blocks get a wavelet block; the middle one of an odd number is in both halves."""


@dataclass(frozen=True)
class Design:
    """The choices inside the method; the defaults are the paper's.

    Attributes:
        downsampling: a key of :data:`DOWNSAMPLINGS`.
        small_patch: a key of :data:`LEVELS`: side of the small patches, as a part of the backbone's patch.
        blocks: a key of :data:`BLOCK_CHOICES`.  The state passes the other blocks unchanged.
        small_branch: whether there is a small patch embedding; without, the state starts at zero.
        previous_state: whether a wavelet block's output becomes the state.  Without, the state stays what
            the stage began with: the small patch embedding, or in later stages of a Swin the merged tokens.
    """

    downsampling: str = "haar"
    small_patch: str = "half"
    blocks: str = "all"
    small_branch: bool = True
    previous_state: bool = True

    @property
    def levels(self) -> int:
        """Number of down-samplings in the stem."""
        return LEVELS[self.small_patch]

    @property
    def gain(self) -> int:
        """Factor by which the stem multiplies the channels of the small patch embedding."""
        return int(DOWNSAMPLINGS[self.downsampling].gain ** self.levels)


class WaveletBlock(nn.Module):
    """Two thin linear maps without an activation: width -> r -> width, on tokens (..., width)."""

    def __init__(self, width: int, r: int):
        super().__init__()
        self.down = nn.Linear(width, r)
        self.up = nn.Linear(r, width)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        out: Tensor = self.up(self.down(tokens))
        return out


class SmallPatchEmbed(nn.Conv2d):
    """The stem of the branch: a convolution over small patches, a norm for Swin, the down-sampling.

    Args:
        backbone: gives the patch size and the number of input channels.
        width: channels of the result.
        design: down-sampling and size of the small patches.
        normalise: whether a trainable LayerNorm over the channels follows the convolution.
    """

    def __init__(self, backbone: TimmModel, width: int, design: Design, normalise: bool):
        embedding: Any = backbone.patch_embed
        patch = tuple(side // 2**design.levels for side in embedding.patch_size)
        channels = width // design.gain
        super().__init__(embedding.proj.in_channels, channels, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(channels) if normalise else None
        self.design = design

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> state (B, H / patch, W / patch, width), patch being the backbone's."""
        maps = super().forward(images)
        if self.norm is not None:
            maps = self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for _ in range(self.design.levels):
            maps = DOWNSAMPLINGS[self.design.downsampling].apply(maps)
        return maps.permute(0, 2, 3, 1)


class WaveletTuned(Walked):
    """A frozen transformer with a small-patch branch fused into its blocks, and into patch merging.

    With P_0 the Haar transform of the small patch embedding and x_k the raw input of block k,
    P_k = Up_k(Down_k(P_{k-1} + x_k)) and the block's output is Block_k(x_k) + scale * P_k, on patch tokens
    alone: class, register and distillation tokens gain nothing.  Patch merging, in a Swin, takes the sum of
    tokens and state, and its result Z is both the tokens and the state of the next stage, so that the first
    wavelet block there reads 2 Z.

    Args:
        backbone: frozen model with a trainable head.
        scale: factor on what a wavelet block adds to the tokens; fixed, the same in every block.  A buffer,
            since it changes no shape: models that differ in it alone are one computation on other tensors.
        r: inner width of the wavelet blocks.
        design: the choices inside the method.

    Attributes:
        small_patch_embed: the stem of the branch, or None without a small branch; it has a norm in a Swin.
        wavelet_blocks: by the index of their transformer block, counted through all stages.
    """

    scale: Tensor

    def __init__(self, backbone: TimmModel, scale: float, r: int, design: Design):
        super().__init__(backbone)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)
        self.r = r
        self.design = design
        every = widths(backbone)
        self.small_patch_embed = (
            SmallPatchEmbed(backbone, every[0], design, normalise=isinstance(backbone, HIERARCHICAL))
            if design.small_branch
            else None
        )
        self.wavelet_blocks = nn.ModuleDict(
            {str(i): WaveletBlock(every[i], r) for i in BLOCK_CHOICES[design.blocks](len(every))}
        )

    def last_tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> tokens after the last block."""
        first = prefix(self.backbone)
        tokens, contexts = embed(self.backbone, images)
        state = self._first_state(images)
        if tokens.dim() == 3:
            state = state.flatten(1, 2)
        index = 0
        for stage in stages(self.backbone):
            if stage.merging is not None:
                tokens = state = stage.merging(tokens + state)
            for block in stage.blocks:
                state, added = self._update(index, state, tokens[:, first:])
                tokens = block(tokens, **contexts[index])
                if added is not None:
                    # Zeros for the prefix: cheaper than to cut the tokens, whose gradients would be put
                    # together again, and unlike adding in place to a part it can be stacked with vmap.
                    gained = F.pad(added, (0, 0, first, 0)) if first else added
                    tokens = torch.addcmul(tokens, gained, self.scale)
                index += 1
        return tokens

    def _first_state(self, images: Tensor) -> Tensor:
        """(B, H / patch, W / patch, width); without a small branch a zero that broadcasts."""
        if self.small_patch_embed is None:
            return images.new_zeros(1, 1, 1, 1)
        state: Tensor = self.small_patch_embed(images)
        return state

    def _update(self, index: int, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """From a block's raw input: the state after it, and what its output gains (None: nothing)."""
        if str(index) not in self.wavelet_blocks:
            return state, None
        added: Tensor = self.wavelet_blocks[str(index)](state + tokens)
        return (added if self.design.previous_state else state), added

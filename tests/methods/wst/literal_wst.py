"""The method as published, transforms and all: the tests' reference for the wavelet-domain form.

A small-patch feature map of tokens (B, 4 N, C / 4) travels from block to block.  Every block transforms it
forward, mixes it with its own tokens, and transforms it back; patch merging does so too.  Nothing here is
shared with the package but the modules that hold the weights (and db2, which has a reference of its own).
"""

from collections.abc import Callable
from typing import NamedTuple

import pywt
import torch
import torch.nn.functional as F
from timm.models import Beit, Eva
from torch import Tensor

from wst.methods.wst.branch import WaveletTuned
from wst.methods.wst.wavelet import DB2, dwt, idwt


class Transform(NamedTuple):
    forward: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]


def _haar_kernels(channels: int, like: Tensor) -> Tensor:
    """Kernels (4 * channels, 1, 2, 2) for a grouped convolution, channel-major, from PyWavelets' taps."""
    low, high = (
        torch.tensor(taps[::-1], dtype=torch.float64).to(like)
        for taps in pywt.Wavelet("haar").filter_bank[:2]
    )
    bands = [
        torch.outer(rows, columns) for rows, columns in [(low, low), (high, low), (low, high), (high, high)]
    ]
    return torch.stack(bands).repeat(channels, 1, 1).unsqueeze(1)


def _haar_forward(maps: Tensor) -> Tensor:
    batch, channels, height, width = maps.shape
    bands = F.conv2d(maps, _haar_kernels(channels, maps), stride=2, groups=channels)
    return (
        bands.unflatten(1, (channels, 4))
        .transpose(1, 2)
        .reshape(batch, 4 * channels, height // 2, width // 2)
    )


def _haar_inverse(bands: Tensor) -> Tensor:
    channels = bands.shape[1] // 4
    channel_major = bands.unflatten(1, (4, channels)).transpose(1, 2).flatten(1, 2)
    return F.conv_transpose2d(channel_major, _haar_kernels(channels, bands), stride=2, groups=channels)


TRANSFORMS = {
    "haar": Transform(_haar_forward, _haar_inverse),
    "db2": Transform(lambda maps: dwt(maps, DB2), lambda bands: idwt(bands, DB2)),
    "space_to_depth": Transform(
        lambda maps: F.pixel_unshuffle(maps, 2), lambda maps: F.pixel_shuffle(maps, 2)
    ),
}


def _maps(tokens: Tensor, height: int, width: int) -> Tensor:
    """(B, H * W, C) -> (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))


def _tokens(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return maps.flatten(2).transpose(1, 2)


class _Branch:
    """The small-patch tokens and what a wavelet block does to them.

    ``height`` and ``width`` are the grid of the main tokens; the small one's sides are longer by the
    factor ``2 ** levels``.
    """

    def __init__(self, model: WaveletTuned, images: Tensor):
        self.model = model
        self.transform, self.levels = TRANSFORMS[model.design.downsampling], model.design.levels
        embed = model.small_patch_embed
        maps = F.conv2d(images, embed.weight, embed.bias, stride=embed.stride)
        self.height, self.width = (side // 2**self.levels for side in maps.shape[-2:])
        self.small = _tokens(maps)
        if embed.norm is not None:
            self.small = F.layer_norm(
                self.small, self.small.shape[-1:], embed.norm.weight, embed.norm.bias, eps=1e-5
            )

    def analyse(self) -> Tensor:
        side = 2**self.levels
        maps = _maps(self.small, side * self.height, side * self.width)
        for _ in range(self.levels):
            maps = self.transform.forward(maps)
        return _tokens(maps)

    def synthesise(self, tokens: Tensor) -> None:
        maps = _maps(tokens, self.height, self.width)
        for _ in range(self.levels):
            maps = self.transform.inverse(maps)
        self.small = _tokens(maps)

    def block(self, index: int, main: Tensor) -> Tensor:
        """What the block's output gains; the small tokens become its inverse transform."""
        layers = self.model.wavelet_blocks[str(index)]
        mixed = self.analyse() + main
        thin = mixed @ layers.down.weight.T + layers.down.bias
        wide = thin @ layers.up.weight.T + layers.up.bias
        self.synthesise(wide)
        return wide


def literal_vit(model: WaveletTuned, images: Tensor) -> Tensor:
    """Logits of a tuned ViT, Eva or Beit with all blocks, by the published form."""
    vit, prefix = model.backbone, model.backbone.num_prefix_tokens
    branch, positions = _Branch(model, images), {}
    if isinstance(vit, Beit):
        first = vit.cls_token.expand(len(images), -1, -1)
        tokens = torch.cat([first, vit.patch_embed(images)], dim=1)
        tokens = tokens if vit.pos_embed is None else tokens + vit.pos_embed
        positions = {"shared_rel_pos_bias": vit.rel_pos_bias() if vit.rel_pos_bias else None}
    else:
        tokens = vit._pos_embed(vit.patch_embed(images))
        if isinstance(vit, Eva):
            tokens, positions["rope"] = tokens
        tokens = vit.norm_pre(tokens)
    for index, block in enumerate(vit.blocks):
        gain = branch.block(index, tokens[:, prefix:])
        out = block(tokens, **positions)
        tokens = torch.cat([out[:, :prefix], out[:, prefix:] + model.scale * gain], dim=1)
    mean = tokens[:, prefix:].mean(dim=1)
    return model.get_classifier()(vit.fc_norm(vit.norm(mean)))


def _cells(tokens: Tensor, height: int, width: int) -> Tensor:
    """The 2 x 2 cells of tokens (B, H * W, C) as (B, ceil(H / 2) * ceil(W / 2), 4 C), odd sides padded."""
    maps = F.pad(_maps(tokens, height, width), (0, width % 2, 0, height % 2))
    cells = [maps[..., row::2, column::2] for row, column in [(0, 0), (1, 0), (0, 1), (1, 1)]]
    return _tokens(torch.cat(cells, dim=1))


def literal_swin(model: WaveletTuned, images: Tensor) -> Tensor:
    """Logits of a tuned Swin with all blocks, by the published form."""
    swin, branch, index = model.backbone, _Branch(model, images), 0
    tokens = swin.patch_embed(images).flatten(1, 2)
    for number, stage in enumerate(swin.layers):
        if number:
            height, width = branch.height, branch.width
            both = _cells(tokens, height, width) + _cells(branch.analyse(), height, width)
            branch.height, branch.width = (height + 1) // 2, (width + 1) // 2
            tokens = stage.downsample.reduction(stage.downsample.norm(both))
            branch.synthesise(tokens)
        for block in stage.blocks:
            gain = branch.block(index, tokens)
            out = block(tokens.unflatten(1, (branch.height, branch.width))).flatten(1, 2)
            tokens = out + model.scale * gain
            index += 1
    return model.get_classifier()(swin.norm(tokens).mean(dim=1))

"""WST on a vision transformer in its published form: a transform and its inverse in every block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wst.models import backbones
from wst.records import Backbone


class Haar(nn.Module):
    """The Haar transform of feature maps and its inverse, as grouped convolutions; bands LL, LH, HL, HH."""

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        signs = [[[1, 1], [1, 1]], [[1, 1], [-1, -1]], [[1, -1], [1, -1]], [[1, -1], [-1, 1]]]
        self.register_buffer("filters", torch.tensor(signs).unsqueeze(1) / 2, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, 2H, 2W) -> (B, 4C, H, W), one convolution a band."""
        channels = maps.shape[1]
        bands = [
            F.conv2d(maps, each.expand(channels, 1, 2, 2), stride=2, groups=channels) for each in self.filters
        ]
        return torch.cat(bands, dim=1)

    def inverse(self, bands: Tensor) -> Tensor:
        """(B, 4C, H, W) -> (B, C, 2H, 2W)."""
        batch, channels, height, width = bands.shape
        channels //= 4
        # The four bands of a channel side by side, as a group is.
        grouped = bands.reshape(batch, 4, channels, height, width).transpose(1, 2)
        grouped = grouped.reshape(batch, 4 * channels, height, width)
        filters = self.filters.repeat(channels, 1, 1, 1)
        return F.conv_transpose2d(grouped, filters, stride=2, groups=channels)


class WaveletBlock(nn.Module):
    """What goes beside one transformer block."""

    def __init__(self, width: int, r: int, grid: tuple[int, int]):
        super().__init__()
        self.grid = grid
        self.haar = Haar()
        self.down = nn.Linear(width, r)
        self.up = nn.Linear(r, width)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens (B, N, C) and small ones (B, 4N, C / 4) -> what the tokens gain, new small tokens."""
        height, width = self.grid
        maps = small.transpose(1, 2).reshape(len(small), -1, 2 * height, 2 * width)
        bands = self.haar(maps).flatten(2).transpose(1, 2)
        gained = self.up(self.down(bands + tokens))
        maps = gained.transpose(1, 2).reshape(len(small), -1, height, width)
        return gained, self.haar.inverse(maps).flatten(2).transpose(1, 2)


class LiteralWST(nn.Module):
    """A frozen timm ViT with the small branch beside it; maps images (B, 3, H, W) to logits.

    Args:
        backbone: ``micro``, or the name of a timm ViT, whose weights are random.
        classes: width of the head.
        r: inner width of the wavelet blocks.
        scale: factor on what they add.
        drop_path: stochastic-depth rate of the last block.
    """

    def __init__(self, backbone: str, classes: int, *, r: int, scale: float, drop_path: float):
        super().__init__()
        self.vit = backbones.create(Backbone(backbone), num_classes=classes, drop_path=drop_path)
        width, patch = self.vit.embed_dim, self.vit.patch_embed.patch_size[0] // 2
        self.small_patch_embed = nn.Conv2d(3, width // 4, kernel_size=patch, stride=patch)
        grid = self.vit.patch_embed.grid_size
        self.wavelet_blocks = nn.ModuleList(WaveletBlock(width, r, grid) for _ in self.vit.blocks)
        self.scale = scale

    @property
    def image_size(self) -> int:
        return self.vit.patch_embed.img_size[0]

    def forward(self, images: Tensor) -> Tensor:
        vit, first = self.vit, self.vit.num_prefix_tokens
        small = self.small_patch_embed(images).flatten(2).transpose(1, 2)
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
        for block, wavelet_block in zip(vit.blocks, self.wavelet_blocks, strict=True):
            gained, small = wavelet_block(tokens[:, first:], small)
            tokens = block(tokens)
            tokens[:, first:] += self.scale * gained
        return vit.head(vit.fc_norm(vit.norm(tokens[:, first:].mean(dim=1))))

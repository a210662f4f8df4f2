"""WST: wavelet-based multi-scale tuning of a vision transformer.

Zeng, Huang, Wang: "WST: Wavelet-Based Multi-scale Tuning for Visual Transfer Learning", AAAI 2025,
doi 10.1609/aaai.v39i21.34387.

The published form carries a small-patch feature map from block to block, transforms it into the wavelet
domain at the entry of every block and back at its exit.  An inverse transform followed by the next block's
transform is the identity, so this implementation never leaves the wavelet domain: one transform in the stem
is all.
"""

from __future__ import annotations

from timm.models import VisionTransformer
from torch import Tensor, nn

from wst.errors import InputError
from wst.wavelet import haar_dwt


class WaveletBlock(nn.Module):
    """Two thin linear maps without an activation: width -> r -> width, on tokens (B, N, width)."""

    def __init__(self, width: int, r: int):
        super().__init__()
        self.down = nn.Linear(width, r)
        self.up = nn.Linear(r, width)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        out: Tensor = self.up(self.down(tokens))
        return out


class WaveletTunedViT(nn.Module):
    """A frozen timm ``VisionTransformer`` with a small-patch branch fused into every block.

    With P_0 the Haar transform of the small patch embedding and x_k the raw input of block k,
    P_k = Up_k(Down_k(P_{k-1} + x_k)) and the block's output is Block_k(x_k) + scale * P_k, on patch tokens
    alone.  The readout is the mean of the patch tokens, then the frozen final norm, then the head.

    Args:
        backbone: frozen model with a trainable head.
        scale: factor on what the branch adds to the tokens; fixed, the same in every block.
        r: inner width of the linear maps.
    """

    def __init__(self, backbone: VisionTransformer, scale: float, r: int):
        super().__init__()
        width = backbone.embed_dim
        height, width_px = backbone.patch_embed.patch_size
        small = (height // 2, width_px // 2)
        self.backbone = backbone
        self.scale = scale
        self.small_patch_embed = nn.Conv2d(3, width // 4, kernel_size=small, stride=small)
        self.wavelet_blocks = nn.ModuleList(WaveletBlock(width, r) for _ in backbone.blocks)

    def get_classifier(self) -> nn.Module:
        """The head."""
        head: nn.Module = self.backbone.get_classifier()
        return head

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> pooled, normalised features (B, width)."""
        vit = self.backbone
        prefix = vit.num_prefix_tokens
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
        branch = haar_dwt(self.small_patch_embed(images)).flatten(2).transpose(1, 2)
        for block, wavelet_block in zip(vit.blocks, self.wavelet_blocks, strict=True):
            branch = wavelet_block(branch + tokens[:, prefix:])
            tokens = block(tokens)
            tokens[:, prefix:].add_(branch, alpha=self.scale)
        pooled: Tensor = vit.fc_norm(vit.norm(tokens[:, prefix:].mean(dim=1)))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes)."""
        logits: Tensor = self.get_classifier()(self.forward_features(images))
        return logits


def adapt(backbone: nn.Module, *, scale: float = 1.0, r: int = 2) -> nn.Module:
    """Attach WST to a frozen timm model.

    Args:
        backbone: a timm ``VisionTransformer`` with an even patch size and a width divisible by four.
        scale: factor on what the branch adds to the tokens.
        r: inner width of the linear maps; 2 throughout the paper's ViT experiments.

    Raises:
        InputError: the backbone does not fit, and why.
    """
    name = type(backbone).__name__
    if not isinstance(backbone, VisionTransformer):
        raise InputError(f"backbone of wst: expected a timm VisionTransformer; found {name}")
    if any(side % 2 for side in backbone.patch_embed.patch_size):
        raise InputError(
            f"backbone of wst: expected an even patch size; found {backbone.patch_embed.patch_size[0]}"
        )
    if backbone.embed_dim % 4:
        raise InputError(f"backbone of wst: expected a width divisible by 4; found {backbone.embed_dim}")
    if r < 1:
        raise InputError(f"r of wst: expected at least 1; found {r}")
    return WaveletTunedViT(backbone, float(scale), int(r))

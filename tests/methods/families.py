"""Small models of every family that methods know, frozen but for the head."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.models import Beit, Eva, SwinTransformer, SwinTransformerV2, VisionTransformer
from torch import nn

CLASSES, SIZE = 5, 32
_PLAIN = {"img_size": SIZE, "patch_size": 8, "embed_dim": 32, "num_heads": 2, "num_classes": CLASSES}
_STAGED = {
    "img_size": SIZE,
    "embed_dim": 16,
    "depths": (2, 1, 1),
    "num_heads": (2, 2, 4),
    "window_size": 4,
    "num_classes": CLASSES,
}

FAMILIES: dict[str, Callable[[float], nn.Module]] = {
    "vit": lambda rate: VisionTransformer(**_PLAIN, depth=3, drop_path_rate=rate),
    "vit with registers and layer scale": lambda rate: VisionTransformer(
        **_PLAIN, depth=3, reg_tokens=3, no_embed_class=True, init_values=0.1, drop_path_rate=rate
    ),
    "eva": lambda rate: Eva(
        **_PLAIN,
        depth=3,
        num_reg_tokens=2,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        init_values=0.1,
        global_pool="token",
        drop_path_rate=rate,
    ),
    "eva with separate maps and a gated MLP": lambda rate: Eva(
        **_PLAIN, depth=3, qkv_fused=False, swiglu_mlp=True, use_rot_pos_emb=True, drop_path_rate=rate
    ),
    "beit": lambda rate: Beit(
        **_PLAIN, depth=3, init_values=0.1, use_rel_pos_bias=True, use_abs_pos_emb=False, drop_path_rate=rate
    ),
    "beit with a shared bias": lambda rate: Beit(
        **_PLAIN, depth=3, use_shared_rel_pos_bias=True, drop_path_rate=rate
    ),
    "swin": lambda rate: SwinTransformer(**_STAGED, drop_path_rate=rate),
    "swin v2": lambda rate: SwinTransformerV2(**_STAGED, drop_path_rate=rate),
}
"""By name: a model, given its rate of stochastic depth."""


def frozen(family: str, rate: float = 0.0) -> nn.Module:
    """The same weights at every call.  Nothing is at a value that hides a fault: biases, the tables of
    relative positions and the norms are random too."""
    torch.manual_seed(0)
    model = FAMILIES[family](rate)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2 or "table" in name or "token" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.get_classifier().weight.normal_(std=0.02)
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    return model


def images(number: int = 4) -> torch.Tensor:
    """The same at every call."""
    return torch.randn(number, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))

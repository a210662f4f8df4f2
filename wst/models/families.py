"""Families of backbones by name, for who lists or completes names and needs no torch for it."""

from __future__ import annotations

from dataclasses import dataclass

MICRO = "micro"
"""The embedded backbone."""


@dataclass(frozen=True)
class Family:
    """Models of timm's that are one kind of transformer.

    Attributes:
        kind: their class in timm.
        module: of ``timm.models`` that names them.
        examples: some of them, one for each way of pre-training.
    """

    kind: str
    module: str
    examples: tuple[str, ...]

    def names(self) -> list[str]:
        """All that this timm knows, without the names of weights."""
        import timm  # loads torch

        found: list[str] = timm.list_models(module=self.module)
        return found


FAMILIES = (
    Family(
        "VisionTransformer",
        "vision_transformer",
        (
            "vit_base_patch16_224.orig_in21k",
            "vit_base_patch16_224.mae",
            "vit_base_patch14_reg4_dinov2.lvd142m",
            "vit_base_patch16_clip_224.openai",
            "vit_base_patch16_siglip_224.webli",
        ),
    ),
    Family(
        "VisionTransformer",
        "deit",
        ("deit_base_distilled_patch16_224.fb_in1k", "deit3_base_patch16_224.fb_in22k_ft_in1k"),
    ),
    Family("Eva", "eva", ("vit_base_patch16_dinov3.lvd1689m", "eva02_base_patch14_224.mim_in22k")),
    Family("Beit", "beit", ("beit_base_patch16_224.in22k_ft_in22k", "beitv2_base_patch16_224.in1k_ft_in22k")),
    Family("SwinTransformer", "swin_transformer", ("swin_base_patch4_window7_224.ms_in22k",)),
    Family("SwinTransformerV2", "swin_transformer_v2", ("swinv2_base_window12_192.ms_in22k",)),
)
"""What the methods here are written for; the table in docs/methods.md says which fits which."""

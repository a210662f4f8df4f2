"""Families of backbones by name, for who lists or completes names and needs no torch for it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from wst.errors import InputError
from wst.files import is_file
from wst.records import Backbone
from wst.shipped import ASSETS
from wst.suggest import hint

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


def checkpoint_file(backbone: Backbone) -> Path | None:
    """The weights file of a backbone: the one given, the embedded one of ``micro``, or None.

    Raises:
        InputError: the file does not exist.
    """
    if backbone.checkpoint is None:
        return ASSETS / "micro.safetensors" if backbone.name == MICRO else None
    path = Path(backbone.checkpoint)
    if not is_file(path):
        raise InputError(f"checkpoint: expected a file; found none at {backbone.checkpoint}")
    return path


def check_mentioned(backbone: Backbone) -> None:
    """Refuse a backbone whose name stands in no file of timm's models, or whose checkpoint is not there,
    without importing timm.

    Whether a name that does stand there is a model's is for :func:`wst.models.backbones.check_name` to say.

    Raises:
        InputError: unknown name, with the nearest known ones, or no such file.
    """
    checkpoint_file(backbone)
    found, model = find_spec("timm"), backbone.name.partition(".")[0]
    if model == MICRO or found is None or found.origin is None:
        return
    text = "".join(path.read_text("utf-8") for path in Path(found.origin).parent.glob("models/*.py"))
    if not re.search(rf"\b{re.escape(model)}\b", text):
        models = re.findall(r"^@register_model\s+def (\w+)\(", text, re.MULTILINE)
        raise unknown(backbone.name, models)


def unknown(name: str, models: Iterable[str]) -> InputError:
    """What to say of a name that is none of timm's models."""
    models, (model, _, _) = sorted(models), name.partition(".")
    near = [one for one in models if model.split("_")[0] in one][:3]
    return InputError(
        f"backbone: expected 'micro' or a timm model name (such as "
        f"{', '.join(near) or 'vit_base_patch16_224'}); found {name!r}{hint(model, [MICRO, *models])}"
    )

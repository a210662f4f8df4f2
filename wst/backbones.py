"""Backbones: timm models, their pre-trained weights and their normalisation; the embedded micro backbone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import VisionTransformer
from torch import Tensor, nn

from wst.errors import InputError
from wst.resources import ASSETS
from wst.study import Normalisation

MICRO = "micro"
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_HEADS = ("head.", "head_dist.", "fc_norm_head.", "pre_logits.")


@dataclass(frozen=True)
class InputSpec:
    """What a backbone expects: square images of ``size`` pixels, normalised channel by channel."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def describe_normalisation(self) -> str:
        """Mean and standard deviation as text, for the ledger."""
        return f"mean {'/'.join(map(str, self.mean))} std {'/'.join(map(str, self.std))}"


def micro_vit(num_classes: int = 0, drop_path: float = 0.0, image_size: int = 32) -> VisionTransformer:
    """The micro backbone's architecture: a ViT of 0.47 M parameters on 32 x 32 images, 16 tokens."""
    return VisionTransformer(
        img_size=image_size,
        patch_size=8,
        embed_dim=96,
        depth=4,
        num_heads=3,
        class_token=False,
        global_pool="avg",
        num_classes=num_classes,
        drop_path_rate=drop_path,
    )


def check_name(name: str) -> None:
    """Refuse what is neither ``micro`` nor a timm model.

    Raises:
        InputError: unknown name, with the nearest known ones.
    """
    if name != MICRO and not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0]}*")[:3]
        raise InputError(
            f"backbone: expected 'micro' or a timm model name (such as "
            f"{', '.join(near) or 'vit_base_patch16_224'}); found {name!r}"
        )


def checkpoint_file(name: str, checkpoint: str | None) -> Path | None:
    """The weights file of a backbone: the one given, the embedded one of ``micro``, or None.

    Raises:
        InputError: the file does not exist.
    """
    if checkpoint is None:
        return ASSETS / "micro.safetensors" if name == MICRO else None
    path = Path(checkpoint)
    if not path.is_file():
        raise InputError(f"checkpoint: expected a file; found none at {checkpoint}")
    return path


@lru_cache(maxsize=8)
def checkpoint_hash(path: Path) -> str:
    """SHA-256 of a weights file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def create(
    name: str,
    *,
    num_classes: int,
    checkpoint: str | None = None,
    drop_path: float = 0.0,
    image_size: int | None = None,
) -> nn.Module:
    """A timm model with a fresh head, pre-trained weights loaded, everything but the head frozen.

    Args:
        name: ``micro`` or a timm model name.
        num_classes: width of the head; its weight starts from a normal truncated at two sigma (std 0.02), its
            bias at 0.
        checkpoint: weights file; without one ``micro`` takes its own, and any other model stays random.
        drop_path: stochastic-depth rate of the last block; it grows linearly from 0 over the blocks.
        image_size: side of the input; position embeddings are resampled to it.

    Raises:
        InputError: unknown name, or a checkpoint that does not fit; the message names keys.
    """
    check_name(name)
    if name == MICRO:
        model: nn.Module = micro_vit(num_classes, drop_path, image_size or 32)
    else:
        size: dict[str, Any] = {"img_size": image_size} if image_size else {}
        model = timm.create_model(name, num_classes=num_classes, drop_path_rate=drop_path, **size)
    path = checkpoint_file(name, checkpoint)
    if path is not None:
        _load(model, path)
    model.requires_grad_(False)
    head: Any = model.get_classifier()  # type: ignore[operator]
    head.requires_grad_(True)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return model


def timm_model(adapted: nn.Module) -> nn.Module:
    """The timm model inside an adapted model: its ``backbone``, or itself where the method wraps nothing."""
    inner: nn.Module = getattr(adapted, "backbone", adapted)
    return inner


def input_spec(name: str, model: nn.Module, normalisation: Normalisation) -> InputSpec:
    """Image size and normalisation of a model.

    ``checkpoint`` takes the statistics that timm records for the weights' name, 0.5 for ``micro``.
    """
    embedding: Any = model.patch_embed
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    mean, std = HALF
    if normalisation == "imagenet":
        mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    elif normalisation == "checkpoint" and name != MICRO:
        mean, std = tuple(config.get("mean", mean)), tuple(config.get("std", std))
    return InputSpec(embedding.img_size[0], mean, std)


@lru_cache(maxsize=2)
def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file, kept for the next trial in this process."""
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        if path.suffix in (".pth", ".pt"):
            content = torch.load(path, map_location="cpu", weights_only=True)
            for key in ("model", "state_dict"):
                if isinstance(content, dict) and isinstance(content.get(key), dict):
                    content = content[key]
            if isinstance(content, dict) and all(isinstance(value, Tensor) for value in content.values()):
                return content
            raise InputError(f"{path}: expected tensors by name (under 'model' or 'state_dict'); found none")
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: expected a readable weights file; found a broken one ({first})") from None
    except Exception as error:  # unpickling refuses code with its own exception
        raise InputError(
            f"{path}: expected tensors only; found something else ({type(error).__name__})"
        ) from None
    raise InputError(f"{path}: expected .safetensors, .pth or .pt; found {path.suffix or 'no ending'!r}")


def _load(model: nn.Module, path: Path) -> None:
    weights = {key: value for key, value in _read_weights(path).items() if not key.startswith(_HEADS)}
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(_HEADS)}
    missing, surplus = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shaped = sorted(k for k in own.keys() & weights.keys() if own[k].shape != weights[k].shape)
    for what, keys in (("missing", missing), ("surplus", surplus), ("wrongly shaped", shaped)):
        if keys:
            more = f" and {len(keys) - 4} more" if len(keys) > 4 else ""
            raise InputError(
                f"{path}: expected this backbone's weights; found {what} keys {', '.join(keys[:4])}{more}"
            )
    model.load_state_dict(weights, strict=False)

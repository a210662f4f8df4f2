"""Backbones: timm models with one head, frozen, and their normalisation; the embedded micro backbone."""

from __future__ import annotations

import hashlib
import logging
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import VisionTransformer
from torch import nn

from wst.errors import ChangedError, InputError
from wst.models.families import MICRO, checkpoint_file, unknown
from wst.models.freezing import keep_statistics, linear_head
from wst.models.weights import FileStamp, check_finite, file_stamp, load_checkpoint
from wst.records import Backbone
from wst.suggest import hint

_log = logging.getLogger(__name__)
logging.getLogger("timm").addHandler(logging.NullHandler())  # what it says of its own loading

MICRO_PATCH = 8
LARGEST_IMAGE = 4096
"""Pixels a side; more would be a mistake that fills the memory."""
SMALLEST_IMAGE = 32
"""Of backbones without patches, which make images smaller by so many times."""
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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
        patch_size=MICRO_PATCH,
        embed_dim=96,
        depth=4,
        num_heads=3,
        class_token=False,
        global_pool="avg",
        num_classes=num_classes,
        drop_path_rate=drop_path,
    )


def check_name(name: str) -> None:
    """Refuse what is neither ``micro`` nor a timm model, and the name of weights that timm does not know.

    Raises:
        InputError: unknown name, with the nearest known ones.
    """
    model, dot, tag = name.partition(".")
    now = timm.models.get_deprecated_models().get(name)
    if now is not None:
        _say(f"backbone: {name} is called {now} now")
    if name != MICRO and not timm.is_model(name):
        raise unknown(name, timm.list_models())
    known = timm.models.get_arch_pretrained_cfgs(model) if dot else {}
    if dot and name not in known:
        tags = [one.partition(".")[2] for one in known]
        raise InputError(
            f"backbone: expected a name that timm has for weights of {model} "
            f"({', '.join(filter(None, tags)) or 'none'}); found {tag!r}{hint(tag, tags)}"
        )


@lru_cache(maxsize=64)
def _say(line: str) -> None:
    """Once a process: a model is made anew for each trial."""
    _log.warning("wst: %s", line)


@lru_cache(maxsize=8)
def patch_size(name: str) -> int | None:
    """Pixels a side that become one token of a backbone, whatever its image size; None where it cuts images
    into no patches, or not evenly.

    Raises:
        InputError: timm cannot make it.
    """
    if name == MICRO:
        return MICRO_PATCH
    with torch.device("meta"):
        embedding: Any = getattr(_made(name), "patch_embed", None)
    ratio = getattr(embedding, "feat_ratio", None)
    return int(ratio()) if ratio is not None else None


def check_size(backbone: Backbone) -> None:
    """Refuse an image size that is not made of whole patches: the model would never see the last rows.

    Raises:
        InputError: with the nearest sizes that fit.
    """
    size = backbone.image_size
    if size is None:
        return
    patch = patch_size(backbone.name)
    if patch is None:
        if not SMALLEST_IMAGE <= size <= LARGEST_IMAGE:
            raise InputError(
                f"image_size: expected {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels for {backbone.name}; "
                f"found {size}"
            )
        return
    if size % patch == 0 and 0 < size <= LARGEST_IMAGE:
        return
    below = min(max(size // patch, 1), LARGEST_IMAGE // patch) * patch
    fits = [fit for fit in (below, below + patch) if fit <= LARGEST_IMAGE and (size > patch or fit == patch)]
    raise InputError(
        f"image_size: expected a multiple of {backbone.name}'s patch of {patch} pixels, such as "
        f"{' or '.join(map(str, fits))}; found {size}"
    )


def takes_size(backbone: Backbone) -> bool:
    """Whether timm has to know the size of a backbone's images; others take any."""
    with torch.device("meta"):
        try:
            timm.create_model(backbone.name, img_size=backbone.image_size)
        except TypeError:
            return False
    return True


def checkpoint_hash(path: Path) -> str:
    """SHA-256 of a weights file, remembered until it changes on disk."""
    return _file_hash(path, file_stamp(path))


@lru_cache(maxsize=8)
def _file_hash(path: Path, _stamp: FileStamp) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_id(backbone: Backbone) -> str | None:
    """What tells pre-trained weights apart: their file's SHA-256, or ``timm:<model>.<tag>`` for fetched ones.

    None means random weights.

    Raises:
        InputError: the file does not exist.
    """
    path = checkpoint_file(backbone)
    if path is not None:
        return checkpoint_hash(path)
    if backbone.pretrained:
        config = timm.get_pretrained_cfg(backbone.name)
        return f"timm:{config.architecture}.{config.tag}" if config else f"timm:{backbone.name}"
    return None


def create(
    backbone: Backbone, *, num_classes: int, drop_path: float = 0.0, expected: str | None = None
) -> nn.Module:
    """A timm model with a fresh head, pre-trained weights loaded, everything but the head frozen.

    Without weights any model but ``micro`` stays at random, which serves for counting and for tests.

    Args:
        backbone: which; position embeddings are resampled to its image size.
        num_classes: width of the head; its weight starts from a normal truncated at two sigma (std 0.02),
            its bias at 0.
        drop_path: stochastic-depth rate of the last block; it grows linearly from 0 over the blocks.
        expected: :func:`weights_id` of the weights that must be loaded; any when None.

    Raises:
        ChangedError: the weights are others than expected.
        InputError: unknown name, an image size of no whole patches, a checkpoint that does not fit (the
            message names keys), or weights that cannot be fetched.
    """
    name = backbone.name
    check_name(name)
    if backbone.pretrained and backbone.checkpoint is not None:
        raise InputError(f"pretrained: expected no checkpoint beside it; found {backbone.checkpoint}")
    check_size(backbone)
    if name == MICRO:
        model: nn.Module = micro_vit(num_classes, drop_path, backbone.image_size or 32)
    else:
        size: dict[str, Any] = {"img_size": backbone.image_size} if backbone.image_size else {}
        make = _fetched if backbone.pretrained else _made
        model = make(name, num_classes=num_classes, drop_path_rate=drop_path, **size)
    head = linear_head(model, name)
    if expected is None:
        path = checkpoint_file(backbone)
        if path is not None:
            load_checkpoint(model, path)
    else:
        _load_expected(model, backbone, expected)
    model.requires_grad_(False)
    keep_statistics(model)
    model.get_classifier().requires_grad_(True)  # type: ignore[operator]
    nn.init.trunc_normal_(head.weight, std=0.02)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return model


def _made(name: str, **settings: Any) -> nn.Module:
    """A timm model.  Where its class has no argument for a rate of 0, or for the images' size since any will
    do, it goes without.

    Raises:
        InputError: the rate does not fit this model, or timm cannot make it, and why.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"timm\.")
            model: nn.Module = timm.create_model(name, **settings)
            return model
    except TypeError as error:
        unknown = next((key for key in ("img_size", "drop_path_rate") if f"'{key}'" in str(error)), None)
        if unknown is None or unknown not in settings:
            raise _unmade(name, error) from error
        value = settings.pop(unknown)
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            raise
        raise _unmade(name, error) from error
    if unknown == "drop_path_rate" and value:
        raise InputError(
            f"drop_path: expected 0 for {name}, which has no paths that could be dropped; found {value}"
        )
    return _made(name, **settings)


def _unmade(name: str, error: Exception) -> InputError:
    first = str(error).strip().partition("\n")[0]
    return InputError(
        f"backbone: expected a model that timm can make; found {name!r} ({type(error).__name__}: {first})"
    )


def _load_expected(model: nn.Module, backbone: Backbone, expected: str) -> None:
    """Load a backbone's weights, provided that they are the expected ones before and after.

    Raises:
        ChangedError: they are not, or there are none any more.
        InputError: as :func:`load_checkpoint`.
    """
    what = f"weights of {backbone.name!r}: expected them to stay as they were (hash {expected[:12]})"
    try:
        path, found = checkpoint_file(backbone), weights_id(backbone)
        before = file_stamp(path) if path is not None else None
    except (InputError, OSError) as error:
        raise ChangedError(f"{what}; found: {error}") from None
    if found != expected:
        raise ChangedError(f"{what}; found others ({str(found)[:12]})")
    if path is None:
        return
    problem = None
    try:
        load_checkpoint(model, path)
    except (InputError, OSError) as error:  # of a file that is just being replaced, maybe
        problem = error
    if not path.is_file() or file_stamp(path) != before:
        raise ChangedError(f"{what}; found {path} changed while it was read")
    if problem is not None:
        raise problem


def _fetched(name: str, *, num_classes: int, **settings: Any) -> nn.Module:
    """A timm model with timm's weights, loaded strictly: with the head they came with, which then goes."""
    try:
        model = _made(name, pretrained=True, **settings)
    except InputError as error:
        if error.__cause__ is None:
            raise
        # The network, the hub and the weights each fail with errors of their own.
        first = str(error.__cause__).strip().partition("\n")[0]
        raise InputError(
            f"pretrained: expected weights for {name} in timm's cache or on its hub; "
            f"found none ({type(error.__cause__).__name__}: {first})"
        ) from error.__cause__
    check_finite(model.state_dict(), f"pretrained weights of {name}")
    model.reset_classifier(num_classes)  # type: ignore[operator]
    return model


def input_spec(model: nn.Module, backbone: Backbone) -> InputSpec:
    """Image size and normalisation of a backbone's timm model.

    ``checkpoint`` takes the statistics that timm records for the weights' name, 0.5 for ``micro``.
    """
    side: Any = getattr(getattr(model, "patch_embed", None), "img_size", None)
    config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    mean, std = HALF
    if backbone.normalisation == "imagenet":
        mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    elif backbone.normalisation == "checkpoint" and backbone.name != MICRO:
        mean, std = tuple(config.get("mean", mean)), tuple(config.get("std", std))
    size = side[0] if side is not None else backbone.image_size or int(config["input_size"][-1])
    return InputSpec(size, mean, std)

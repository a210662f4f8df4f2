"""Merging: an adapted model as a plain timm model with the same outputs, and what cannot be merged costs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import timm
import torch
from timm.models import Eva, VisionTransformer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wst.errors import InputError
from wst.methods import registry
from wst.models.backbones import takes_size
from wst.models.create import ADAPTED_BY, Adapted, adapted, parameter_counts, without_weights
from wst.models.families import MICRO
from wst.records import Backbone, Hyperparameters


def merge(model: nn.Module) -> nn.Module:
    """A plain timm model that gives what an adapted one gives; the given model stays as it is.

    Args:
        model: of :func:`wst.create_model`, or ``model`` of a loaded adapter.

    Raises:
        InputError: it was made otherwise, or its method or this backbone has no place for what was trained.
    """
    reference = getattr(model, ADAPTED_BY, None)
    if reference is None:
        raise InputError(f"merge: expected a model that create_model made; found {type(model).__name__}")
    method = registry.get(reference)
    if method.merge is None:
        able = ", ".join(name for name in registry.names() if registry.get(name).merge is not None)
        raise InputError(f"merge: expected a method that folds into its backbone ({able}); found {reference}")
    merged = method.merge(copy.deepcopy(model)).requires_grad_(False)
    if hasattr(merged, ADAPTED_BY):  # the same module still
        delattr(merged, ADAPTED_BY)
    return merged


class Inference(NamedTuple):
    """What a forward pass of one image takes.

    Attributes:
        parameters: of the model, with the head.
        flops: of matrix products, convolutions and attention; a multiplication and an addition are two.
    """

    parameters: int
    flops: int


def inference(backbone: Backbone, method: str, settings: Hyperparameters, num_classes: int) -> Inference:
    """Cost of one image, counted in a model that takes no memory, or in one of random weights where the
    method computes with shapes that depend on numbers.

    Raises:
        InputError: as :func:`wst.create_model`.
    """
    found = without_weights(backbone, method, settings, num_classes=num_classes)
    total = parameter_counts(found.model)["total"]
    try:
        return Inference(total, _operations(found, "meta"))
    except NotImplementedError:
        unread = replace(backbone, checkpoint=None, pretrained=False)
        return Inference(
            total, _operations(adapted(unread, method, settings, num_classes=num_classes), "cpu")
        )


def _operations(found: Adapted, device: str) -> int:
    """Of a forward pass of one image."""
    size = found.input.size
    model = found.model.eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, size, size, device=device))
    operations: int = counter.get_total_flops()
    return operations


def timm_arguments(model: nn.Module, backbone: Backbone, num_classes: int) -> dict[str, Any]:
    """What ``timm.create_model`` takes, beside the name, to make a merged model's like.

    Raises:
        InputError: timm has no arguments for the way it reads its tokens.
    """
    found: dict[str, Any] = {"num_classes": num_classes}
    if backbone.image_size and backbone.name != MICRO and takes_size(backbone):
        found["img_size"] = backbone.image_size
    usual = without_weights(backbone, "linear", {}, num_classes=num_classes).model
    if _reads(model) == _reads(usual):
        return found
    norm_argument = {VisionTransformer: "fc_norm", Eva: "use_fc_norm"}.get(type(model))
    if norm_argument is None:
        raise InputError(
            f"readout: expected the backbone's own for {type(model).__name__}, as timm has no argument for "
            "another; found another"
        )
    pooling, normed_after = _reads(model)
    return {**found, "global_pool": pooling, norm_argument: normed_after}


def check_head(model: nn.Module, backbone: Backbone, arguments: Mapping[str, Any]) -> None:
    """Refuse a merged model whose head is none of timm's, which would not load the file.

    Args:
        model: the merged model.
        backbone: of it.
        arguments: :func:`timm_arguments`.

    Raises:
        InputError: timm gives this backbone another head.
    """
    if backbone.name == MICRO:
        return
    with torch.device("meta"):
        theirs = timm.create_model(backbone.name, **arguments).state_dict().keys()
    differs = sorted(model.state_dict().keys() ^ theirs)
    if differs:
        raise InputError(
            f"merge: expected a backbone whose head timm has as one linear map; found {backbone.name} "
            f"({', '.join(differs[:3])})"
        )


def _reads(model: nn.Module) -> tuple[str, bool]:
    """How a timm model pools its tokens, and whether the norm comes after that."""
    return str(getattr(model, "global_pool", "")), isinstance(getattr(model, "norm", None), nn.Identity)

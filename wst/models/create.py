"""Adapted models: a frozen backbone, a method, a head."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wst.errors import InputError
from wst.methods import registry
from wst.models import backbones
from wst.records import Backbone


def create_model(
    backbone: str,
    *,
    method: str = "wst",
    num_classes: int,
    checkpoint: str | None = None,
    pretrained: bool = False,
    drop_path: float = 0.0,
    image_size: int | None = None,
    **hyperparameters: object,
) -> nn.Module:
    """A module that maps images (B, 3, H, W) to logits (B, num_classes).

    Only the method's parameters and the head are trainable.

    Args:
        backbone: ``micro`` or a timm model name.
        method: one of :func:`wst.methods.registry.names`, or another reference that
            :mod:`wst.methods.registry` knows.
        num_classes: number of classes.
        checkpoint: weights file of the backbone; without one ``micro`` takes its own, and any other backbone
            stays at random, which serves for counting parameters and for tests.
        pretrained: take the weights that timm knows under this name, from its cache or the network.
        drop_path: stochastic-depth rate of the last block.
        image_size: side of the input in pixels; the backbone's own when left out.
        **hyperparameters: the method's, such as ``scale`` and ``r``.

    Raises:
        InputError: an unknown name, or a backbone or checkpoint that does not fit.

    Example:
        >>> model = create_model("micro", method="wst", num_classes=10, scale=1.0, r=2)
        >>> parameter_counts(model)["trainable"]
        3104
    """
    frozen = Backbone(backbone, checkpoint, pretrained, image_size)
    return adapted(frozen, method, hyperparameters, num_classes=num_classes, drop_path=drop_path).model


ADAPTED_BY = "adapted_by"
"""Attribute of an adapted model: the reference to its method."""


class Adapted(NamedTuple):
    """An adapted model, and the images that its backbone expects."""

    model: nn.Module
    input: backbones.InputSpec


def adapted(
    backbone: Backbone,
    method: str,
    hyperparameters: Mapping[str, object],
    *,
    num_classes: int,
    drop_path: float = 0.0,
    method_hash: str | None = None,
    weights: str | None = None,
) -> Adapted:
    """:func:`create_model` of a backbone as a value, and of the method's hyperparameters alone.

    Args:
        method_hash: that the method's file must have, see :func:`wst.methods.registry.get`.
        weights: what tells the backbone's weights apart, see :func:`wst.models.backbones.create`.

    Raises:
        InputError: as :func:`create_model`, or the method returns something else than it should.
    """
    found = registry.get(method, method_hash)
    found.checked(hyperparameters)  # before the weights, which take longer
    frozen = backbones.create(backbone, num_classes=num_classes, drop_path=drop_path, expected=weights)
    spec = backbones.input_spec(frozen, backbone)
    model = found(frozen, **hyperparameters)
    problem = _problem(model)
    if problem is not None:
        raise InputError(f"method {found.name}: expected it to return {problem}")
    setattr(model, ADAPTED_BY, method)
    return Adapted(model, spec)


def _problem(model: object) -> str | None:
    """What a method has to return and has not, in words; None where all is well."""
    if not isinstance(model, nn.Module):
        return f"a module; found {type(model).__name__}"
    if not callable(getattr(model, "get_classifier", None)):
        return f"a module with timm's get_classifier(); found {type(model).__name__} without it"
    head = model.get_classifier()  # type: ignore[operator]
    if not isinstance(head, nn.Module) or not all(p.requires_grad for p in head.parameters()):
        return "a model whose head is a trainable module; found it frozen, or none"
    for name, module in model.named_modules():
        if getattr(module, "track_running_stats", False):
            kind = type(module).__name__
            return f"a model that keeps no statistics of what it has seen; found {kind} at {name!r}"
    return None


def own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What makes an adapted model of its backbone, by name: the trainable parameters, and the buffers of its
    state, such as random projections that a method draws once.  What blocks share is there once."""
    names = {
        f"{place}.{name}".lstrip(".")
        for place, module in model.named_modules()
        if not isinstance(module, _BatchNorm)  # the backbone's, which learn nothing
        for name, _ in module.named_buffers(recurse=False)
    }
    names |= {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: t for name, t in model.state_dict(keep_vars=True).items() if name in names}


def not_finite(model: nn.Module) -> str | None:
    """The name of the first of :func:`own_tensors` that holds what is no number; None where all do.

    A parameter's values must be finite besides; a buffer, such as a mask, may hold infinities.
    """
    for name, tensor in own_tensors(model).items():
        if tensor.is_floating_point() or tensor.is_complex():
            sound = tensor.isfinite() if tensor.requires_grad else ~tensor.isnan()
            if not bool(sound.all()):
                return name
    return None


def count_without_weights(
    backbone: Backbone, method: str, hyperparameters: Mapping[str, object]
) -> dict[str, int]:
    """:func:`parameter_counts` for one class, from a model that takes no memory.

    Args:
        backbone: which; its weights are not read.
        method: one of :func:`wst.methods.registry.names`, or another reference that
            :mod:`wst.methods.registry` knows.
        hyperparameters: the method's.

    Raises:
        InputError: as :func:`create_model`.
    """
    return parameter_counts(without_weights(backbone, method, hyperparameters, num_classes=1).model)


def without_weights(
    backbone: Backbone, method: str, hyperparameters: Mapping[str, object], *, num_classes: int
) -> Adapted:
    """:func:`adapted`, as a model that takes no memory and has no values; no weights are read.

    Raises:
        InputError: as :func:`create_model`.
    """
    with _no_memory():
        return adapted(_empty(backbone), method, hyperparameters, num_classes=num_classes)


def count_backbone(backbone: Backbone) -> int:
    """Parameters of a backbone without its head, from a model that takes no memory.

    Raises:
        InputError: as :func:`create_model`.
    """
    with _no_memory():
        model = backbones.create(_empty(backbone), num_classes=1)
    counts = parameter_counts(model)
    return counts["total"] - counts["head"]


def _empty(backbone: Backbone) -> Backbone:
    return replace(backbone, checkpoint=None, pretrained=False)


@contextmanager
def _no_memory() -> Iterator[None]:
    """Models made in the block have shapes and no values."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that are copied nowhere
        yield


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Numbers of parameters: ``trainable`` without the head (as papers count), ``head``, ``total``."""
    classifier: nn.Module = model.get_classifier()  # type: ignore[operator]
    head = sum(p.numel() for p in classifier.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"trainable": trainable - head, "head": head, "total": sum(p.numel() for p in model.parameters())}

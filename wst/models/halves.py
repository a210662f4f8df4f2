"""An adapted model in two halves: what its method leaves untouched, and the rest.

The first half gives the same for an image in every step of every trial, so that its output can be kept
(:mod:`wst.training.features`).  Both halves share the model's modules; together they compute what it does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from wst.methods._trunk import FAMILIES, ISOTROPIC, Context, OnFrozen, TimmModel, blocks, embed, pooled, walk
from wst.methods.contract import Method
from wst.models.create import own_tensors


class Halves(nn.Module, ABC):
    """The halves of a model: :meth:`first`, and a call for the rest.

    Args:
        model: adapted; it stays the owner of all that is trained, under the name ``model``.

    Attributes:
        key: what tells the first half apart from others of the same backbone.
    """

    key: str

    def __init__(self, model: TimmModel):
        super().__init__()
        self.model = model

    @abstractmethod
    def first(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> features (B, ...); nothing in it is trained or draws."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Features -> logits (B, classes)."""

    def hold(self, images: Tensor) -> bool:
        """Whether they compute what the model does in training, and nothing of the first half is trained.

        Tried with some normalised images (B, 3, H, W).  A model may do more than timm's interface says (drop
        by a function, add a second head), and a user's method may touch more than it says.
        """
        training = self.model.training
        self.train()
        try:
            with torch.enable_grad():
                if self.first(images).requires_grad:
                    return False
            with torch.no_grad():
                found = [self(self.first(images)), self(self.first(images))]
                found += [self.model(images), self.model(images)]
            return all(torch.equal(found[0], other) for other in found[1:])
        finally:
            self.train(training)


def halves(model: nn.Module, method: Method, settings: Mapping[str, object]) -> Halves | None:
    """Take an adapted model apart; None where nothing is untouched and the same in every step.

    Args:
        model: adapted by ``method``, with stochastic depth as timm makes it.
        method: the method.
        settings: its hyperparameters.
    """
    if isinstance(model, OnFrozen):
        alike = isinstance(model.backbone, ISOTROPIC)  # tokens of one shape in all blocks
        drops = any(draws(block) for block in blocks(model.backbone)[: model.frozen_blocks])
        return _Beside(model) if alike and not drops else None
    untouched = method.untouched(model, **settings)
    around: Any = model  # peft's model is one around timm's
    timm_model = around.get_base_model() if hasattr(around, "get_base_model") else model
    of_a_family = isinstance(timm_model, FAMILIES)
    every = len(blocks(timm_model)) if of_a_family else 1
    if untouched >= every and _only_the_head_is_own(model):
        return None if draws(model) else _Head(model, settings)
    if not of_a_family:
        return None
    kept = 0
    for block in blocks(timm_model)[:untouched]:
        if draws(block):
            break
        kept += 1
    return _Blocks(model, timm_model, kept) if kept else None


def _only_the_head_is_own(model: nn.Module) -> bool:
    """Whether a method has neither trained nor drawn anything but the head, and the head can be fed alone."""
    head = model.get_classifier()  # type: ignore[operator]
    known = {id(tensor) for tensor in head.parameters()}
    return callable(getattr(model, "forward_head", None)) and all(
        id(tensor) in known for tensor in own_tensors(model).values()
    )


def draws(module: nn.Module) -> bool:
    """Whether it drops something in training."""
    return any(
        (isinstance(one, DropPath) and one.drop_prob > 0) or (isinstance(one, _DropoutNd) and one.p > 0)
        for one in module.modules()
    )


class _Head(Halves):
    """The head, on what it reads (B, width)."""

    def __init__(self, model: TimmModel, settings: Mapping[str, object]):
        super().__init__(model)
        self.key = ", ".join(
            ["input of the head", *(f"{name} {value}" for name, value in sorted(settings.items()))]
        )

    def first(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.forward_head(self.model.forward_features(images), pre_logits=True)
        return features

    def forward(self, features: Tensor) -> Tensor:
        head = self.model.get_classifier()
        if isinstance(head, nn.Conv2d):  # which timm applies before it flattens
            features = features[..., None, None]
        logits: Tensor = head(features).flatten(1)
        return logits


class _Blocks(Halves):
    """All from a block on, on the tokens that enter it.

    Args:
        model: adapted.
        timm_model: the timm model in it.
        kept: number of blocks in the first half.
    """

    def __init__(self, model: nn.Module, timm_model: TimmModel, kept: int):
        super().__init__(model)
        self.key = f"tokens after {kept} blocks"
        self._kept = kept
        self._timm_model = (timm_model,)  # a tuple is not searched for modules: it has its name in the model
        self._contexts = _Contexts(timm_model)

    def first(self, images: Tensor) -> Tensor:
        (model,) = self._timm_model
        return walk(model, *embed(model, images), 0, self._kept)

    def forward(self, features: Tensor) -> Tensor:
        (model,) = self._timm_model
        contexts = self._contexts.on(features.device)
        tokens = walk(model, features, contexts, self._kept, len(contexts))
        logits: Tensor = model.get_classifier()(pooled(model, tokens))
        return logits


class _Beside(Halves):
    """What stands beside a frozen backbone and reads its blocks' tokens."""

    model: OnFrozen

    def __init__(self, model: OnFrozen):
        super().__init__(model)
        self.key = f"tokens before and after each of {model.frozen_blocks} blocks"
        self._contexts = _Contexts(model.backbone)

    def first(self, images: Tensor) -> Tensor:
        return torch.stack(list(self.model.frozen(*embed(self.model.backbone, images))), 1)

    def forward(self, features: Tensor) -> Tensor:
        contexts = self._contexts.on(features.device)
        logits: Tensor = self.model.classify(self.model.beside(features.unbind(1), contexts))
        return logits


class _Contexts:
    """What a model's blocks get beside their tokens: of an image's size, whatever it shows."""

    def __init__(self, model: TimmModel):
        self._model = model
        self._made: list[Context] | None = None

    def on(self, device: torch.device) -> list[Context]:
        """Those on a device, where the model is by then; as ordinary tensors, since the first call may be in
        inference mode and later ones train."""
        if self._made is None:
            with torch.inference_mode(False), torch.no_grad():
                size = self._model.patch_embed.img_size
                _, self._made = embed(self._model, torch.zeros(1, 3, *size, device=device))
        return self._made

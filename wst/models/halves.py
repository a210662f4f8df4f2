"""An adapted model in two halves: what its method leaves untouched, and the rest.

The first half gives the same for an image in every step of every trial, so that its output can be kept
(:mod:`wst.training.features`).  Both halves share the model's modules; together they compute what it does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from wst.methods._trunk import FAMILIES, Context, OnFrozen, TimmModel, blocks, embed, pooled, walk
from wst.methods.contract import Method


class Halves(nn.Module, ABC):
    """The halves of a model: :meth:`first`, and a call for the rest.

    Args:
        model: adapted; it stays the owner of all that is trained, under the name ``model``.

    Attributes:
        words: what tells the first half apart from others of the same backbone.
    """

    words: str

    def __init__(self, model: TimmModel):
        super().__init__()
        self.model = model

    @abstractmethod
    def first(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> features (B, ...); nothing in it is trained or draws."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Features -> logits (B, classes)."""


def halves(model: nn.Module, method: Method, settings: Mapping[str, object]) -> Halves | None:
    """Take an adapted model apart; None where nothing is untouched and the same in every step.

    Args:
        model: adapted by ``method``, with stochastic depth as timm makes it.
        method: the method.
        settings: its hyperparameters.
    """
    if isinstance(model, OnFrozen):
        return None if _draws(model.backbone) else _Beside(model)
    untouched = method.untouched(model, **settings)
    if untouched > 0 and _trains_the_head_alone(model):
        return None if _draws(model) else _Head(model, settings)
    if not isinstance(model, FAMILIES):
        return None
    kept = 0
    for block in blocks(model)[:untouched]:
        if _draws(block):
            break
        kept += 1
    return _Blocks(model, kept) if kept else None


def _trains_the_head_alone(model: nn.Module) -> bool:
    if not callable(getattr(model, "forward_head", None)):
        return False
    head = {id(parameter) for parameter in model.get_classifier().parameters()}  # type: ignore[operator]
    return all(id(parameter) in head for parameter in model.parameters() if parameter.requires_grad)


def _draws(module: nn.Module) -> bool:
    """Whether it drops something in training."""
    return any(
        (isinstance(one, DropPath) and one.drop_prob > 0) or (isinstance(one, nn.Dropout) and one.p > 0)
        for one in module.modules()
    )


class _Head(Halves):
    """The head, on what it reads."""

    def __init__(self, model: TimmModel, settings: Mapping[str, object]):
        super().__init__(model)
        self.words = ", ".join(
            ["input of the head", *(f"{name} {value}" for name, value in sorted(settings.items()))]
        )

    def first(self, images: Tensor) -> Tensor:
        features: Tensor = self.model.forward_head(self.model.forward_features(images), pre_logits=True)
        return features

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model.get_classifier()(features)
        return logits


class _Blocks(Halves):
    """All from a block on, on the tokens that enter it.

    Args:
        kept: number of blocks in the first half.
    """

    def __init__(self, model: TimmModel, kept: int):
        super().__init__(model)
        self.words = f"tokens after {kept} blocks"
        self._kept = kept
        self._contexts: list[Context] | None = None

    def first(self, images: Tensor) -> Tensor:
        tokens, contexts = embed(self.model, images)
        return walk(self.model, tokens, contexts, 0, self._kept)

    def forward(self, features: Tensor) -> Tensor:
        if self._contexts is None:  # of an image's size, not of what it shows
            # Not while the model is made, which may move to another device; and for training too, where the
            # first call is one without gradients.
            with torch.inference_mode(False), torch.no_grad():
                size = self.model.patch_embed.img_size
                _, self._contexts = embed(self.model, torch.zeros(1, 3, *size, device=features.device))
        tokens = walk(self.model, features, self._contexts, self._kept, len(self._contexts))
        logits: Tensor = self.model.get_classifier()(pooled(self.model, tokens))
        return logits


class _Beside(Halves):
    """What stands beside a frozen backbone and reads its blocks' outputs."""

    words = "tokens before and after every block"
    model: OnFrozen

    def first(self, images: Tensor) -> Tensor:
        return torch.stack(list(self.model.frozen(images)), 1)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model.classify(self.model.beside(features.unbind(1)))
        return logits

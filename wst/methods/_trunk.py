"""timm's vision transformers seen alike: an embedding, blocks in stages, a norm and a pooling.

Isotropic families (``VisionTransformer``, ``Eva``, ``Beit``) are one stage of blocks of one width, on tokens
(B, prefix + N, width): class, register and distillation tokens first, then the patches row by row.
Hierarchical ones (``SwinTransformer``, ``SwinTransformerV2``) are several stages of growing width on tokens
(B, H, W, width) without a prefix; all but the first begin with patch merging.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from timm.models import Beit, Eva, SwinTransformer, SwinTransformerV2, VisionTransformer
from torch import Tensor, nn

ISOTROPIC = (VisionTransformer, Eva, Beit)
HIERARCHICAL = (SwinTransformer, SwinTransformerV2)
FAMILIES = ISOTROPIC + HIERARCHICAL
"""The classes of timm models that these functions know."""

TimmModel = Any
"""A model of :data:`FAMILIES`; to a type checker it could be anything, as timm's classes are."""

ONE_WIDTH = "what its blocks share needs blocks of one width"
"""Why a method refuses a hierarchical model."""

Context = dict[str, Any]
"""What a block takes beside the tokens, by keyword: rotary positions (``Eva``), a bias shared by all blocks
(``Beit``)."""


class Stage(NamedTuple):
    """Blocks of one width.

    Attributes:
        blocks: the container, in which blocks may be replaced.
        width: of its tokens.
        merging: patch merging, which comes before the blocks; None at a model's first stage.
    """

    blocks: nn.Sequential | nn.ModuleList
    width: int
    merging: nn.Module | None


def stages(model: TimmModel) -> list[Stage]:
    """The stages of a model of :data:`FAMILIES`, first to last."""
    if not isinstance(model, HIERARCHICAL):
        return [Stage(model.blocks, model.embed_dim, None)]
    found = []
    for stage in model.layers:
        merging = None if isinstance(stage.downsample, nn.Identity) else stage.downsample
        found.append(Stage(stage.blocks, stage.dim if merging is None else merging.out_dim, merging))
    return found


def blocks(model: TimmModel) -> list[Any]:
    """All transformer blocks, first to last."""
    return [block for stage in stages(model) for block in stage.blocks]


def widths(model: TimmModel) -> list[int]:
    """Width of every block, first to last."""
    return [stage.width for stage in stages(model) for _ in stage.blocks]


def prefix(model: TimmModel) -> int:
    """Tokens before the patches."""
    return 0 if isinstance(model, HIERARCHICAL) else int(model.num_prefix_tokens)


def embed(model: TimmModel, images: Tensor) -> tuple[Tensor, list[Context]]:
    """Images (B, 3, H, W) -> the tokens that enter the first block, and each block's context."""
    depth = len(blocks(model))
    if isinstance(model, HIERARCHICAL):
        return model.patch_embed(images), [{} for _ in range(depth)]
    tokens = model.patch_embed(images)
    if isinstance(model, Eva):
        tokens, rope = model._pos_embed(tokens)
        each = rope if getattr(model, "rope_mixed", False) and rope is not None else [rope] * depth
        return model.norm_pre(tokens), [{"rope": one} for one in each]
    if isinstance(model, Beit):
        tokens = torch.cat((model.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)
        if model.pos_embed is not None:
            tokens = tokens + model.pos_embed
        bias = None if model.rel_pos_bias is None else model.rel_pos_bias()
        return model.pos_drop(tokens), [{"shared_rel_pos_bias": bias} for _ in range(depth)]
    assert isinstance(model, VisionTransformer)
    return model.norm_pre(model.patch_drop(model._pos_embed(tokens))), [{} for _ in range(depth)]


def walk(model: TimmModel, tokens: Tensor, contexts: list[Context], start: int, stop: int) -> Tensor:
    """The blocks ``start`` to ``stop`` (excluded), with the patch merging before a stage's first.

    Args:
        model: of :data:`FAMILIES`.
        tokens: that enter block ``start``; before the merging, where it begins a stage.
        contexts: of all blocks, from :func:`embed`.
        start, stop: numbers of blocks, from 0.
    """
    number = 0
    for stage in stages(model):
        for place, block in enumerate(stage.blocks):
            if start <= number < stop:
                if place == 0 and stage.merging is not None:
                    tokens = stage.merging(tokens)
                tokens = block(tokens, **contexts[number])
            number += 1
    return tokens


def pooled(model: TimmModel, tokens: Tensor) -> Tensor:
    """The last block's tokens -> what the head reads (B, width): the model's final norm and its pooling."""
    features: Tensor = model.forward_head(model.norm(tokens), pre_logits=True)
    return features


class Walked(nn.Module, ABC):
    """A backbone whose blocks a method calls itself, since it carries something from one to the next.

    Args:
        backbone: frozen model of :data:`FAMILIES`, with a trainable head.
    """

    def __init__(self, backbone: TimmModel):
        super().__init__()
        self.backbone = backbone

    def get_classifier(self) -> nn.Module:
        """The head."""
        head: nn.Module = self.backbone.get_classifier()
        return head

    @abstractmethod
    def last_tokens(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> what the final norm and the pooling get."""

    def forward_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> what the head reads (B, width)."""
        return pooled(self.backbone, self.last_tokens(images))

    def classify(self, tokens: Tensor) -> Tensor:
        """What the final norm and the pooling get -> logits (B, classes)."""
        logits: Tensor = self.get_classifier()(pooled(self.backbone, tokens))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes)."""
        return self.classify(self.last_tokens(images))


class OnFrozen(Walked):
    """A network beside a backbone, fed by the tokens of its first blocks, which no gradient enters.

    Attributes:
        frozen_blocks: number of these blocks.
    """

    frozen_blocks: int

    @torch.no_grad()
    def frozen(self, tokens: Tensor, contexts: list[Context]) -> Iterator[Tensor]:
        """What :func:`embed` gives -> the tokens that enter each frozen block, and those that leave the last;
        where a stage ends with it, behind the merging."""
        number = 0
        for stage in stages(self.backbone):
            if stage.merging is not None:
                tokens = stage.merging(tokens)
            for block in stage.blocks:
                yield tokens
                if number == self.frozen_blocks:
                    return
                tokens = block(tokens, **contexts[number])
                number += 1
        yield tokens

    @abstractmethod
    def beside(self, tokens: Iterable[Tensor], contexts: list[Context]) -> Tensor:
        """What :meth:`frozen` gives, and the blocks' contexts -> what the final norm and the pooling get."""

    def last_tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> what the final norm and the pooling get."""
        tokens, contexts = embed(self.backbone, images)
        return self.beside(self.frozen(tokens, contexts), contexts)

"""A timm model made a backbone: one linear map as its head, and batch norms that stay as they are."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from timm.models import Levit, VisionTransformer
from timm.models.deit import VisionTransformerDistilled
from timm.models.levit import LevitDistilled
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wst.errors import InputError

_Module = TypeVar("_Module", bound=nn.Module)


class _SingleHeadDistilled(VisionTransformerDistilled):  # type: ignore[misc]
    """A DeiT whose one head reads the mean of the class token and the distillation token, where its pooling
    is that of tokens."""

    def get_classifier(self) -> nn.Module:
        head: nn.Module = self.head
        return head

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if self.global_pool != "token":
            found: Tensor = VisionTransformer.forward_head(self, x, pre_logits=pre_logits)
            return found
        pooled: Tensor = self.head_drop((x[:, 0] + x[:, 1]) / 2)
        return pooled if pre_logits else self.head(pooled)


def single_head(model: VisionTransformerDistilled) -> None:
    """Take a distilled DeiT's second head away, in place; its distillation token stays among the tokens.

    timm's model has a classifier for each of its two tokens and averages their logits; here a model has one
    head.
    """
    model.head_dist = nn.Identity()
    model.__class__ = _SingleHeadDistilled


def linear_head(model: nn.Module, name: str) -> Any:
    """The one linear map of a model's head, in whose place it is; heads with more become that where they can.

    Args:
        model: a timm model, changed in place: a second head goes, and the batch norm that a LeViT has before
            its map, which has seen nothing yet and changes nothing.
        name: of it, for the message.

    Raises:
        InputError: its head is something else.
    """
    if isinstance(model, VisionTransformerDistilled):
        single_head(model)
    elif getattr(model, "aux_head", None) is not None:  # of VOLO, on every token
        model.aux_head = None  # type: ignore[assignment]
    elif isinstance(model, Levit):
        if isinstance(model, LevitDistilled):
            del model.head_dist
            model.__class__ = Levit
        model.head = model.head.linear
    head = model.get_classifier()  # type: ignore[operator]
    parts = list(head.modules()) if isinstance(head, nn.Module) else []
    maps = [part for part in parts if isinstance(part, nn.Linear | nn.Conv2d)]
    if len(maps) != 1 or len(list(head.parameters())) != len(list(maps[0].parameters())):
        raise InputError(f"backbone: expected a timm model whose head is one linear map; found {name!r}")
    return maps[0]


def keep_statistics(model: nn.Module) -> None:
    """Make a model's batch norms normalise by what they were pre-trained with, also in training, in place: a
    frozen backbone is the same whatever it sees."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.track_running_stats = False
            kind: Any = type(module)
            module.__class__ = _kept(kind)
            module.eval()


@cache
def _kept(kind: Any) -> Any:
    """A class of batch norms that have no training mode."""
    return type(kind.__name__, (kind,), {"train": _as_in_evaluation})


def _as_in_evaluation(module: _Module, mode: bool = True) -> _Module:
    return nn.Module.train(module, False)

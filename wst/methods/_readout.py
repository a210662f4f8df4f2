"""Which of the last block's tokens the head reads: an option of every method, since it changes results.

A linear head may read points more from the class token than from the mean of the patch tokens (docs/method.md
has one case), so methods are comparable only where they read alike.
"""

from __future__ import annotations

from typing import Literal

from timm.models.deit import VisionTransformerDistilled
from torch import nn

from wst.errors import InputError
from wst.methods._trunk import FAMILIES, HIERARCHICAL, TimmModel, prefix

Readout = Literal["paper", "token", "mean", "mean_of_normed"]
"""``token``: the class token of the normed tokens.  ``mean``: the mean of the patch tokens, then the norm.
``mean_of_normed``: the mean of the normed patch tokens.  ``paper``: what the method's paper does, which is
the backbone's own pooling for all methods whose docstring says nothing else."""


def set_readout(model: TimmModel, readout: Readout) -> None:
    """Make a timm model pool its tokens this way, in place; its class stays what it was.

    The norm keeps its weights and moves to the other side of the mean where it has to.

    Raises:
        InputError: a class token is asked for and there is none.
    """
    if readout == "paper":
        return
    if not isinstance(model, FAMILIES):
        raise InputError(f"readout: expected 'paper' for {_name(model)}; found {readout!r}")
    if isinstance(model, HIERARCHICAL):
        if readout == "token":
            raise InputError(f"readout: expected mean or mean_of_normed for {_name(model)}; found 'token'")
        if readout == "mean" and not isinstance(model.norm, nn.Identity):
            model.head.global_pool = nn.Sequential(model.head.global_pool, model.norm)
            model.norm = nn.Identity()
        return
    if readout == "token" and (prefix(model) == 0 or getattr(model, "cls_token", None) is None):
        raise InputError(
            f"readout: expected mean or mean_of_normed for a {_name(model)} without a class token; "
            f"found 'token'"
        )
    if getattr(model, "attn_pool", None) is not None:
        model.attn_pool = None
    model.pool_include_prefix = False
    model.global_pool = "token" if readout == "token" else "avg"
    norm = model.fc_norm if isinstance(model.norm, nn.Identity) else model.norm
    model.norm, model.fc_norm = (nn.Identity(), norm) if readout == "mean" else (norm, nn.Identity())


def _name(model: TimmModel) -> str:
    return "VisionTransformer" if isinstance(model, VisionTransformerDistilled) else type(model).__name__

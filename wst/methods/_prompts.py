"""Prompts: learned tokens among those of the image.

Jia et al.: "Visual Prompt Tuning", ECCV 2022.  They come after class and register tokens, before the patches,
and have no position.
"""

from __future__ import annotations

import math

import torch
from timm.models import Eva
from torch import Tensor, nn

from wst.methods._trunk import TimmModel, prefix

NO_PLACE = "its tables of relative positions have no place for prompts"
"""Why prompts do not go into a BEiT."""


def new_prompts(
    number: int, width: int, patch: tuple[int, int], bound_width: int | None = None
) -> nn.Parameter:
    """(1, number, width), uniform within Xavier's bound for a map from a patch of 3 channels to
    ``bound_width`` channels: the width, or where the authors' code says so another one."""
    bound = math.sqrt(6 / (3 * math.prod(patch) + (bound_width or width)))
    return nn.Parameter(torch.empty(1, number, width).uniform_(-bound, bound))


class Prompted(nn.Module):
    """A block of an isotropic model, before which prompts come in or after which they go, or both.

    Args:
        block: the timm block.
        prompts: that come in; none where they are among the tokens already.
        number: of prompts.
        leave: whether they go after this block.
        first: tokens before them.
        dropout: rate on the prompts.
    """

    def __init__(
        self,
        block: nn.Module,
        prompts: nn.Parameter | None,
        number: int,
        leave: bool,
        first: int,
        dropout: float,
    ):
        super().__init__()
        self.block, self.prompts, self.dropout = block, prompts, nn.Dropout(dropout)
        self.number, self.leave, self.first = number, leave, first

    def forward(self, tokens: Tensor, **context: Tensor | None) -> Tensor:
        """(B, n, width) -> (B, n', width), with or without the prompts on either side."""
        if self.prompts is not None:
            prompts = self.dropout(self.prompts.expand(tokens.shape[0], -1, -1)).to(tokens.dtype)
            tokens = torch.cat((tokens[:, : self.first], prompts, tokens[:, self.first :]), dim=1)
        tokens = self.block(tokens, **context)
        if self.leave:
            tokens = torch.cat((tokens[:, : self.first], tokens[:, self.first + self.number :]), dim=1)
        return tokens


def put_before(model: TimmModel, places: dict[int, nn.Parameter], number: int, *, dropout: float) -> None:
    """Put prompts before these blocks of an isotropic model, in place; each set goes where the next comes in,
    and the last after the last block."""
    last = len(model.blocks) - 1
    for place, block in enumerate(model.blocks):
        leave = place == last or place + 1 in places
        model.blocks[place] = Prompted(block, places.get(place), number, leave, prefix(model), dropout)
        if isinstance(model, Eva):
            block.attn.num_prefix_tokens += number  # prompts have no position to rotate by

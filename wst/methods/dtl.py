"""DTL and DTL+: a thin side path that runs beside the backbone and joins its later blocks.

Fu, Zhu, Wu: "DTL: Disentangled Transfer Learning for Visual Recognition", AAAI 2024.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import torch
from torch import Tensor, nn

from wst.methods import AtLeast, method
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, HIERARCHICAL, Context, OnFrozen, TimmModel, prefix, stages

BETA = 100.0
"""Slope of the gate: nearly a rectifier."""


class _SideMap(nn.Module):
    """b a x without biases, (..., width) -> (..., width); b starts at zero."""

    def __init__(self, width: int, r: int):
        super().__init__()
        self.a, self.b = nn.Linear(width, r, bias=False), nn.Linear(r, width, bias=False)
        nn.init.kaiming_uniform_(self.a.weight, a=math.sqrt(5))
        nn.init.zeros_(self.b.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(tokens))
        return out


class SideTuned(OnFrozen):
    """A frozen backbone and its side path.

    Args:
        backbone: frozen model with a trainable head.
        r: inner width of the side maps.
        kernel: side of DTL+'s convolution; 0 for DTL.

    Attributes:
        side_maps: by the number of their block, counted through all stages.
        convolutions: one a stage that the side path joins; none in DTL.
    """

    def __init__(self, backbone: TimmModel, r: int, kernel: int):
        super().__init__(backbone)
        every = stages(backbone)
        self.stage_of = [number for number, stage in enumerate(every) for _ in stage.blocks]
        first = len(every) - 2  # of a Swin, only the last two stages have it
        on = [i for i, number in enumerate(self.stage_of) if number >= first]
        self.joins = set(on[len(on) // 2 :])
        self.frozen_blocks = min(self.joins)
        # A stage's side state begins anew, so that what comes after its last join would go nowhere.
        on = [i for i in on if any(self.stage_of[j] == self.stage_of[i] for j in self.joins if j >= i)]
        self.side_maps = nn.ModuleDict({str(i): _SideMap(every[self.stage_of[i]].width, r) for i in on})
        self.convolutions = nn.ModuleDict()
        for number in sorted({self.stage_of[i] for i in self.joins}) if kernel else ():
            width = every[number].width
            self.convolutions[str(number)] = nn.Conv2d(
                width, width, kernel, padding="same", groups=width, bias=False
            )
        self.first = prefix(backbone)
        self.grid = None if isinstance(backbone, HIERARCHICAL) else tuple(backbone.patch_embed.grid_size)

    def beside(self, tokens: Iterable[Tensor], contexts: list[Context]) -> Tensor:
        """The tokens that enter each block before the first join, and those that enter that one -> those
        after the last block."""
        frozen, entering, index = iter(tokens), torch.empty(0), 0
        for number, stage in enumerate(stages(self.backbone)):
            if stage.merging is not None and index > self.frozen_blocks:
                entering = stage.merging(entering)
            side: Tensor | float = 0.0
            for block in stage.blocks:
                if index <= self.frozen_blocks:
                    entering = next(frozen)
                if str(index) in self.side_maps:
                    side = side + self.side_maps[str(index)](entering)
                if index >= self.frozen_blocks:
                    entering = block(entering, **contexts[index])
                if index in self.joins:
                    assert isinstance(side, Tensor)
                    entering = entering + self._joining(side * torch.sigmoid(BETA * side), number)
                index += 1
        return entering

    def _joining(self, gated: Tensor, stage: int) -> Tensor:
        """What the tokens gain: the gated side state, in DTL+ convolved over the patches' grid."""
        if str(stage) not in self.convolutions:
            return gated
        convolution = self.convolutions[str(stage)]
        if self.grid is None:
            out: Tensor = convolution(gated.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return out
        maps = torch.unflatten(gated[:, self.first :].transpose(1, 2), 2, self.grid)
        patches = convolution(maps).flatten(2).transpose(1, 2)
        return torch.cat((gated[:, : self.first], patches), dim=1)


@method(fits=FAMILIES)
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 2,
    kernel: Annotated[int, AtLeast(0)] = 0,
    readout: Readout = "paper",
) -> nn.Module:
    """R gains b a x of every block's input x; behind the later half, tokens gain R sigmoid(100 R).

    R (B, N, width) starts at zero, and b too, so that the model starts as the frozen backbone; no gradient
    passes the earlier blocks.  With a ``kernel`` of 3, 4 or 5 (DTL+), what the patches gain goes through one
    depthwise convolution.  On a Swin, R begins anew in each of the last two stages, the only ones to have it.
    Readout: the mean of the patch tokens, then the norm; on a Swin its own.  2 * width * r a block, and
    width * kernel^2: 36,864 on ViT-B/16 with r = 2.
    """
    if readout == "paper" and not isinstance(backbone, HIERARCHICAL):
        readout = "mean"
    set_readout(backbone, readout)
    return SideTuned(backbone, r, kernel)

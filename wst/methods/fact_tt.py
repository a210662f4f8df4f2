"""FacT-TT: increments of all matrices as a tensor train.  Source: see :mod:`wst.methods._fact`."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._fact import Factors, Increment, attach, merge
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import HIERARCHICAL, ISOTROPIC, ONE_WIDTH, TimmModel


class _TensorTrain(Increment):
    """S_i is a matrix of its own."""

    def __init__(self, linear: nn.Linear, factors: Factors, scale: float, dropout: float):
        super().__init__(linear, factors, scale, dropout)
        r = factors.u.shape[0]
        self.s = nn.Parameter(torch.empty(self.parts, r, r))
        for one in self.s:
            nn.init.kaiming_uniform_(one, a=math.sqrt(5))

    def middle(self) -> Tensor:
        return self.s


@method(fits=ISOTROPIC, reasons=dict.fromkeys(HIERARCHICAL, ONE_WIDTH), free=("scale",), merge=merge)
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 16,
    scale: float = 1.0,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """W_i x + scale * V S_i U x for all matrices i of the model, S_i (r x r) its own, U and V shared.

    V starts at zero, so that the model starts as the frozen backbone.
    2 * width * r + 12 * blocks * r^2: 61,440 on ViT-B/16 with r = 16.
    """
    set_readout(backbone, readout)
    attach(backbone, Factors(backbone.embed_dim, r), _TensorTrain, scale, dropout)
    return backbone

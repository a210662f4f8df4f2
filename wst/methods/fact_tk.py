"""FacT-TK: increments of all matrices as a Tucker decomposition.  Source: see :mod:`wst.methods._fact`."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from wst.methods import AtLeast, Below, method
from wst.methods._fact import Factors, Increment, attach, merge
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import HIERARCHICAL, ISOTROPIC, ONE_WIDTH, TimmModel


class _Core(Factors):
    """The shared factors, with the core C (r, r, r) that the matrices S_i are mixed from."""

    def __init__(self, width: int, r: int):
        super().__init__(width, r)
        self.core = nn.Parameter(torch.empty(r, r, r))
        nn.init.xavier_uniform_(self.core)


class _Tucker(Increment):
    """S_i = sum over k of p_ik C_k."""

    def __init__(self, linear: nn.Linear, factors: Factors, scale: float, dropout: float):
        super().__init__(linear, factors, scale, dropout)
        self.p = nn.Parameter(torch.empty(self.parts, factors.u.shape[0]))

    def middle(self) -> Tensor:
        assert isinstance(self.factors, _Core)
        return torch.einsum("pk,koi->poi", self.p, self.factors.core)


@method(fits=ISOTROPIC, reasons=dict.fromkeys(HIERARCHICAL, ONE_WIDTH), free=("scale",), merge=merge)
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(1)] = 32,
    scale: float = 1.0,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """W_i x + scale * V (sum_k p_ik C_k) U x for all matrices i, with U, V and the core C (r, r, r) shared.

    V starts at zero, so that the model starts as the frozen backbone.  The authors' code interleaves the
    MLP's matrices; this is the paper's form, with as many parameters.
    2 * width * r + 12 * blocks * r + r^3: 86,528 on ViT-B/16 with r = 32.
    """
    set_readout(backbone, readout)
    increments: list[Any] = attach(backbone, _Core(backbone.embed_dim, r), _Tucker, scale, dropout)
    matrices = sum(increment.parts for increment in increments)
    bound = (6 / (r + matrices)) ** 0.5  # Xavier's, of the whole matrix p
    for increment in increments:
        nn.init.uniform_(increment.p, -bound, bound)
    return backbone

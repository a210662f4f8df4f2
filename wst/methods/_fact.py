"""What the two forms of FacT share: increments of every matrix of the model from two common factors.

Jie, Deng: "FacT: Factor-Tuning for Lightweight Adaptation on Vision Transformer", AAAI 2023.  A block counts
as twelve width x width matrices: queries, keys, values, projection, four column blocks of the MLP's first map
and four row blocks of its second (as many as the MLP is times wider than the tokens).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods._fold import fold_projections
from wst.methods._projections import fused_qkv, linear_maps
from wst.methods._trunk import TimmModel, blocks

MATRICES = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")


class Factors(nn.Module):
    """The factors that all increments share: U (width -> r, random) and V (r -> width, zero at the start)."""

    def __init__(self, width: int, r: int):
        super().__init__()
        self.u = nn.Parameter(torch.empty(r, width))
        self.v = nn.Parameter(torch.zeros(width, r))
        nn.init.kaiming_uniform_(self.u, a=math.sqrt(5))


class Increment(nn.Module, ABC):
    """A frozen linear map and scale * V S_i U x beside it, with one S_i (r x r) for each of its matrices.

    Args:
        linear: the map; its matrices lie side by side along its outputs, or along its inputs.
        factors: shared by all increments of a model.
        scale: factor on what is added.
        dropout: rate between S and V.

    Attributes:
        parts: number of matrices.
        along_inputs: whether they lie side by side along the inputs.
    """

    scale: Tensor

    def __init__(self, linear: nn.Linear, factors: Factors, scale: float, dropout: float):
        super().__init__()
        self.linear, self.dropout = linear, nn.Dropout(dropout)
        self._shared = (factors,)  # a tuple is not searched for modules: the factors have one name, elsewhere
        width = factors.u.shape[1]
        self.along_inputs = linear.in_features > width
        self.parts = (linear.in_features if self.along_inputs else linear.out_features) // width
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)

    @property
    def factors(self) -> Factors:
        """What all increments share."""
        return self._shared[0]

    @abstractmethod
    def middle(self) -> Tensor:
        """The matrices S (parts, r, r); the last dimension meets U."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        u, v, middle = self.factors.u, self.factors.v, self.middle()
        if self.along_inputs:
            lowered = torch.unflatten(tokens, -1, (self.parts, -1)) @ u.T
            mixed = torch.einsum("...pi,poi->...o", lowered, middle)
            added = self.dropout(mixed) @ v.T
        else:
            mixed = torch.einsum("...i,poi->...po", tokens @ u.T, middle)
            added = (self.dropout(mixed) @ v.T).flatten(-2)
        out: Tensor = self.linear(tokens) + self.scale * added
        return out

    def merged(self) -> nn.Linear:
        """One linear map with the same outputs."""
        added = self.factors.v @ self.middle() @ self.factors.u  # (parts, width, width)
        with torch.no_grad():
            self.linear.weight += self.scale * torch.cat(list(added), dim=1 if self.along_inputs else 0)
        return self.linear


def merge(model: TimmModel) -> TimmModel:
    """Fold all increments into their maps, in place."""
    fold_projections(model)
    del model.factors
    return model


def attach(
    backbone: TimmModel, shared: Factors, kind: type[Increment], scale: float, dropout: float
) -> list[Increment]:
    """Put an increment beside every matrix, in place; the factors become the model's ``factors``.

    Raises:
        InputError: an MLP that is not two maps, or not a whole number of times as wide as the tokens.
    """
    found = []
    width = shared.u.shape[1]
    for block in blocks(backbone):
        fused_qkv(block.attn)
        maps = linear_maps(block)
        widths = [(one.in_features, one.out_features) for one in maps.values()]
        if set(maps) != set(MATRICES) or any(side % width for pair in widths for side in pair):
            found_widths = ", ".join(f"{one.in_features} to {one.out_features}" for one in maps.values())
            raise InputError(
                f"backbone of fact: expected blocks of {len(MATRICES)} maps whose widths are multiples of "
                f"{width}; found maps of {found_widths}"
            )
        for name, linear in maps.items():
            increment = kind(linear, shared, scale, dropout)
            block.set_submodule(name, increment)
            found.append(increment)
    backbone.factors = shared
    return found

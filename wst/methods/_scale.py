"""A fixed factor as a tensor: models that differ in it alone are one computation on other tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaled(nn.Module):
    """What a module adds, times a fixed factor.

    Attributes:
        module: whatever gives the addition.
        scale: the factor; a buffer that is not saved.
    """

    scale: Tensor

    def __init__(self, module: nn.Module, scale: float):
        super().__init__()
        self.module = module
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The module's output, scaled."""
        out: Tensor = self.scale * self.module(*inputs)
        return out

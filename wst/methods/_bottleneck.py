"""The bottleneck that adapters share: width -> r -> width with an activation between."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

Init = Literal["small", "zero_up"]


class Bottleneck(nn.Module):
    """up(dropout(activation(down(tokens)))), both maps with a bias: 2 * width * r + r + width parameters.

    Args:
        width: of the tokens.
        r: inner width.
        activation: module between the maps.
        init: ``small``: both matrices normal with std 0.01, cut at two sigma (Houlsby et al., 2019), which
            starts near nothing; ``zero_up``: Kaiming-uniform and zero, which starts at nothing.  Both at
            zero, as in some released code, would never train.
        dropout: rate between activation and ``up``.
    """

    def __init__(self, width: int, r: int, activation: nn.Module, init: Init, dropout: float = 0.0):
        super().__init__()
        self.down, self.activation = nn.Linear(width, r), activation
        self.dropout, self.up = nn.Dropout(dropout), nn.Linear(r, width)
        for layer in (self.down, self.up):
            nn.init.zeros_(layer.bias)
            if init == "small":
                nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)
        if init == "zero_up":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        out: Tensor = self.up(self.dropout(self.activation(self.down(tokens))))
        return out


class Residual(nn.Module):
    """u + adapter(u)."""

    def __init__(self, adapter: nn.Module):
        super().__init__()
        self.adapter = adapter

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        out: Tensor = tokens + self.adapter(tokens)
        return out

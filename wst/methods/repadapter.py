"""RepAdapter: a linear adapter before attention and MLP, which folds into the projections behind it.

Luo et al.: "Towards Efficient Visual Adaption via Structural Re-parameterization", arXiv 2302.08106.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods import AtLeast, Below, method
from wst.methods._blocks import Branch, close_blocks, open_blocks
from wst.methods._fold import map_inputs
from wst.methods._projections import fused_qkv, split_qkv
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, TimmModel, blocks

GROUPS = 2
"""Of the second map: each half of the inner channels feeds half of the outputs."""


class RepAdapter(nn.Module):
    """u + scale * B(dropout(A u)): A width -> r, B r -> width in two groups, both with a bias."""

    scale: Tensor

    def __init__(self, width: int, r: int, scale: float, dropout: float):
        super().__init__()
        self.down, self.dropout = nn.Linear(width, r), nn.Dropout(dropout)
        self.up = nn.Parameter(torch.zeros(GROUPS, width // GROUPS, r // GROUPS))
        self.bias = nn.Parameter(torch.zeros(width))
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        inner = self.dropout(self.down(tokens)).unflatten(-1, (GROUPS, 1, -1))
        risen = (inner @ self.up.transpose(1, 2)).flatten(-3)
        out: Tensor = tokens + self.scale * (risen + self.bias)
        return out

    def as_map(self) -> tuple[Tensor, Tensor]:
        """The same as one matrix (width, width) and an offset (width)."""
        up: Tensor = torch.block_diag(*self.up)  # type: ignore[no-untyped-call]
        matrix = torch.eye(len(up), device=up.device, dtype=up.dtype) + self.scale * up @ self.down.weight
        return matrix, self.scale * (up @ self.down.bias + self.bias)


def merge(model: TimmModel) -> TimmModel:
    """Fold every adapter into the maps behind it, in place.

    Raises:
        InputError: a Swin whose windows are padded, with zeros that an offset would not reach.
    """
    for block in blocks(model):
        for branch in block.branches:
            if isinstance(branch.before, RepAdapter):
                matrix, offset = (one.detach() for one in branch.before.as_map())
                for linear in _behind(branch, block):
                    map_inputs(linear, matrix, offset)
                branch.before = nn.Identity()
    close_blocks(model)
    for block in blocks(model):
        split_qkv(block.attn)
    return model


def _behind(branch: Branch, block: Any) -> list[Any]:
    """The maps that read what enters a branch."""
    (timm_block,) = block.timm_block
    if branch is block.mlp:
        return [one for name, one in branch.inner.named_children() if name.startswith("fc1")]
    if hasattr(timm_block, "input_resolution") and any(
        side % window
        for side, window in zip(timm_block.input_resolution, timm_block.window_size, strict=True)
    ):
        raise InputError("backbone of repadapter: expected windows that fill the image; found padded ones")
    attention = timm_block.attn
    gate = getattr(attention, "gate", None)
    return [fused_qkv(attention), *([gate] if gate is not None else [])]


@method(fits=FAMILIES, free=("scale",), merge=merge)
def adapt(
    backbone: TimmModel,
    *,
    r: Annotated[int, AtLeast(2)] = 8,
    position: Literal["both", "attention"] = "both",
    scale: float = 1.0,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
    readout: Readout = "paper",
) -> TimmModel:
    """u + scale * B A u on what enters attention and MLP, u (B, N, width), without an activation.

    B has two groups and starts at zero, so that the model starts as the frozen backbone.
    1.5 * width * r + r + width an adapter: 239,808 on ViT-B/16 with r = 8.
    """
    if r % GROUPS:
        raise InputError(f"r of repadapter: expected a multiple of {GROUPS}; found {r}")
    set_readout(backbone, readout)
    for block in open_blocks(backbone):
        for branch in block.branches if position == "both" else (block.attention,):
            branch.before = RepAdapter(block.dim, r, scale, dropout)
    return backbone

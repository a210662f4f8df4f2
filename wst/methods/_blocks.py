"""Transformer blocks with places for adapters.

A block of any family is two residual branches, attention and MLP.  :func:`open_blocks` puts a :class:`Block`
in the place of every block of a timm model; until something is put into its places, it computes what the
block computed.
"""

from __future__ import annotations

from typing import Any

from timm.models.beit import Block as BeitBlock
from timm.models.eva import EvaBlock
from timm.models.swin_transformer import SwinTransformerBlock
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.vision_transformer import Block as ViTBlock
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods._trunk import TimmModel, stages


class Branch(nn.Module):
    """A residual branch: tokens + drop_path(after(gain(inner(before(norm(tokens)))))) + beside(...).

    Attributes:
        norm: what comes before ``inner``; nothing in Swin V2.
        inner: attention or MLP.
        gain: layer scale; in Swin V2 the norm; nothing elsewhere.
        drop_path: stochastic depth of the branch.
        before: place on what enters ``inner``.
        after: place on what leaves it, before stochastic depth.
        beside: place for a parallel branch, called with the block's tokens and with what enters ``inner``;
            what it gives is added as it is.
    """

    def __init__(self, norm: nn.Module, inner: nn.Module, gain: nn.Module, drop_path: nn.Module):
        super().__init__()
        self.norm, self.inner, self.gain, self.drop_path = norm, inner, gain, drop_path
        self.before: nn.Module = nn.Identity()
        self.after: nn.Module = nn.Identity()
        self.beside: nn.Module | None = None

    def forward(self, tokens: Tensor, **context: Tensor | None) -> Tensor:
        """(..., width) -> (..., width); the context goes to ``inner``."""
        entering = self.before(self.norm(tokens))
        leaving = self.after(self.gain(self.inner(entering, **context)))
        out: Tensor = tokens + self.drop_path(leaving)
        return out if self.beside is None else out + self.beside(tokens, entering)


class Block(nn.Module):
    """A transformer block with places for adapters.

    Attributes:
        attention, mlp: its branches.
        timm_block: what it was made of; the only entry.
        output: place on what leaves the block.
        dim: width of its tokens, by the name that timm's Swin blocks have for it.
    """

    def __init__(self, attention: Branch, mlp: Branch, width: int, timm_block: nn.Module):
        super().__init__()
        self.timm_block = (timm_block,)  # a tuple is not searched for modules: its parts have names here
        self.attention, self.mlp, self.dim = attention, mlp, width
        self.output: nn.Module = nn.Identity()

    @property
    def branches(self) -> tuple[Branch, Branch]:
        """Attention and MLP."""
        return self.attention, self.mlp

    def forward(self, tokens: Tensor, **context: Tensor | None) -> Tensor:
        """(..., width) -> (..., width)."""
        out: Tensor = self.output(self.mlp(self.attention(tokens, **context)))
        return out


class _Gain(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, gamma: nn.Parameter):
        super().__init__()
        self.gamma = gamma

    def forward(self, tokens: Tensor) -> Tensor:
        return self.gamma * tokens


class _Windows(nn.Module):
    """The windowed attention of a Swin block, which keeps its shift and its mask."""

    def __init__(self, block: SwinTransformerBlock | SwinTransformerV2Block):
        super().__init__()
        self.block = block

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.block._attn(tokens)
        return out


def close_blocks(model: TimmModel) -> None:
    """Put the timm blocks back, in place, with what their parts have become; the places must be empty."""
    for stage in stages(model):
        for place, block in enumerate(stage.blocks):
            stage.blocks[place] = _closed(block)


def _closed(block: Any) -> Any:
    (timm_block,) = block.timm_block
    for branch in block.branches:
        assert branch.beside is None and isinstance(branch.after, nn.Identity)
        assert isinstance(branch.before, nn.Identity) and isinstance(block.output, nn.Identity)
    if isinstance(timm_block, SwinTransformerBlock | SwinTransformerV2Block):
        before = isinstance(timm_block, SwinTransformerBlock)
        attention, mlp = block.branches
        timm_block.norm1 = attention.norm if before else attention.gain
        timm_block.norm2 = mlp.norm if before else mlp.gain
        timm_block.drop_path1, timm_block.drop_path2 = attention.drop_path, mlp.drop_path
        timm_block.mlp = mlp.inner
    return timm_block


def open_blocks(model: TimmModel) -> list[Block]:
    """Put a :class:`Block` in the place of every block, in place; they are returned first to last.

    Raises:
        InputError: blocks that are not two residual branches one after the other.
    """
    found = []
    for stage in stages(model):
        for place, block in enumerate(stage.blocks):
            opened = _opened(block, stage.width)
            stage.blocks[place] = opened
            found.append(opened)
    return found


def _opened(block: Any, width: int) -> Block:
    if isinstance(block, ViTBlock):
        attention = Branch(block.norm1, block.attn, block.ls1, block.drop_path1)
        mlp = Branch(block.norm2, block.mlp, block.ls2, block.drop_path2)
        return Block(attention, mlp, width, block)
    if isinstance(block, EvaBlock | BeitBlock):
        attention = Branch(block.norm1, block.attn, _gain(block.gamma_1), block.drop_path1)
        mlp = Branch(block.norm2, block.mlp, _gain(block.gamma_2), block.drop_path2)
        return Block(attention, mlp, width, block)
    if isinstance(block, SwinTransformerBlock | SwinTransformerV2Block):
        norms, drop_paths = (block.norm1, block.norm2), (block.drop_path1, block.drop_path2)
        inner = (_Windows(block), block.mlp)
        # Only its attention stays with the timm block, so that no module has two names.
        block.norm1 = block.norm2 = block.drop_path1 = block.drop_path2 = block.mlp = nn.Identity()
        before = isinstance(block, SwinTransformerBlock)  # in V2 the norms come after attention and MLP
        attention, mlp = (
            Branch(norm if before else nn.Identity(), one, nn.Identity() if before else norm, drop_path)
            for norm, one, drop_path in zip(norms, inner, drop_paths, strict=True)
        )
        return Block(attention, mlp, width, block)
    raise InputError(
        f"backbone: expected blocks of attention and MLP one after the other; found {type(block).__name__}"
    )


def _gain(gamma: nn.Parameter | None) -> nn.Module:
    return nn.Identity() if gamma is None else _Gain(gamma)

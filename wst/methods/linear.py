"""Linear probing: the head on the frozen features, and nothing else."""

from __future__ import annotations

from torch import nn


def adapt(backbone: nn.Module) -> nn.Module:
    """The backbone itself; its pooling is the one it was pre-trained with."""
    return backbone

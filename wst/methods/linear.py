"""Linear probing: the head on the frozen features, and nothing else."""

from __future__ import annotations

from torch import nn

from wst.methods import method


def _all_blocks(backbone: nn.Module, **settings: object) -> int:
    stages = getattr(backbone, "layers", None)  # of a Swin
    return sum(len(stage.blocks) for stage in stages) if stages is not None else len(backbone.blocks)  # type: ignore[arg-type]


@method(untouched=_all_blocks, merge=lambda model: model)
def adapt(backbone: nn.Module) -> nn.Module:
    """The backbone itself; its pooling is the one it was pre-trained with."""
    return backbone

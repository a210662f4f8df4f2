"""Linear probing: the head on the frozen features, and nothing else."""

from __future__ import annotations

from wst.methods import method
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, TimmModel, blocks


def _all_blocks(backbone: TimmModel, **settings: object) -> int:
    return len(blocks(backbone)) if isinstance(backbone, FAMILIES) else 1


@method(untouched=_all_blocks, merge=lambda model: model)
def adapt(backbone: TimmModel, *, readout: Readout = "paper") -> TimmModel:
    """The backbone itself; no parameters besides the head.

    It may be a convolutional one, or whatever timm pools for a linear head.
    """
    set_readout(backbone, readout)
    return backbone

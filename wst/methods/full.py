"""Full fine-tuning: everything is trained."""

from __future__ import annotations

from wst.methods import method
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import TimmModel


@method(merge=lambda model: model)
def adapt(backbone: TimmModel, *, readout: Readout = "paper") -> TimmModel:
    """The backbone with nothing frozen: 85,798,656 parameters on ViT-B/16."""
    set_readout(backbone, readout)
    return backbone.requires_grad_(True)

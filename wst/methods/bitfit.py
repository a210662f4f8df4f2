"""BitFit: the backbone's biases.

Ben Zaken, Goldberg, Ravfogel: "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models", ACL 2022; "Bias" in the tables of VPT (Jia et al., ECCV 2022).
"""

from __future__ import annotations

from wst.methods import method
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import TimmModel


@method(merge=lambda model: model)
def adapt(backbone: TimmModel, *, readout: Readout = "paper") -> TimmModel:
    """Train every parameter whose name ends in ``bias``: width * (11 * blocks + 2) on a ViT.

    Published code asks whether a name *contains* the word, which on a Swin also trains the tables of
    relative positions (63,544 more on Swin-B).
    """
    set_readout(backbone, readout)
    for name, parameter in backbone.named_parameters():
        if name.endswith("bias"):
            parameter.requires_grad_(True)
    return backbone

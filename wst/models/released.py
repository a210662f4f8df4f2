"""Adapters in the form in which the authors' training scripts save them.

A file holds the tuned tensors by the names of the authors' models: ``small_patch_embed.proj.*``, for Swin
with ``small_patch_embed.norm.*``; ``blocks.N.waveblock.adapter_down.*`` and ``adapter_up.*``, for Swin
under ``layers.S``; and ``head.*``.  Neither the scale nor the backbone's weights are in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.models import SwinTransformer
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods.wst.branch import Design, WaveletTuned
from wst.models.weights import check_finite, check_fit, read_weights


def load_released_adapter(model: nn.Module, source: str | Path | Mapping[str, Tensor]) -> None:
    """Read a released adapter into a model, in place.

    Args:
        model: from ``create_model(..., method="wst")`` in the paper's design, with the adapter's ``r`` and
            number of classes, and with the ``scale`` that it was trained with.
        source: a ``.pt``, ``.pth`` or ``.safetensors`` file, or its tensors by name.

    Raises:
        InputError: the file cannot be read, the model is not such a one, or a key is missing, surplus or
            wrongly shaped, and which.  The model is then as it was.
    """
    parameters = _parameters(model)
    tensors = source if isinstance(source, Mapping) else read_weights(Path(source))
    where = "released adapter" if isinstance(source, Mapping) else str(source)
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(f"{where}: expected tensors by name; found something else among them")
    check_fit(tensors, parameters, f"{where}: expected this model's trainable tensors")
    check_finite(tensors, where)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def export_released_adapter(model: nn.Module) -> dict[str, Tensor]:
    """The model's tuned tensors by the authors' names: copies on the CPU, which ``torch.save`` may write.

    Raises:
        InputError: the model is not WST in the paper's design.
    """
    return {name: p.detach().cpu().clone() for name, p in _parameters(model).items()}


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters by the authors' names."""
    if not isinstance(model, WaveletTuned) or model.design != Design():
        found = model.design if isinstance(model, WaveletTuned) else type(model).__name__
        raise InputError(
            f"released adapter: expected a model tuned by wst in the paper's design; found {found}"
        )
    assert model.small_patch_embed is not None
    named: dict[str, nn.Parameter] = {}
    for name, parameter in model.small_patch_embed.named_parameters():
        named[f"small_patch_embed.{name if name.startswith('norm.') else f'proj.{name}'}"] = parameter
    for prefix, block in zip(_block_names(model), model.wavelet_blocks.values(), strict=True):
        for name, parameter in block.named_parameters():
            named[f"{prefix}.waveblock.adapter_{name}"] = parameter
    for name, parameter in model.get_classifier().named_parameters():
        named[f"head.{name}"] = parameter
    return named


def _block_names(model: WaveletTuned) -> list[str]:
    backbone = model.backbone
    if isinstance(backbone, SwinTransformer):
        return [
            f"layers.{number}.blocks.{block}"
            for number, stage in enumerate(backbone.layers)
            for block in range(len(stage.blocks))
        ]
    return [f"blocks.{block}" for block in range(len(backbone.blocks))]

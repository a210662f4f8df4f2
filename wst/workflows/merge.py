"""What ``wst merge`` does: an adapter folded into its backbone's weights, in a file that timm loads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import save as saved_tensors

from wst.errors import InputError
from wst.files import replacing
from wst.models.adapters import Card, load_adapter
from wst.models.families import MICRO
from wst.models.merging import Inference, check_head, inference, merge, timm_arguments
from wst.records import Backbone


def merge_adapter(
    path: Path, out: Path, *, checkpoint: str | None = None, method: str | None = None
) -> Iterator[str]:
    """Write a plain model's weights, and say how to load them and what inference costs.

    Args:
        path: the adapter's ``.safetensors`` file.
        out: the new file; its metadata holds what ``timm.create_model`` takes, and the normalisation.
        checkpoint, method: as for :func:`wst.load_adapter`.

    Raises:
        InputError: as :func:`wst.load_adapter`; or the method cannot be folded, and what it costs instead.
    """
    predictor = load_adapter(path, checkpoint=checkpoint, method=method)
    card = predictor.card
    backbone = Backbone(card.backbone, image_size=card.image_size)
    alone = inference(backbone, "linear", {}, card.classes)
    adapted = inference(backbone, method or card.method, card.hyperparameters, card.classes)
    try:
        merged = merge(predictor.model)
    except InputError as error:
        raise InputError(f"{error}; it costs {_more(adapted, alone)} for every image") from None
    arguments = timm_arguments(merged, backbone, card.classes)
    check_head(merged, backbone, arguments)
    metadata = {
        "format": "pt",
        "model": card.backbone,
        "arguments": json.dumps(arguments),
        "mean": json.dumps(card.mean),
        "std": json.dumps(card.std),
        "adapter": card.trial_id,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in merged.state_dict().items()}
    with replacing(out) as aside:
        aside.write_bytes(saved_tensors(tensors, metadata))
    yield f"merged: {out}, {alone.parameters:,} parameters"
    yield f"it saves {_more(adapted, alone)} for every image"
    yield how_to_load(card, arguments, f', checkpoint_path="{out}"')


def _more(adapted: Inference, alone: Inference) -> str:
    """How much more an adapted model takes than the backbone with a head."""
    parameters, flops = adapted.parameters - alone.parameters, adapted.flops - alone.flops
    return (
        f"{parameters:,} parameters ({parameters / alone.parameters:.2%}) and {flops:,} operations in "
        f"products of matrices ({flops / alone.flops:.2%})"
    )


def how_to_load(card: Card, arguments: Mapping[str, object], weights: str = "") -> str:
    """The call that makes timm's model for a card's adapter; ``weights`` are arguments that end it."""
    if card.backbone == MICRO:
        return (
            "micro is no model of timm's: wst.models.backbones.micro_vit makes one that takes these weights"
        )
    given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f'timm.create_model("{card.backbone}", {given}{weights})'

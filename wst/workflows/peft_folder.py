"""What ``wst export peft`` does: an adapter as peft saves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wst.errors import InputError
from wst.models.adapters import load_adapter
from wst.models.merging import timm_arguments
from wst.models.peft_format import export_peft_adapter
from wst.records import Backbone
from wst.workflows.merge import how_to_load


def export_peft_folder(path: Path, folder: Path, *, checkpoint: str | None = None) -> Iterator[str]:
    """Write an adapter into a new folder, and say on which model of timm's peft puts it.

    Args:
        path: the adapter's ``.safetensors`` file.
        folder: a new or empty one.
        checkpoint: as for :func:`wst.load_adapter`.

    Raises:
        InputError: as :func:`wst.load_adapter` and :func:`wst.export_peft_adapter`.
    """
    predictor = load_adapter(path, checkpoint=checkpoint)
    export_peft_adapter(predictor.model, folder)
    yield f"adapter: {folder}"
    card = predictor.card
    backbone = Backbone(card.backbone, image_size=card.image_size)
    base = predictor.model.get_base_model()  # type: ignore[operator]
    try:
        arguments = timm_arguments(base, backbone, card.classes)
    except InputError as error:  # a readout that timm has no argument for
        yield str(error)
    else:
        yield how_to_load(card, arguments)

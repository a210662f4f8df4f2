"""Adapters in peft's own form: a folder with ``adapter_config.json`` and ``adapter_model.safetensors``."""

from __future__ import annotations

import copy
from pathlib import Path

from safetensors.torch import save as saved_tensors
from torch import nn

from wst.errors import InputError
from wst.files import exists, is_folder, readable, replacing_folder
from wst.methods._projections import joined_in
from wst.methods.peft import library
from wst.models.create import not_finite


def export_peft_adapter(model: nn.Module, folder: str | Path) -> None:
    """Write a model's adapter and head as peft saves them, the head as one of its ``modules_to_save``.

    Args:
        model: of the method ``peft``, from ``create_model`` or as the ``model`` of a loaded adapter.
        folder: a new or empty one.

    Raises:
        InputError: the model is of another method, or was made of a backbone in which timm keeps queries,
            keys and values apart; or the folder is taken.

    Example::

        timm_model = timm.create_model("vit_base_patch16_224", num_classes=100)  # with the same weights
        PeftModel.from_pretrained(timm_model, folder)
    """
    peft, folder = library(), Path(folder)
    if not isinstance(model, peft.PeftModel):
        raise InputError(f"adapter: expected a model of the method peft; found {type(model).__name__}")
    if joined_in(model):
        raise InputError(
            "adapter: expected maps that timm's model has; found queries, keys and values that it keeps apart"
        )
    broken = not_finite(model)
    if broken is not None:
        raise InputError(f"adapter: expected finite numbers; found others in {broken}")
    if exists(folder) and not (is_folder(folder) and not any(folder.iterdir())):
        raise InputError(f"{folder}: expected a new or empty folder; found one with files, or a file")
    backbone, head = model.get_base_model(), model.get_classifier()
    name = next(name for name, module in backbone.named_modules() if module is head)
    tensors = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors |= {f"base_model.model.{name}.{key}": tensor for key, tensor in head.state_dict().items()}
    config = copy.deepcopy(model.peft_config["default"])
    config.modules_to_save, config.inference_mode = [name], True
    config.target_modules = sorted(config.target_modules)
    with readable(folder), replacing_folder(folder) as aside:
        config.save_pretrained(str(aside))
        content = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
        (aside / "adapter_model.safetensors").write_bytes(saved_tensors(content, {"format": "pt"}))

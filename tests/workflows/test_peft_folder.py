"""``wst export peft`` on timm's models; on micro: tests/cli/test_export.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import wst
from tests.workflows.test_merge import card_of
from wst.errors import InputError
from wst.models.adapters import load_adapter, save_adapter
from wst.workflows.peft_folder import export_peft_folder

peft = pytest.importorskip("peft")


@pytest.mark.slow
@torch.no_grad()
def test_the_call_that_it_prints_makes_the_model_that_takes_the_adapter(tmp_path: Path) -> None:
    name, settings = "vit_tiny_patch16_224", {"kind": "oft", "block_size": 8, "target_modules": ("fc1",)}
    torch.manual_seed(0)
    weights = tmp_path / "backbone.safetensors"
    backbone = timm.create_model(name, num_classes=0).state_dict()
    save_file(backbone, weights)
    model = wst.create_model(
        name, method="peft", num_classes=3, checkpoint=str(weights), image_size=224, **settings
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1 * torch.randn_like(parameter))
    adapter, folder = tmp_path / "a.safetensors", tmp_path / "peft"
    card = card_of(name, weights, "peft", settings).model_copy(update={"image_size": 224})
    save_adapter(model, card, adapter)
    lines = list(export_peft_folder(adapter, folder, checkpoint=str(weights)))
    assert lines == [f"adapter: {folder}", f'timm.create_model("{name}", num_classes=3, img_size=224)']
    plain = eval(lines[1], {"timm": timm})
    assert not plain.load_state_dict(backbone, strict=False).unexpected_keys
    theirs = peft.PeftModel.from_pretrained(plain, str(folder)).eval()
    images = torch.randn(2, 3, 224, 224)
    ours = load_adapter(adapter, checkpoint=str(weights)).model
    torch.testing.assert_close(theirs(images), ours(images))


def test_an_adapter_of_another_method_is_refused(tmp_path: Path) -> None:
    from wst.shipped import ASSETS

    model = wst.create_model("micro", method="lora", num_classes=3, r=2)
    adapter = tmp_path / "a.safetensors"
    save_adapter(model, card_of("micro", ASSETS / "micro.safetensors", "lora", {"r": 2}), adapter)
    with pytest.raises(InputError, match="adapter: expected a model of the method peft; found"):
        list(export_peft_folder(adapter, tmp_path / "peft"))

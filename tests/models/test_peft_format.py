"""Adapters as peft saves them: what peft itself makes of them, on timm's own model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods.families import frozen, images
from tests.methods.test_peft import KINDS, attached, trained
from wst.errors import InputError
from wst.methods import registry
from wst.models.peft_format import export_peft_adapter

peft = pytest.importorskip("peft")


def moved(model: nn.Module) -> Any:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def loaded(folder: Path, family: str = "vit") -> Any:
    backbone = frozen(family)
    nn.init.zeros_(backbone.get_classifier().weight)  # type: ignore[operator]
    torch.manual_seed(77)
    return peft.PeftModel.from_pretrained(backbone, str(folder)).eval()


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_peft_makes_the_same_model_of_it(kind: str, tmp_path: Path) -> None:
    model = moved(attached(kind))
    export_peft_adapter(model, tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert torch.equal(loaded(tmp_path / "a")(images()), model(images()))


@pytest.mark.parametrize("settings", [{"bias": "all"}, {"bias": "only"}, {"init": "pissa", "r": 2}])
@torch.no_grad()
def test_with_trained_biases_and_another_start(settings: dict[str, Any], tmp_path: Path) -> None:
    model = moved(attached("lora", **settings))
    export_peft_adapter(model, tmp_path)
    torch.testing.assert_close(loaded(tmp_path)(images()), model(images()))


@torch.no_grad()
def test_of_a_swin_whose_head_lies_deeper(tmp_path: Path) -> None:
    model = moved(attached("lora", family="swin", target_modules=("qkv", "proj"), r=2))
    export_peft_adapter(model, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == ["head.fc"]
    assert torch.equal(loaded(tmp_path, "swin")(images()), model(images()))


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    other = registry.get("lora")(frozen("vit"), r=2)
    with pytest.raises(InputError, match="adapter: expected a model of the method peft; found VisionTransf"):
        export_peft_adapter(other, tmp_path / "a")
    joined = attached("lora", family="beit")
    with pytest.raises(InputError, match="expected maps that timm's model has; found queries, keys and val"):
        export_peft_adapter(joined, tmp_path / "a")
    export_peft_adapter(attached("lora", family="beit", target_modules=("fc1",)), tmp_path / "b")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for place in (tmp_path / "full", tmp_path / "full" / "mine"):
        with pytest.raises(InputError, match="expected a new or empty folder"):
            export_peft_adapter(attached("lora"), place)
    broken = attached("lora")
    next(iter(trained(broken).values())).data[0] = torch.nan
    with pytest.raises(InputError, match="expected finite numbers; found others in base_model"):
        export_peft_adapter(broken, tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "full"]

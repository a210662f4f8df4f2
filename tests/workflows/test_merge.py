"""``wst merge``: from an adapter's file to a file that timm loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import wst
from wst.errors import InputError
from wst.models.adapters import Card, load_adapter, save_adapter
from wst.models.backbones import checkpoint_hash
from wst.workflows.merge import merge_adapter


def card_of(name: str, checkpoint: Path, method: str, settings: dict[str, object]) -> Card:
    return Card(
        backbone=name,
        checkpoint_hash=checkpoint_hash(checkpoint),
        method=method,
        hyperparameters=settings,
        suite="mini",
        task="digits",
        classes=3,
        image_size=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        data_hash=None,
        seed=0,
        val_top1=None,
        test_top1=None,
        test_images=None,
        study="s",
        trial_id="digits.v.final.0000",
    )


@pytest.mark.slow
@torch.no_grad()
def test_timm_loads_what_it_writes(tmp_path: Path) -> None:
    name, settings = "vit_tiny_patch16_224", {"r": 2, "readout": "mean"}
    torch.manual_seed(0)
    weights = tmp_path / "backbone.safetensors"
    save_file(timm.create_model(name, num_classes=0).state_dict(), weights)
    model = wst.create_model(
        name, method="lora", num_classes=3, checkpoint=str(weights), image_size=32, **settings
    )
    for block in model.blocks:
        block.attn.qkv.b.normal_(std=0.1)
    adapter, out = tmp_path / "a.safetensors", tmp_path / "merged.safetensors"
    save_adapter(model, card_of(name, weights, "lora", settings), adapter)
    lines = list(merge_adapter(adapter, out, checkpoint=str(weights)))
    assert lines[0].startswith(f"merged: {out}, ") and "it saves 18,432 parameters (0.3" in lines[1]
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    arguments = json.loads(metadata["arguments"])
    assert arguments == {"num_classes": 3, "img_size": 32, "global_pool": "avg", "fc_norm": True}
    assert lines[2] == (
        f"timm.create_model(\"{name}\", num_classes=3, img_size=32, global_pool='avg', fc_norm=True, "
        f'checkpoint_path="{out}")'
    )
    plain = timm.create_model(metadata["model"], **arguments, checkpoint_path=str(out)).eval()
    images = torch.randn(2, 3, 32, 32)
    predictor = load_adapter(adapter, checkpoint=str(weights))
    torch.testing.assert_close(plain(images), predictor.model(images), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_folded_says_what_it_costs(tmp_path: Path) -> None:
    from wst.shipped import ASSETS

    model = wst.create_model("micro", method="wst", num_classes=3, r=2)
    adapter = tmp_path / "a.safetensors"
    save_adapter(model, card_of("micro", ASSETS / "micro.safetensors", "wst", {"r": 2}), adapter)
    with pytest.raises(
        InputError, match=r"found wst; it costs [\d,]+ parameters \([\d.]+%\) and [\d,]+ operations"
    ):
        list(merge_adapter(adapter, tmp_path / "out.safetensors"))
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s"])
def test_a_head_that_timm_has_not_is_refused(tmp_path: Path, name: str) -> None:
    """It averages two heads, or has a batch norm in them."""
    weights, adapter = tmp_path / "backbone.safetensors", tmp_path / "a.safetensors"
    save_file(timm.create_model(name, img_size=32).state_dict(), weights)
    model = wst.create_model(name, method="linear", num_classes=3, checkpoint=str(weights), image_size=32)
    save_adapter(model, card_of(name, weights, "linear", {}), adapter)
    with pytest.raises(InputError, match=f"merge: expected a backbone whose head .*; found {name} "):
        list(merge_adapter(adapter, tmp_path / "merged.safetensors", checkpoint=str(weights)))
    assert not (tmp_path / "merged.safetensors").exists()


@torch.no_grad()
def test_a_convolutional_backbone_merges(tmp_path: Path) -> None:
    weights, adapter, out = (tmp_path / f"{name}.safetensors" for name in "wam")
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    model = wst.create_model(
        "test_resnet", method="linear", num_classes=3, checkpoint=str(weights), image_size=32
    )
    save_adapter(model, card_of("test_resnet", weights, "linear", {}), adapter)
    list(merge_adapter(adapter, out, checkpoint=str(weights)))
    plain = timm.create_model("test_resnet", num_classes=3, checkpoint_path=str(out)).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(plain(images), model(images))

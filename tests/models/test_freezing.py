"""Backbones of any kind: one linear map as their head, and batch norms that learn nothing."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from wst.errors import InputError
from wst.models.backbones import create, input_spec
from wst.models.create import create_model, own_tensors, parameter_counts, without_weights
from wst.records import Backbone

ANY = ("test_resnet", "test_efficientnet", "test_convnext", "convnext_atto", "levit_128s", "resnet10t")


@pytest.mark.parametrize("name", ANY)
def test_a_linear_probe_trains_on_whatever_timm_pools(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, method="linear", num_classes=4, image_size=64)
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 64, 64)
    model.train()
    model(images).sum().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1).step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    head = {key for key, value in model.named_parameters() if value.requires_grad}
    assert changed == head == set(own_tensors(model))
    assert parameter_counts(model)["trainable"] == 0 and parameter_counts(model)["head"] > 0


@pytest.mark.parametrize("name", ["test_resnet", "levit_128s"])
def test_statistics_are_those_of_the_pre_training_also_in_training(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm.create_model(name)
    for module in source.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = create(Backbone(name, str(tmp_path / "w.safetensors")), num_classes=3)
    images = torch.randn(2, 3, 224, 224)
    expected = source.eval().forward_head(source.forward_features(images), pre_logits=True)
    for mode in (True, False):
        model.train(mode)
        found = model.forward_head(model.forward_features(images), pre_logits=True)
        torch.testing.assert_close(found, expected)
    assert torch.equal(copy.deepcopy(model)(images), model(images))


@pytest.mark.parametrize("name", ["efficientformer_l1", "crossvit_tiny_240", "caformer_s18", "repvit_m1"])
def test_a_head_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(InputError) as refused:
        without_weights(Backbone(name), "linear", {}, num_classes=2)
    assert str(refused.value) == (
        f"backbone: expected a timm model whose head is one linear map; found {name!r}"
    )


@pytest.mark.parametrize("method", ["wst", "lora", "vpt_deep", "adapter", "ssf"])
def test_a_method_says_which_models_it_fits(method: str) -> None:
    settings = {"r": 2} if method in ("wst", "lora") else {}
    with pytest.raises(InputError, match=f"backbone of {method}: expected a timm .*; found ResNet"):
        without_weights(Backbone("resnet18", image_size=64), method, settings, num_classes=2)


def test_another_readout_needs_tokens() -> None:
    with pytest.raises(InputError, match="readout: expected 'paper' for ResNet; found 'token'"):
        without_weights(Backbone("resnet18"), "linear", {"readout": "token"}, num_classes=2)


@pytest.mark.parametrize(("name", "size", "own"), [("resnet18", None, 224), ("convnext_atto", 96, 96)])
def test_images_are_as_large_as_asked_for_or_as_timm_says(name: str, size: int | None, own: int) -> None:
    backbone = Backbone(name, image_size=size)
    with torch.device("meta"):
        assert input_spec(create(backbone, num_classes=2), backbone).size == own

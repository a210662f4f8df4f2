"""Merged models, and the cost of inference; the arithmetic is tested in tests/methods/test_merging.py."""

from __future__ import annotations

import pytest
import timm
import torch

import wst
from wst.errors import InputError
from wst.models.merging import inference, timm_arguments
from wst.records import Backbone


@torch.no_grad()
def test_a_plain_model_with_the_same_outputs_and_the_given_one_as_it_was() -> None:
    model = wst.create_model("micro", method="lora", num_classes=4, r=2).eval()
    for block in model.blocks:
        block.attn.qkv.b.normal_()
    images = torch.randn(2, 3, 32, 32)
    before = model(images)
    merged = wst.merge(model)
    torch.testing.assert_close(merged(images), before, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(images), before)
    assert set(merged.state_dict()) == set(
        wst.create_model("micro", method="linear", num_classes=4).state_dict()
    )
    assert not any(parameter.requires_grad for parameter in merged.parameters())


def test_what_cannot_be_merged_says_so() -> None:
    with pytest.raises(InputError, match=r"folds into its backbone \(bitfit, .*ssf.*\); found wst"):
        wst.merge(wst.create_model("micro", method="wst", num_classes=4))
    with pytest.raises(InputError, match="expected a model that create_model made; found Linear"):
        wst.merge(torch.nn.Linear(2, 2))


def test_the_cost_of_an_image_is_counted_in_products() -> None:
    """A block of ViT-B/16: 12 d^2 a token for the maps, 2 N d for attention, each times two operations."""
    vit = Backbone("vit_base_patch16_224")
    alone = inference(vit, "linear", {}, 10)
    n, d = 197, 768
    blocks = 12 * 2 * n * (12 * d**2 + 2 * n * d)
    assert alone.flops == blocks + 2 * 196 * d * d + 2 * d * 10
    assert alone.parameters == 85_798_656 + 7_690
    adapted = inference(vit, "adaptformer", {"r": 8}, 10)
    assert adapted.flops - alone.flops == 12 * 2 * n * 2 * d * 8
    assert adapted.parameters - alone.parameters == 156_768


def test_it_is_counted_too_where_shapes_depend_on_numbers() -> None:
    pytest.importorskip("peft")
    alone, adapted = (
        inference(Backbone("micro"), *which, 3)
        for which in (("linear", {}), ("peft", {"kind": "waveft", "n_frequency": 5}))
    )
    assert adapted.flops >= alone.flops and adapted.parameters == alone.parameters + 5 * 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
@pytest.mark.parametrize("readout", ["paper", "token", "mean", "mean_of_normed"])
def test_timm_makes_its_like(name: str, readout: str) -> None:
    merged = wst.merge(wst.create_model(name, method="lora", num_classes=3, r=2, readout=readout))
    arguments = timm_arguments(merged, Backbone(name), 3)
    with torch.device("meta"):
        again = timm.create_model(name, **arguments)
    assert type(again) is type(merged) and again.global_pool == merged.global_pool
    shapes = {key: tensor.shape for key, tensor in merged.state_dict().items()}
    assert {key: tensor.shape for key, tensor in again.state_dict().items()} == shapes


def test_a_readout_that_timm_has_no_argument_for_is_refused() -> None:
    with torch.device("meta"):
        model = wst.create_model("swin_tiny_patch4_window7_224", method="lora", num_classes=3, readout="mean")
        with pytest.raises(InputError, match="readout: expected the backbone's own for SwinTransformer"):
            timm_arguments(wst.merge(model), Backbone("swin_tiny_patch4_window7_224"), 3)

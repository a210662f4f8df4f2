"""Readouts: the same whatever family, and still a model that timm can make."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from tests.methods.families import FAMILIES, frozen, images
from wst.errors import InputError
from wst.methods._readout import set_readout
from wst.methods._trunk import embed, prefix, stages


def last_tokens(model: nn.Module) -> Tensor:
    tokens, contexts = embed(model, images())
    index = 0
    for stage in stages(model):
        tokens = tokens if stage.merging is None else stage.merging(tokens)
        for block in stage.blocks:
            tokens = block(tokens, **contexts[index])
            index += 1
    return tokens


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("readout", ["token", "mean", "mean_of_normed"])
@torch.no_grad()
def test_each_readout_is_what_it_says(family: str, readout: str) -> None:
    model = frozen(family).eval()
    tokens = last_tokens(model)
    staged = tokens.dim() == 4
    norm = model.fc_norm if isinstance(model.norm, nn.Identity) else model.norm
    patches = tokens.flatten(1, 2) if staged else tokens[:, prefix(model) :]
    if staged and readout == "token":
        with pytest.raises(InputError, match="readout: expected mean or mean_of_normed for SwinTransformer"):
            set_readout(model, readout)
        return
    expected = {
        "token": norm(tokens[:, 0]) if not staged else None,
        "mean": norm(patches.mean(1)),
        "mean_of_normed": norm(patches).mean(1),
    }[readout]
    set_readout(model, readout)
    torch.testing.assert_close(model(images()), model.get_classifier()(expected))


@torch.no_grad()
def test_the_papers_is_the_backbones_own() -> None:
    for family in FAMILIES:
        model = frozen(family).eval()
        before = model(images())
        set_readout(model, "paper")
        assert torch.equal(model(images()), before)


@torch.no_grad()
def test_attention_pooling_and_prefix_tokens_give_way() -> None:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2, "num_classes": 3}
    pooling = VisionTransformer(**options, class_token=False, global_pool="map").eval()
    tokens = last_tokens(pooling)
    set_readout(pooling, "mean")
    norm = pooling.fc_norm
    torch.testing.assert_close(pooling(images()), pooling.head(norm(tokens.mean(1))))
    including = VisionTransformer(**options, global_pool="avg", pool_include_prefix=True).eval()
    tokens = last_tokens(including)
    set_readout(including, "mean_of_normed")
    torch.testing.assert_close(including(images()), including.head(including.norm(tokens)[:, 1:].mean(1)))


def test_a_class_token_that_is_not_there_is_refused() -> None:
    model = timm.create_model("vit_tiny_patch16_224", class_token=False, global_pool="avg")
    with pytest.raises(InputError, match="readout: expected 'paper' for ResNet; found 'mean'"):
        set_readout(timm.create_model("resnet10t"), "mean")
    with pytest.raises(InputError, match="VisionTransformer without a class token; found 'token'"):
        set_readout(model, "token")

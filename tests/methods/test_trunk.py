"""The families of transformers, seen alike."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.methods.families import FAMILIES, frozen, images
from wst.methods._blocks import open_blocks
from wst.methods._projections import fused_qkv
from wst.methods._trunk import blocks, embed, pooled, prefix, stages, widths


def walked(model: nn.Module) -> torch.Tensor:
    """Logits by the functions of ``_trunk`` alone."""
    tokens, contexts = embed(model, images())
    index = 0
    for stage in stages(model):
        if stage.merging is not None:
            tokens = stage.merging(tokens)
        for block in stage.blocks:
            tokens = block(tokens, **contexts[index])
            index += 1
    return model.get_classifier()(pooled(model, tokens))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_model_walked_block_by_block_gives_what_timm_gives(family: str) -> None:
    model = frozen(family).eval()
    assert torch.equal(walked(model), model(images()))
    assert len(blocks(model)) == len(widths(model))
    tokens, _ = embed(model, images())
    cells = tokens.shape[1] - prefix(model) if tokens.dim() == 3 else tokens.shape[1] * tokens.shape[2]
    assert cells == (16 if tokens.dim() == 3 else 64)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_an_opened_block_computes_what_it_did(family: str) -> None:
    model = frozen(family).eval()
    before = model(images())
    names = {name for name, _ in model.named_parameters()}
    opened = open_blocks(model)
    assert opened == blocks(model) and [block.dim for block in opened] == widths(model)
    torch.testing.assert_close(model(images()), before, rtol=1e-6, atol=1e-6)
    assert len(list(model.parameters())) == len(names)
    every = [id(p) for name, p in model.named_parameters(remove_duplicate=False)]
    assert len(every) == len(set(every))  # no module has two names


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_one_map_to_queries_keys_and_values_computes_what_the_parts_did(family: str) -> None:
    model = frozen(family).eval()
    before = model(images())
    for block, width in zip(blocks(model), widths(model), strict=True):
        found = fused_qkv(block.attn)
        assert found is block.attn.qkv and found.weight.shape == (3 * width, width)
        assert not found.weight.requires_grad and fused_qkv(block.attn) is found
    torch.testing.assert_close(model(images()), before, rtol=1e-5, atol=1e-6)

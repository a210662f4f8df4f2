"""A model's two halves compute what it does, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from tests.methods.families import FAMILIES, frozen, images
from wst.methods import method, registry
from wst.methods._trunk import blocks, stages
from wst.models.halves import halves

LINEAR = registry.get("linear")


class _Shifted(nn.Module):
    def __init__(self, block: nn.Module, width: int):
        super().__init__()
        self.block, self.shift = block, nn.Parameter(torch.full((width,), 0.1))

    def forward(self, tokens: torch.Tensor, **context: Any) -> torch.Tensor:
        shifted: torch.Tensor = self.block(tokens, **context) + self.shift
        return shifted


@method(untouched=lambda backbone, last=1: len(blocks(backbone)) - last)
def _shift_last(backbone: nn.Module, *, last: int = 1) -> nn.Module:
    """A vector on what leaves the last blocks."""
    places = [(stage, place) for stage in stages(backbone) for place in range(len(stage.blocks))]
    for stage, place in places[-last:]:
        stage.blocks[place] = _Shifted(stage.blocks[place], stage.width)
    return backbone


def _agree(model: nn.Module, found: Any, words: str) -> None:
    assert found is not None and words in found.words
    first = found.first(images())
    assert not first.requires_grad or words.startswith("input")
    assert torch.equal(found(first), model(images()))


@pytest.mark.parametrize("readout", ["paper", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_linear_keeps_what_the_head_reads(family: str, readout: str) -> None:
    model = LINEAR(frozen(family), readout=readout)
    found = halves(model, LINEAR, {"readout": readout})
    _agree(model, found, f"input of the head, readout {readout}")
    assert found.first(images()).ndim == 2


@pytest.mark.parametrize("last", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_before_the_first_adapted_one_are_kept(family: str, last: int) -> None:
    model = _shift_last(frozen(family), last=last)
    kept = len(blocks(model)) - last
    _agree(model, halves(model, _shift_last, {"last": last}), f"tokens after {kept} blocks")


@pytest.mark.parametrize("family", ["vit", "eva", "beit with a shared bias"])
def test_a_ladder_keeps_every_blocks_output(family: str) -> None:
    lst = registry.get("lst")
    model = lst(frozen(family), r=4)
    _agree(model, halves(model, lst, {"r": 4}), "before and after every block")


def test_a_convolutional_net_has_an_input_of_its_head_too() -> None:
    model = timm.create_model("test_convnext", num_classes=5).requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    _agree(model.eval(), halves(model, LINEAR, {}), "input of the head")


def test_what_drops_in_training_is_not_kept() -> None:
    assert halves(frozen("vit", 0.3), LINEAR, {}) is None
    lst = registry.get("lst")
    assert halves(lst(frozen("vit", 0.3), r=4), lst, {"r": 4}) is None
    # Rates grow from 0 at the first block.
    model = _shift_last(frozen("vit", 0.3))
    found = halves(model, _shift_last, {})
    assert found is not None and found.words == "tokens after 1 blocks"


@pytest.mark.parametrize(
    ("name", "settings"), [("wst", {}), ("bitfit", {}), ("lora", {"r": 2}), ("full", {})]
)
def test_methods_that_touch_the_first_block_keep_nothing(name: str, settings: dict[str, Any]) -> None:
    found = registry.get(name)
    assert halves(found(frozen("vit"), **settings), found, settings) is None

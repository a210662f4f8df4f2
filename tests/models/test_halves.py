"""A model's two halves compute what it does, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.methods.families import FAMILIES, frozen, images
from wst.methods import method, registry
from wst.methods._trunk import blocks, stages
from wst.models import backbones
from wst.models.halves import halves
from wst.records import Backbone

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


def _agree(model: nn.Module, found: Any, key: str) -> None:
    assert found is not None and key in found.key
    first = found.first(images())
    assert not first.requires_grad or key.startswith("input")
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
    _agree(model, halves(model, lst, {"r": 4}), "before and after each of 3 blocks")


@pytest.mark.parametrize("kernel", [0, 3])
@pytest.mark.parametrize("family", ["vit", "eva", "beit with a shared bias"])
def test_a_side_path_keeps_the_blocks_before_its_first_join(family: str, kernel: int) -> None:
    dtl = registry.get("dtl")
    settings = {"r": 2, "kernel": kernel}
    model = dtl(frozen(family), **settings)
    with torch.no_grad():
        for side_map in model.side_maps.values():  # type: ignore[operator, union-attr]
            side_map.b.weight.normal_()
    _agree(model, halves(model, dtl, settings), "before and after each of 1 blocks")


@pytest.mark.parametrize("name", ["test_convnext", "test_resnet", "resnetv2_18", "volo_d1_224", "dpn48b"])
def test_other_nets_have_an_input_of_their_head_too(name: str) -> None:
    """Heads that are a map on pixels, and second heads, too."""
    model = backbones.create(Backbone(name, image_size=None), num_classes=5)
    size = backbones.input_spec(model, Backbone(name)).size
    found = halves(model, LINEAR, {})
    assert found is not None and found.key.startswith("input of the head")
    assert found.hold(torch.randn(2, 3, size, size))


def test_what_drops_by_a_function_does_not_hold() -> None:
    model = backbones.create(Backbone("ghostnet_100"), num_classes=5)
    found = halves(model, LINEAR, {})
    assert found is None or not found.hold(torch.randn(2, 3, 64, 64))


def test_a_method_that_draws_has_no_features_of_its_head() -> None:
    """What it draws is each trial's own."""

    @method(untouched=lambda backbone: 3)
    def noisy(backbone: nn.Module) -> nn.Module:
        backbone.register_buffer("drawn", torch.randn(3))
        return backbone

    found = halves(noisy(frozen("vit")), noisy, {})
    assert found is not None and found.key == "tokens after 3 blocks"


def test_blocks_before_those_of_peft_are_kept() -> None:
    pytest.importorskip("peft")
    peft = registry.get("peft")
    settings = {"kind": "lora", "layers_to_transform": (2,)}
    model = peft(frozen("vit"), **settings)
    _agree(model, halves(model, peft, settings), "tokens after 2 blocks")


def test_what_drops_in_training_is_not_kept() -> None:
    assert halves(frozen("vit", 0.3), LINEAR, {}) is None
    lst = registry.get("lst")
    assert halves(lst(frozen("vit", 0.3), r=4), lst, {"r": 4}) is None
    # Rates grow from 0 at the first block.
    model = _shift_last(frozen("vit", 0.3))
    found = halves(model, _shift_last, {})
    assert found is not None and found.key == "tokens after 1 blocks"


@pytest.mark.parametrize(
    ("name", "settings"), [("wst", {}), ("bitfit", {}), ("lora", {"r": 2}), ("full", {})]
)
def test_methods_that_touch_the_first_block_keep_nothing(name: str, settings: dict[str, Any]) -> None:
    found = registry.get(name)
    assert halves(found(frozen("vit"), **settings), found, settings) is None

"""What a recipe's precision comes to, and frozen weights in the type that they compute in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.methods.families import frozen, images
from wst.methods import registry
from wst.models.create import create_model
from wst.study import Recipe
from wst.training import precision
from wst.training.precision import autocast, gradient_scaler, resolved, store_frozen

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "computes"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float32)]
)
def test_precision_on_the_cpu(asked: Any, computes: torch.dtype) -> None:
    linear = nn.Linear(4, 4)
    recipe = resolved(Recipe(precision=asked), create_model("micro", num_classes=3), CPU)
    with autocast(recipe, CPU):
        assert linear(torch.zeros(1, 4)).dtype == computes
    assert not gradient_scaler(recipe, CPU).is_enabled()
    assert recipe.precision == ("bf16" if computes == torch.bfloat16 else "fp32")


@pytest.mark.parametrize(
    ("processor", "backbone", "comes_to"),
    [
        ({"avx512_bf16": True}, "vit_tiny_patch16_224", "bf16"),
        ({"amx_bf16": True}, "vit_tiny_patch16_224", "bf16"),
        ({"avx512_f": True}, "vit_tiny_patch16_224", "fp32"),
        ({"avx512_bf16": True}, "micro", "fp32"),  # too narrow to gain
    ],
)
def test_auto_is_bf16_where_that_is_fast(
    processor: dict[str, bool], backbone: str, comes_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    model = create_model(backbone, method="linear", num_classes=3)
    assert resolved(Recipe(precision="auto"), model, CPU).precision == comes_to
    assert resolved(Recipe(precision="fp32"), model, CPU).precision == "fp32"


_METHODS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in registry.names() if name not in ("full", "noah", "peft")),
    ("noah", {"prompt_sizes": (1, 1, 1), "lora_sizes": (1, 2, 1), "adapter_sizes": (2, 1, 1)}),
    *(("peft", {"kind": kind}) for kind in ("lora", "dora", "boft", "hira", "oft", "ia3")),
]


@pytest.mark.parametrize(("name", "settings"), _METHODS, ids=lambda value: str(value))
def test_stored_weights_give_the_numbers_of_autocast(name: str, settings: dict[str, Any]) -> None:
    """Bit for bit: losses, and the gradients of all that is trained."""
    if name == "peft":
        pytest.importorskip("peft")
    recipe, labels = Recipe(precision="bf16"), torch.tensor([0, 1, 2, 3])
    found = []
    for stored in (False, True):
        torch.manual_seed(0)  # of what a method draws
        model = registry.get(name)(frozen("vit"), **settings)
        for parameter in (p for p in model.parameters() if p.requires_grad):
            torch.manual_seed(parameter.numel())
            parameter.data += 0.05 * torch.randn_like(parameter)
        if stored:
            store_frozen(model, recipe)
            types = {p.dtype for p in model.parameters() if not p.requires_grad}
            assert torch.bfloat16 in types
            assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
        with autocast(recipe, CPU):
            loss = F.cross_entropy(model(images()).float(), labels)
        trained = [p for p in model.parameters() if p.requires_grad]
        found.append([loss, *torch.autograd.grad(loss, trained, allow_unused=True)])
    for one, other in zip(*found, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_float32_stores_nothing_else() -> None:
    model = create_model("micro", method="wst", num_classes=3, r=2)
    store_frozen(model, Recipe())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_fp32_on_cuda_is_without_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    model = create_model("micro", num_classes=3)
    assert precision.resolved(Recipe(), model, torch.device("cuda")).precision == "fp32"
    assert not torch.backends.cudnn.allow_tf32

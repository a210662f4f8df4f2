"""Other forms of convolutions and linear maps give the same numbers and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap
from torch.overrides import TorchFunctionMode

from wst.training.forms import Forms


class _Calls(TorchFunctionMode):
    """Notes which functions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def _check(module: nn.Module, inputs: Tensor) -> list[Any]:
    """That a module's results and gradients are the same; returns what it calls."""
    module = module.double()
    leaves = [inputs.requires_grad_(), *module.parameters()]
    expected = module(inputs)
    with _Calls() as calls, torch.autocast("cpu", torch.bfloat16), Forms():
        found = module(inputs)
    torch.testing.assert_close(found, expected)
    towards = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    return calls.seen


def _images(*sides: int) -> Tensor:
    return torch.randn(2, 3, *sides, dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_over_patches_is_one_product(bias: bool) -> None:
    called = _check(nn.Conv2d(3, 16, (4, 2), stride=(4, 2), bias=bias), _images(8, 6))
    assert F.linear in called and F.conv2d not in called


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(3, 6, 3, padding=1),
        nn.Conv2d(3, 6, 2),
        nn.Conv2d(3, 6, 2, stride=2, dilation=2),
        nn.Conv2d(3, 6, 2, stride=2, groups=3),
        nn.Conv2d(3, 6, 4, stride=4),  # its patches leave a border
    ],
)
def test_any_other_convolution_stays_one(other: nn.Module) -> None:
    assert F.linear not in _check(other, _images(6, 6))


@pytest.mark.parametrize(("into", "out"), [(16, 2), (2, 16), (5, 3), (16, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_thin_maps_are_filled_up(into: int, out: int, bias: bool) -> None:
    called = _check(nn.Linear(into, out, bias=bias), torch.randn(2, 7, into, dtype=torch.float64))
    assert (F.pad in called) == bool(into % 8 or out % 8)


def test_linear_maps_in_float32_stay_as_they_are() -> None:
    layer, inputs = nn.Linear(5, 3), torch.randn(2, 5)
    with _Calls() as calls, Forms():
        layer(inputs)
    assert F.linear in calls.seen and F.pad not in calls.seen


@pytest.mark.parametrize("call", [F.linear, F.conv2d])
def test_they_can_be_stacked(call: Callable[..., Tensor]) -> None:
    shapes = [(2, 6), (3, 6)] if call is F.linear else [(2, 3, 4, 4), (3, 3, 2, 2)]
    inputs, weights = (torch.randn(4, *shape, dtype=torch.float64) for shape in shapes)
    options = () if call is F.linear else (None, (2, 2))
    with torch.autocast("cpu", torch.bfloat16), Forms():
        found = vmap(lambda one, weight: call(one, weight, *options))(inputs, weights)
    expected = [call(one, weight, *options) for one, weight in zip(inputs, weights, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))

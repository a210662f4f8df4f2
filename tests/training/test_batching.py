"""Under ``vmap``, attention and autocast's maps give what they give for each alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import vmap

from wst.training.batching import Rules

TRIALS, IMAGES, HEADS, TOKENS, WIDTH = 3, 2, 4, 5, 8


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64)


@pytest.mark.parametrize(
    ("mask", "dim"),
    [
        (None, None),
        (_random(1, HEADS, TOKENS, TOKENS), None),
        (_random(TOKENS, TOKENS), None),
        (_random(IMAGES, 1, TOKENS, TOKENS), None),
        (_random(TRIALS, IMAGES, 1, TOKENS, TOKENS), 0),
        (_random(TRIALS, 1, HEADS, TOKENS, TOKENS), 0),
        (_random(TOKENS, TRIALS, TOKENS), 1),
    ],
)
def test_attention_and_its_gradients_are_those_of_each_alone(mask: Tensor | None, dim: int | None) -> None:
    query, key, value = _random(3, TRIALS, IMAGES, HEADS, TOKENS, WIDTH).unbind()
    value = value[0]  # one for all
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]

    def attend(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask, scale=0.5)

    with Rules():
        found = vmap(attend, in_dims=(0, 0, dim))(query, key, mask)
    masks = [mask] * TRIALS if mask is None or dim is None else mask.unbind(dim)
    expected = torch.stack([attend(query[i], key[i], masks[i]) for i in range(TRIALS)])
    torch.testing.assert_close(found, expected)
    towards = _random(*found.shape)
    for one, other in zip(
        torch.autograd.grad(found, leaves, towards),
        torch.autograd.grad(expected, leaves, towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_attention_that_drops_is_refused() -> None:
    tokens = _random(TRIALS, IMAGES, HEADS, TOKENS, WIDTH)
    with Rules(), pytest.raises(RuntimeError, match="random"):
        vmap(lambda one: F.scaled_dot_product_attention(one, one, one, dropout_p=0.5))(tokens)


@pytest.mark.parametrize(
    ("call", "shapes"),
    [
        (F.linear, [(5, 8), (4, 8), (4,)]),
        (F.conv2d, [(2, 3, 8, 8), (4, 3, 2, 2), (4,)]),
        (F.conv_transpose2d, [(2, 3, 8, 8), (3, 4, 2, 2)]),
        (torch.addmm, [(4,), (5, 8), (8, 4)]),
        (torch.baddbmm, [(2, 1, 1), (2, 5, 8), (2, 8, 4)]),
        (F.scaled_dot_product_attention, [(2, 4, 5, 8), (2, 4, 5, 8), (2, 4, 5, 8)]),
    ],
)
def test_types_are_those_of_autocast(call: Callable[..., Tensor], shapes: list[tuple[int, ...]]) -> None:
    """The first argument in bf16, as what comes out of a map before, the others in float32."""
    first, *others = (_random(TRIALS, *shape).float() for shape in shapes)
    first = first.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        alone = torch.stack([call(*own) for own in zip(first, *others, strict=True)])
        with Rules():
            together = vmap(call)(first, *others)
    assert together.dtype == alone.dtype == torch.bfloat16
    torch.testing.assert_close(together, alone, rtol=2e-2, atol=2e-2)


def test_nothing_is_cast_where_autocast_is_off() -> None:
    inputs, weights = _random(TRIALS, 5, 8).float(), _random(TRIALS, 4, 8).float()

    def call(one: Tensor, weight: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return F.linear(one, weight)

    with torch.autocast("cpu", torch.bfloat16), Rules():
        assert vmap(call)(inputs, weights).dtype == torch.float32


def test_attention_of_tokens_alone_stays_within_each_trial() -> None:
    tokens = _random(TRIALS, TOKENS, WIDTH)
    with Rules():
        found = vmap(lambda one: F.scaled_dot_product_attention(one, one, one))(tokens)
    expected = [F.scaled_dot_product_attention(one, one, one) for one in tokens]
    torch.testing.assert_close(found, torch.stack(expected))

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import DropPath
from torch import nn

from wst.training.draws import Draw, Draws, seeded
from wst.training.drop_path import StochasticDepth

CPU = torch.device("cpu")


def _draws(seed: int, images: int, batch_size: int, drop_last: bool = False) -> Draws:
    depth = StochasticDepth(nn.Sequential(DropPath(0.5), DropPath(0.1)))
    return Draws(seed, images, batch_size, drop_last, depth, CPU)


def _same(a: Draw, b: Draw) -> bool:
    return torch.equal(a.indices, b.indices) and torch.equal(a.masks, b.masks) and a.seed == b.seed


@given(st.integers(1, 50), st.integers(1, 20), st.booleans(), st.integers(0, 2**32 - 1))
def test_an_epoch_draws_each_image_once(images: int, batch_size: int, drop_last: bool, seed: int) -> None:
    draws = _draws(seed, images, batch_size, drop_last)
    epoch = list(draws.epoch())
    drawn = torch.cat([draw.indices for draw in epoch]).tolist()
    assert len(drawn) == len(set(drawn)) == draws.images_per_epoch and set(drawn) <= set(range(images))
    assert len(epoch) == draws.steps
    for draw in epoch[:-1]:
        assert len(draw.indices) == batch_size
    for draw in epoch:
        assert draw.masks.shape == (2, len(draw.indices))
    if not drop_last or images < batch_size:
        assert draws.images_per_epoch == images
    else:
        assert len(epoch[-1].indices) == batch_size and images - draws.images_per_epoch < batch_size


def test_draws_depend_on_the_seed_and_the_epoch_alone() -> None:
    first = _draws(1, 10, 4)
    epochs = [list(first.epoch()) for _ in range(2)]
    assert not torch.equal(epochs[0][0].indices, epochs[1][0].indices)
    second, other = _draws(1, 10, 4), _draws(2, 10, 4)
    for epoch in epochs:
        torch.rand(3)
        there = list(other.epoch())
        assert all(_same(a, b) for a, b in zip(epoch, second.epoch(), strict=True))
        assert not any(_same(a, b) for a, b in zip(epoch, there, strict=True))


def test_draws_go_on_where_their_state_was_taken() -> None:
    first, second = _draws(1, 10, 4), _draws(5, 10, 4)
    list(first.epoch())
    second.load_state_dict(first.state_dict())
    assert all(_same(a, b) for a, b in zip(first.epoch(), second.epoch(), strict=True))


def test_seeded_puts_the_generator_back_even_after_an_error() -> None:
    before = torch.get_rng_state()
    with seeded(7, CPU):
        inside = torch.rand(3)
    with pytest.raises(ValueError), seeded(7, CPU):
        assert torch.equal(torch.rand(3), inside)
        raise ValueError
    assert torch.equal(torch.get_rng_state(), before)

"""A search space as a grid: every combination of a few values of each hyperparameter."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np

from wst.study import Categorical, Distribution, Float, Hyperparameters, Int, Scalar


def axis(space: Distribution, points: int) -> list[Scalar]:
    """The values of one hyperparameter: its choices, its steps, or ``points`` evenly spaced on its scale."""
    if isinstance(space, Categorical):
        return list(space.choices)
    spread = np.geomspace if space.log else np.linspace
    if isinstance(space, Int):
        if space.log or (space.high - space.low) // space.step >= points:
            return [int(v) for v in dict.fromkeys(np.rint(spread(space.low, space.high, points)).tolist())]
        return list(range(space.low, space.high + 1, space.step))
    assert isinstance(space, Float)
    if space.step is not None:
        count = int((space.high - space.low) / space.step + 1e-9)
        return [round(space.low + i * space.step, 12) for i in range(count + 1)]
    return [float(f"{value:.6g}") for value in spread(space.low, space.high, points)]


def combinations(space: Mapping[str, Distribution], points: int) -> list[Hyperparameters]:
    """All combinations, the last hyperparameter fastest."""
    found: list[Hyperparameters] = [{}]
    for name, entry in space.items():
        values = axis(entry, points)
        found = [{**one, name: value} for one in found for value in values]
    return found


def shuffled(space: Mapping[str, Distribution], points: int, seed: int) -> list[Hyperparameters]:
    """All combinations in an order that the seed decides, so that a part of them covers the space too."""
    found = combinations(space, points)
    random.Random(seed).shuffle(found)
    return found

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from wst.study.space import Categorical, Float, Int, applies, grid


@given(st.floats(1e-6, 1.0), st.floats(1.0, 1e3), st.integers(2, 9), st.booleans())
def test_points_of_a_range_are_inside_it_and_hold_both_ends(
    low: float, width: float, points: int, log: bool
) -> None:
    space = Float(low=float(f"{low:.6g}"), high=float(f"{low * (1 + width):.6g}"), log=log)
    values = space.values(points)
    assert len(values) == points == len(set(values))
    assert (values[0], values[-1]) == (space.low, space.high)
    assert all(space.holds(value) for value in values)


def test_steps_of_a_range_are_its_points() -> None:
    assert Float(low=0.0, high=0.4, step=0.1).values(2) == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert Int(low=1, high=7, step=3).values(2) == [1, 4, 7]
    assert Int(low=1, high=64, log=True).values(4) == [1, 4, 16, 64]
    assert not Int(low=1, high=7, step=3).holds(2)


def test_grid_is_the_product_of_the_values() -> None:
    space = {"a": Categorical(choices=(1, 2)), "b": Float(low=1.0, high=100.0, log=True)}
    found = grid(space, 3, {})
    assert [(s["a"], s["b"]) for s in found] == list(product((1, 2), (1.0, 10.0, 100.0)))
    shuffled = grid(space, 3, {}, seed=1)
    assert shuffled != found and sorted(map(repr, shuffled)) == sorted(map(repr, found))


def test_condition_leaves_a_hyperparameter_out_of_the_grid_where_it_does_not_apply() -> None:
    space = {
        "method": Categorical(choices=("haar", "average")),
        "levels": Int(low=1, high=2, when={"method": ("haar",), "deep": (True,)}),
    }
    assert grid(space, 5, {"deep": True}) == [
        {"method": "haar", "levels": 1},
        {"method": "haar", "levels": 2},
        {"method": "average"},
    ]
    assert grid(space, 5, {"deep": False}) == [{"method": "haar"}, {"method": "average"}]
    assert not applies(space["levels"], {"method": "haar"})

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from wst.records import Value, same
from wst.study import Variant
from wst.study.bounds import MANY
from wst.study.space import (
    Categorical,
    Distribution,
    Float,
    Int,
    applies,
    brought,
    check_places,
    expanded,
    gathered,
    grid,
    plain,
    spread,
)


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


_steps = st.tuples(st.decimals(-5, 5, places=3), st.decimals("0.001", 2, places=3), st.integers(0, 40)).map(
    lambda t: Float(low=float(t[0]), high=float(t[0] + t[1] * t[2]), step=float(t[1]))
)
_ranges = st.tuples(st.floats(1e-9, 1e3), st.floats(1, 1e3), st.booleans()).map(
    lambda t: Float(low=t[0], high=t[0] * t[1], log=t[2])
)
_whole = st.tuples(st.integers(-9, 9), st.integers(0, 40), st.integers(1, 4)).map(
    lambda t: Int(low=t[0], high=t[0] + t[1], step=t[2])
)
_scalars = st.one_of(
    st.booleans(), st.integers(-9, 9), st.sampled_from([0.5, 1.0, 2.0, -3.0]), st.text("ab", max_size=2)
)
_values = st.one_of(_scalars, st.lists(_scalars, max_size=3).map(tuple))
_choices = st.lists(_values, min_size=1, max_size=6).map(
    lambda found: Categorical(
        choices=tuple(v for i, v in enumerate(found) if not any(same(v, other) for other in found[:i]))
    )
)
_entries = st.one_of(_steps, _ranges, _whole, _choices)
_any = st.one_of(_values, st.floats(), st.integers(), st.just(10**400))


@given(_entries, _any)
def test_bringing_again_changes_nothing_and_what_is_not_held_comes_back(
    entry: Distribution, value: Value
) -> None:
    once = entry.brought(value)
    assert entry.holds(once) == entry.holds(value)
    if entry.holds(value):
        assert repr(entry.brought(once)) == repr(once)
        # a step's slack apart, it is what it was
        assert same(once, value) or once == pytest.approx(value, rel=1e-6, abs=1e-7)
    else:
        assert once is value


@given(_entries, st.integers(2, 9))
def test_points_of_a_grid_are_held_and_are_where_they_are_brought(entry: Distribution, points: int) -> None:
    for value in entry.values(points):
        assert entry.holds(value) and repr(entry.brought(value)) == repr(value)


@given(_steps, st.integers(0, 40))
def test_a_step_is_the_same_however_it_was_added_up(entry: Float, place: int) -> None:
    """As Optuna multiplies it, as a loop adds it, and as a user writes it."""
    assert entry.step is not None
    points = entry.values(2)
    wanted = points[place % len(points)]
    added = entry.low
    for _ in range(place % len(points)):
        added += entry.step
    for value in (place % len(points) * entry.step + entry.low, added, float(f"{wanted:.12g}")):
        assert repr(entry.brought(value)) == repr(wanted)


def test_equal_values_are_one_value() -> None:
    tenths = Float(low=0.0, high=0.4, step=0.1)
    assert [tenths.brought(v) for v in (0.1 + 0.2, 3 * 0.1, 0.3)] == [0.3] * 3
    assert repr(Float(low=0, high=4).brought(1)) == "1.0" and repr(tenths.brought(0)) == "0.0"
    assert repr(Int(low=1, high=8).brought(4.0)) == "4" and not Int(low=1, high=8).holds(4.5)
    scale = Categorical(choices=(1.0, 10.0))
    assert [repr(scale.brought(v)) for v in (1, 10, 10.0)] == ["1.0", "10.0", "10.0"]
    lists = Categorical(choices=((1, 2), (1.5, 2)))
    assert repr(lists.brought((1.0, 2.0))) == "(1, 2)"
    several = {"scale[0]": scale, "scale[1]": scale}
    assert repr(brought({"scale": (1, 10)}, several)) == "{'scale[0]': 1.0, 'scale[1]': 10.0}"


def test_a_true_is_no_number() -> None:
    for entry in (Float(low=0, high=1), Float(low=0, high=1, step=0.5), Int(low=0, high=1)):
        assert not entry.holds(True)
    assert not Categorical(choices=(1, 2)).holds(True)
    assert Categorical(choices=(True, 1)).brought(1.0) == 1
    assert not applies(Float(low=0, high=1, when={"on": (True,)}), {"on": 1})


@pytest.mark.parametrize("choices", [[1, 1.0], ["a", "a"], [[1, 2], [1.0, 2]]])
def test_choices_that_are_equal_are_refused(choices: list[Value]) -> None:
    with pytest.raises(ValidationError, match="expected each choice once; found"):
        Categorical(choices=tuple(choices))


def test_a_variants_own_values_are_brought_to_its_space() -> None:
    space = {
        "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        "drop_path": {"type": "float", "low": 0.0, "high": 0.4, "step": 0.1},
        "scale": {"type": "categorical", "choices": [1.0, 10.0], "when": {"drop_path": [0.1 + 0.2]}},
    }
    start = [{"drop_path": 3 * 0.1, "scale": 1}]
    variant = Variant.model_validate({"method": "wst", "space": space, "warm_start": start})
    assert repr(variant.warm_start) == "({'drop_path': 0.3, 'scale': 1.0},)"
    assert variant.space is not None and variant.space["scale"].when == {"drop_path": (0.3,)}


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"low": 2, "high": 1}, "expected low <= high; found low 2.0 and high 1.0"),
        ({"low": 0, "high": 1, "log": True}, "expected low > 0 on a log scale; found low 0.0"),
        (
            {"low": 1, "high": 2, "log": True, "step": 0.5},
            "expected either log or step; found log with step 0.5",
        ),
        ({"low": 0, "high": 1e6, "step": 1}, "expected a range of at most "),
    ],
)
def test_range_that_has_no_values_is_refused(entry: dict[str, float], line: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Float.model_validate(entry)
    assert f"Value error, {line}" in str(caught.value)


def test_bounds_of_ranges() -> None:
    assert Float(low=1, high=1).values(2) == [1.0, 1.0]
    assert Float(low=1e-9, high=1, log=True).holds(1e-9)
    assert Int(low=1, high=9, log=True, step=1).values(3) == [1, 3, 9]
    with pytest.raises(ValidationError, match="log with step 2"):
        Int(low=1, high=9, log=True, step=2)
    assert Int(low=0, high=MANY - 1).values(2)[-1] == MANY - 1
    with pytest.raises(ValidationError, match=f"at most {MANY:,} steps, or log: true; found {MANY:,}"):
        Int(low=0, high=MANY)
    assert Int(low=1, high=10 * MANY, log=True).values(2) == [1, 10 * MANY]
    unsteady = Float(low=0.0, high=1.0, step=0.3)  # whose last step is below its end
    assert unsteady.values(2) == [0.0, 0.3, 0.6, 0.9] and not unsteady.holds(1.0) and not unsteady.holds(1.2)
    assert not unsteady.holds(-0.3) and not unsteady.holds("x") and unsteady.holds(0)
    assert Float(low=1, high=2).holds(1.5) and not Float(low=1, high=2).holds(2.5)
    assert Int(low=1, high=3).values(9) == [1, 2, 3] and not Int(low=1, high=3).holds(4)


def test_points_of_a_range_have_six_digits() -> None:
    assert Float(low=0.1, high=0.2).values(4) == [0.1, 0.133333, 0.166667, 0.2]
    assert Float(low=0.1, high=10, log=True).values(4) == [0.1, 0.464159, 2.15443, 10.0]


def test_places_of_several_values_are_written_in_one_entry() -> None:
    entry = {"type": "int", "low": 0, "high": 5}
    space = {"first": 1, "prompts[0..2]": entry, "last": 2}
    places = {f"prompts[{place}]": entry for place in range(3)}
    assert list(expanded(space).items()) == list({"first": 1, **places, "last": 2}.items())
    assert list(expanded({"p[0..999]": 1})) == [f"p[{place}]" for place in range(1000)]
    assert expanded({7: 1}) == {7: 1}  # type: ignore[dict-item]
    for wrong in ("p[1..3]", "p[0..0]", "p[0..1000]"):
        with pytest.raises(ValueError) as caught:
            expanded({wrong: entry})
        assert str(caught.value) == (
            f"{wrong}: expected places from 0 upwards, such as [0..11], and at most 1,000; found {wrong!r}"
        )


def test_several_values_lie_at_their_places() -> None:
    settings = {"lr": 0.1, "sizes": (1, 2), "kind": ("a", "b")}
    placed = {"lr": 0.1, "sizes[0]": 1, "sizes[1]": 2, "kind": ("a", "b")}
    assert list(spread(settings, ["kind"]).items()) == list(placed.items())
    assert list(gathered(placed).items()) == list(settings.items())
    many = {"sizes": tuple(range(12))}  # by number, not by spelling
    assert gathered(dict(sorted(spread(many).items()))) == many
    assert brought({"a": (1.0, 2.0), "b": 3}, {"a[1]": Int(low=0, high=5)}) == {
        "a[0]": 1.0,
        "a[1]": 2,
        "b": 3,
    }
    assert (plain((1, "x")), plain("x"), plain(2)) == ('[1, "x"]', "x", 2)


def test_places_are_whole_and_under_no_condition() -> None:
    whole, other = Int(low=0, high=5), Int(low=0, high=5, when={"k": (1,)})
    check_places({"a[0]": whole, "a[1]": whole, "b": other, "c[0]": whole})
    for space, line in (
        ({"a[0]": whole, "a[3]": whole}, "space: expected a[0] to a[3], each once; found no a[1]"),
        ({"b[0]": whole, "a[1]": whole}, "space: expected a[0] to a[1], each once; found no a[0]"),
        ({"a[0]": other}, "space.a[0].when: expected no condition on a single place; found one"),
    ):
        with pytest.raises(ValueError) as caught:
            check_places(space)
        assert str(caught.value) == line


def test_condition_may_rest_on_one_of_several_fixed_values() -> None:
    space = {
        "a": Categorical(choices=(1, 2)),
        "b": Categorical(choices=(3, 4), when={"k[1]": (5,), "a": (2,)}),
    }
    assert grid(space, 2, {"k": (6, 5)}) == [{"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
    assert grid(space, 2, {"k": (5, 6)}) == [{"a": 1}, {"a": 2}]
    assert grid(space, 2, {"k": (6, 5), "a": 2})[0] == {"a": 1}  # what is searched counts
    assert grid(space, 2, {}, seed=3) == grid(space, 2, {}, seed=3)
    assert [grid({"a": Int(low=0, high=9)}, 2, {}, seed=0)] != [grid({"a": Int(low=0, high=9)}, 2, {})]


def test_whole_numbers_are_brought_where_the_range_has_them() -> None:
    entry = Int(low=2, high=6, step=2)
    assert [repr(entry.brought(value)) for value in (2.0, 4.0, 6.0)] == ["2", "4", "6"]
    assert [repr(entry.brought(value)) for value in (0.0, 3.0, 7.0, 8.0, 4.5)] == [
        "0.0",
        "3.0",
        "7.0",
        "8.0",
        "4.5",
    ]
    assert repr(Int(low=2, high=6).brought(7.0)) == "7.0" and repr(Int(low=2, high=6).brought(6.0)) == "6"

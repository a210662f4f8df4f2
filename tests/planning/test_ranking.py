"""The rule of choice on arrays, against its own words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wst.planning.ranking import on_front, order, tie_values

# Ninths have no exact means: two ways to the same number differ in the last digit.
_accuracy = st.integers(0, 9).map(lambda n: n / 9)


def test_accuracy_then_tie_then_the_earlier_trial() -> None:
    found = order([0.8, 0.9, 0.9, 0.9, np.nan], [0.0, 0.5, 0.4, 0.4, 0.0], [0, 1, 3, 2, 4])
    assert found.tolist() == [3, 2, 1, 0, 4]


def test_what_differs_past_the_ninth_digit_is_a_tie() -> None:
    accuracy, loss = [0.1 + 0.2, 0.3, 0.3 + 1e-12], [0.5, 0.1 + 0.2, 0.3]
    assert order(accuracy, loss, [0, 2, 1]).tolist() == [2, 1, 0]
    assert on_front(accuracy, np.zeros((3, 0))).tolist() == [True, False, False]
    assert on_front([0.3, 0.3 + 1e-8], np.zeros((2, 0))).tolist() == [False, True]


@pytest.mark.parametrize(
    ("ties", "values"),
    [("val_loss", [0.5, 0.25]), ("trainable_parameters", [7.0, 9.0]), ("earlier", [0.0, 0.0])],
)
def test_ties_go_by_the_studys_rule(ties: str, values: list[float]) -> None:
    assert tie_values(ties, [0.5, 0.25], [7, 9]).tolist() == values  # type: ignore[arg-type]


def test_what_is_not_known_beats_nothing() -> None:
    for unknown in (np.nan, np.inf, -np.inf):
        assert on_front([unknown, 0.1], [[0.0], [5.0]]).tolist() == [False, True]
        assert order([unknown, 0.1, 0.0], [0.0] * 3, [0, 1, 2]).tolist() == [1, 2, 0]
    assert on_front([np.nan, np.nan], np.zeros((2, 0))).tolist() == [True, False]
    assert on_front([], np.zeros((0, 1))).tolist() == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_accuracy, st.integers(0, 3), st.integers(0, 3)), max_size=12), st.booleans())
def test_a_front_is_what_nothing_beats(rows: list[tuple[float, int, int]], keep_equals: bool) -> None:
    def beaten(place: int) -> bool:
        one = rows[place]
        return any(
            other[0] >= one[0]
            and other[1] <= one[1]
            and other[2] <= one[2]
            and (other != one or (before < place and not keep_equals))
            for before, other in enumerate(rows)
            if before != place
        )

    costs = np.array([row[1:] for row in rows], dtype=float).reshape(-1, 2)
    found = on_front([row[0] for row in rows], costs, keep_equals)
    assert found.tolist() == [not beaten(place) for place in range(len(rows))]

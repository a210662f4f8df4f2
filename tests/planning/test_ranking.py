"""The rule of choice on arrays, against its own words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wst.planning.ranking import (
    Candidate,
    candidates,
    confirmed,
    front,
    objective_values,
    on_front,
    order,
    over_tasks,
    tie_values,
)
from wst.records import EndedTrial, Epoch, Intent, Outcome, Stage, State
from wst.study.search import Objective, Ties

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


def _trial(
    number: int,
    top1: float | None,
    loss: float | None = 1.0,
    state: State = "completed",
    parent: str | None = None,
    stage: Stage = "search",
    **outcome: Any,
) -> EndedTrial:
    """One of two epochs, of which the first is better than any other."""
    intent = Intent(f"t.v.{stage}.{number}", "t", "v", stage, number, number, 0, {"lr": 0.1}, parent=parent)
    epochs = (Epoch(1, 0.1, 1.0, 0.0, 1.0, 0.0), Epoch(2, 0.1, 1.0, loss, top1, 0.0))
    return EndedTrial(intent, Outcome(state, epochs, **{"trainable_parameters": 100, **outcome}))


ACCURACY: list[Objective] = ["val_top1"]


def _ranked(search: list[EndedTrial], ties: Ties = "val_loss") -> list[int]:
    return [one.trial.intent.number for one in candidates(search, ACCURACY, ties)]


def test_candidates_are_what_was_completed_by_its_last_epoch() -> None:
    search = [
        _trial(0, 0.5),
        _trial(1, 0.9, state="pruned"),
        _trial(2, 0.9, state="failed"),
        _trial(3, 0.7),
        _trial(4, 0.8, attempts=0),  # settings that came again
        _trial(5, 0.6, attempts=2),
    ]
    assert _ranked(search) == [3, 5, 0]
    (best, *_) = candidates(search, ["val_top1", "trainable_parameters"], "val_loss")
    assert (best.trial, best.val_top1, best.val_loss, best.values) == (search[3], 0.7, 1.0, (0.7, 100.0))
    assert candidates([], ACCURACY, "val_loss") == []


def test_candidates_of_equal_accuracy_go_by_the_rule_then_by_number() -> None:
    search = [
        _trial(3, 0.5, 0.3, trainable_parameters=9),
        _trial(1, 0.5, 0.4, trainable_parameters=7),
        _trial(2, 0.5, 0.3, trainable_parameters=None),
        _trial(0, 0.4, 0.0, trainable_parameters=0),
    ]
    assert _ranked(search, "val_loss") == [2, 3, 1, 0]
    assert _ranked(search, "trainable_parameters") == [2, 1, 3, 0]  # what is not known counts as none
    assert _ranked(search, "earlier") == [1, 2, 3, 0]
    one_or_none = [_trial(0, 0.5, trainable_parameters=1), _trial(1, 0.5, trainable_parameters=None)]
    assert _ranked(one_or_none, "trainable_parameters") == [1, 0]


def _confirming(number: int, parent: int, top1: float | None, **rest: Any) -> EndedTrial:
    return _trial(number, top1, parent=f"t.v.search.{parent}", stage="confirm", **rest)


def test_confirmed_are_ranked_by_the_means_over_their_confirming_trials() -> None:
    search = [_trial(0, 0.9, 0.5), _trial(1, 0.8, 0.5), _trial(2, 0.7, 0.5), _trial(3, 0.6, 0.5)]
    found = candidates(search, ["val_top1", "trainable_parameters"], "val_loss")
    confirm = [
        _confirming(0, 0, 0.5, loss=2.0),
        _confirming(1, 0, 0.7, loss=4.0),
        _confirming(2, 1, 0.9, loss=1.0),
        _confirming(3, 1, 0.7, loss=3.0),
        _confirming(4, 2, 1.0),
        _confirming(5, 2, 1.0, state="failed"),
    ]
    best, second = confirmed(found, confirm, "val_loss")
    assert (best.trial, second.trial) == (search[1], search[0])  # one failed, one was not confirmed
    assert (best.val_top1, best.val_loss) == (pytest.approx(0.8), pytest.approx(2.0))
    assert (second.val_top1, second.val_loss) == (pytest.approx(0.6), pytest.approx(3.0))
    assert best.values == (pytest.approx(0.8), 100.0)
    assert confirmed(found, [], "val_loss") == []


def test_confirmed_ties_go_by_the_mean_loss() -> None:
    search = [_trial(0, 0.9, 0.1), _trial(1, 0.8, 0.2)]
    found = candidates(search, ACCURACY, "val_loss")
    confirm = [_confirming(0, 0, 0.5, loss=2.0), _confirming(1, 1, 0.5, loss=1.0)]
    assert [one.trial for one in confirmed(found, confirm, "val_loss")] == [search[1], search[0]]


def test_front_of_the_candidates() -> None:
    search = [
        _trial(0, 0.9, trainable_parameters=50, train_seconds=9.0),
        _trial(1, 0.8, trainable_parameters=60, train_seconds=9.0),
        _trial(2, 0.7, trainable_parameters=60, train_seconds=3.0),
        _trial(3, 0.7, trainable_parameters=60, train_seconds=3.0),
        _trial(4, 0.6, trainable_parameters=10, train_seconds=9.0),
    ]

    def numbers(*objectives: Objective) -> list[int]:
        ranked = candidates(search, objectives, "val_loss")
        return [one.trial.intent.number for one in front(ranked)]

    assert numbers("val_top1") == [0]
    assert numbers("val_top1", "trainable_parameters") == [0, 4]
    assert numbers("val_top1", "train_seconds") == [0, 2]
    assert numbers("val_top1", "trainable_parameters", "train_seconds") == [0, 2, 4]
    assert front([]) == []


def test_values_of_the_objectives() -> None:
    outcome = _trial(0, 0.7, trainable_parameters=50, train_seconds=2.5).outcome
    assert objective_values(("val_top1", "train_seconds", "trainable_parameters"), outcome) == [0.7, 2.5, 50]
    unknown = _trial(0, 0.7, trainable_parameters=None).outcome
    assert objective_values(("trainable_parameters", "train_seconds"), unknown) == [0.0, 0.0]


def test_an_accuracy_or_loss_of_zero_counts_as_zero() -> None:
    search = [_trial(0, 0.9), _trial(1, 0.8)]
    confirm = [_confirming(0, 0, 0.0, loss=0.0), _confirming(1, 0, 0.5, loss=2.0), _confirming(2, 1, 0.3)]
    best, second = confirmed(candidates(search, ACCURACY, "val_loss"), confirm, "val_loss")
    assert (best.trial, best.val_top1) == (search[1], pytest.approx(0.3))
    assert (second.val_top1, second.val_loss) == (pytest.approx(0.25), pytest.approx(1.0))


def _candidate(task: str, number: int, *values: float) -> Candidate:
    intent = Intent(f"{task}.v.search.{number:04d}", task, "v", "search", number, number, 0, {})
    return Candidate(EndedTrial(intent, Outcome("completed")), values[0], 1 - values[0], values[1], values)


def test_over_tasks_is_the_means_of_what_every_task_has() -> None:
    digits = [
        _candidate("digits", 0, 0.9, 100),
        _candidate("digits", 1, 0.5, 50),
        _candidate("digits", 2, 1, 1),
    ]
    sprites = [_candidate("sprites", 1, 0.8, 60), _candidate("sprites", 0, 0.3, 100)]
    found = over_tasks([digits, sprites], "val_loss")
    assert [[one.trial.intent.trial_id for one in own] for own in found] == [
        ["digits.v.search.0001", "digits.v.search.0000"],
        ["sprites.v.search.0001", "sprites.v.search.0000"],
    ]
    for own in found:
        assert [one.values for one in own] == [pytest.approx((0.65, 55)), pytest.approx((0.6, 100))]
        assert [(one.val_top1, one.val_loss, one.parameters) for one in own] == [
            pytest.approx((0.65, 0.35, 55)),
            pytest.approx((0.6, 0.4, 100)),
        ]
    assert over_tasks([digits], "val_loss") == [[digits[2], digits[0], digits[1]]]
    assert over_tasks([digits, []], "val_loss") == [[], []] and over_tasks([], "val_loss") == []


def test_costs_that_differ_past_the_ninth_digit_are_equal() -> None:
    assert on_front([0.3, 0.3], [[0.1 + 0.2], [0.3]]).tolist() == [True, False]

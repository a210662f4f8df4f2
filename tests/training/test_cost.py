from __future__ import annotations

import pytest

from wst.training import cost
from wst.training.cost import Clock


class Time:
    """A time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(cost, "time", made)
    return made


def test_seconds_by_kind_and_in_all(time: Time) -> None:
    clock = Clock()
    time.now += 1  # set-up
    for _ in range(2):
        with clock.training():
            time.now += 10
        with clock.evaluation():
            time.now += 3
    time.now += 0.5
    assert (clock.training_seconds, clock.evaluation_seconds, clock.seconds) == (20, 6, 27.5)


def test_an_error_ends_what_was_being_measured(time: Time) -> None:
    clock = Clock()
    with pytest.raises(ArithmeticError), clock.training():
        time.now += 2
        raise ArithmeticError
    time.now += 5
    assert (clock.training_seconds, clock.seconds) == (2, 7)


def test_waiting_does_not_count_but_a_share_of_what_comes_after_does(time: Time) -> None:
    clock = Clock()
    time.now += 4
    clock.stop()
    time.now += 1000
    assert clock.seconds == 4
    clock.add_evaluation(2)
    clock.stop()
    time.now += 1000
    assert (clock.evaluation_seconds, clock.seconds) == (2, 6)


def test_a_share_while_the_clock_runs_is_in_its_seconds_already(time: Time) -> None:
    clock = Clock()
    time.now += 4
    clock.add_evaluation(3)
    assert (clock.evaluation_seconds, clock.seconds) == (3, 4)


def test_what_was_taken_before_an_interruption_counts(time: Time) -> None:
    first = Clock()
    with first.training():
        time.now += 5
    state = first.state_dict()
    time.now += 1000
    second = Clock()
    time.now += 1
    second.load_state_dict(state)
    with second.training():
        time.now += 2
    assert (second.training_seconds, second.evaluation_seconds, second.seconds) == (7, 0, 8)

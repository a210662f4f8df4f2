"""A method's tuned, shared and untuned rows of the hand-made ledger side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.leaderboard.side_by_side import read_side_by_side
from analysis.tables import Estimate
from wst.errors import InputError


def test_what_tuning_is_worth(alpha: Path) -> None:
    (row,) = read_side_by_side([alpha]).rows
    assert (row["method"], row["tuned trainable"], row["readout"]) == ("base", 3104, "paper")
    assert row["tuned"] == Estimate(pytest.approx((91 + 61 + 37) / 3), pytest.approx(8 / 3 / 2**0.5))
    assert row["untuned"] is None  # gap, which lacks a task
    assert row["over untuned"] == pytest.approx(-(5 + 10 + 18) / 3)
    assert row["verdict on untuned"] == "worse"


def test_over_the_tasks_that_are_asked_for(alpha: Path) -> None:
    (row,) = read_side_by_side([alpha], ["digits", "emoji_group"]).rows
    assert row["tuned"] == Estimate(pytest.approx(76), pytest.approx(2**0.5))
    assert row["untuned"] == Estimate(pytest.approx(83.5), pytest.approx(2**0.5))
    assert row["over untuned"] == pytest.approx(-7.5)


def test_a_study_without_such_variants_is_refused(beta: Path) -> None:
    with pytest.raises(InputError, match=r"--side-by-side: expected variants .* found none"):
        read_side_by_side([beta])

"""Best accuracy so far: the hand-made ledgers."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from analysis.load import studies_of
from analysis.search.curves import search_curves
from analysis.search.trials import read_search
from tests.analysis.ledgers import TASKS


def test_best_so_far_worked_out_by_hand(alpha: Path) -> None:
    trials, _ = read_search([alpha], studies_of([alpha]))
    curves = {curve.task: curve for curve in search_curves(trials)}
    assert list(curves) == list(TASKS)
    curve = curves["digits"]
    assert curve.trials == [1, 2, 3, 4, 5, 6]
    assert curve.epochs == [2, 4, 6, 6, 8, 10]  # the failed trial trained none
    assert curve.seconds == pytest.approx([36, 72, 108, 144, 180, 216])
    assert curve.best == pytest.approx([77, 80, 80, 80, 80, 80])


def test_curve_is_unknown_before_the_first_completed_trial() -> None:
    frame = pd.DataFrame(
        {
            **{name: ["x"] * 2 for name in ("study", "variant", "task")},
            "number": [0, 1],
            "state": ["pruned", "completed"],
            "val_top1_last": [0.9, 0.5],
            "epochs": [1, 2],
            "wall_seconds": [1.0, 1.0],
            "attempts": [1, 1],
        }
    )
    (curve,) = search_curves(frame)
    assert math.isnan(curve.best[0])
    assert curve.best[1] == 50


def test_trials_that_were_not_run_cost_nothing(extended: Path) -> None:
    trials, _ = read_search([extended], studies_of([extended]))
    curves = {curve.task: curve for curve in search_curves(trials)}
    # Settings 0, 1, 2, 5, 6 ran 2 epochs each and 7 failed; 3 came again and 4 was above the ceiling.
    assert curves["digits"].trials == [1, 2, 3, 4, 5, 6]
    assert curves["digits"].epochs == [2, 4, 6, 8, 10, 10]
    assert curves["digits"].seconds[-1] == pytest.approx(6 * 36)
    assert curves["digits"].best == pytest.approx([80, 82, 82, 90, 90, 90])
    assert curves["emoji_group"].epochs == [2]

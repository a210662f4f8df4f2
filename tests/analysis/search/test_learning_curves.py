"""Bands of learning curves: against numpy's quantiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.load import load
from analysis.search.learning_curves import QUANTILES, curve_bands
from tests.analysis.ledgers import TASKS


def test_bands_leave_out_settings_that_came_again(extended: Path) -> None:
    again = ["digits.base.search.0003"]
    bands = {band.task: band for band in curve_bands(extended, "extended", again)}
    assert bands["digits"].trials == [5, 5]
    assert {b.task: b.trials for b in curve_bands(extended, "extended")}["digits"] == [6, 6]


def test_bands_are_the_quantiles_of_the_curves(alpha: Path) -> None:
    bands = {band.task: band for band in curve_bands(alpha, "alpha")}
    assert sorted(bands) == sorted(TASKS)
    band = bands["digits"]
    epochs = load([alpha], "epochs")
    part = epochs[epochs["trial_id"].str.startswith("digits.base.search")]
    assert band.epochs == [1, 2]
    assert band.trials == [5, 5]
    for epoch in (1, 2):
        values = 100 * part.loc[part["epoch"] == epoch, "val_top1"]
        expected = np.quantile(values, QUANTILES, method="inverted_cdf")
        assert [q[epoch - 1] for q in band.quantiles] == pytest.approx(expected.tolist(), abs=0.051)

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.specs import spec
from wst.data.entries import entries
from wst.models.halves import Halves
from wst.training.timing import seconds_per_epoch

pytestmark = pytest.mark.slow  # trains


def test_seconds_of_an_epoch_are_positive(mini_root: Path) -> None:
    assert seconds_per_epoch(spec(mini_root)) > 0


def test_a_trial_on_features_is_measured_on_them_and_keeps_none(
    mini_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WST_CACHE", str(tmp_path))
    rows = []
    forward = Halves.__call__
    monkeypatch.setattr(Halves, "__call__", lambda self, x: (rows.append(x.shape), forward(self, x))[1])
    assert seconds_per_epoch(spec(mini_root, variant="linear")) > 0
    assert rows == [(32, 96)] * 4  # what the head reads
    assert [entry for entry in entries() if entry.kind == "features"] == []

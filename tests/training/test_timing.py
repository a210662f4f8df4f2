from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.specs import spec
from wst.data.entries import entries
from wst.models.halves import Halves
from wst.study import Recipe
from wst.training.timing import Sample, measured, products_per_second, seconds_per_epoch

pytestmark = pytest.mark.slow  # trains


def test_seconds_of_an_epoch_are_positive(few_root: Path) -> None:
    assert seconds_per_epoch(spec(few_root)) > 0


def test_a_trial_on_features_is_measured_on_them_and_keeps_none(
    few_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WST_CACHE", str(tmp_path))
    rows = []
    forward = Halves.__call__
    monkeypatch.setattr(Halves, "__call__", lambda self, x: (rows.append(x.shape), forward(self, x))[1])
    assert seconds_per_epoch(spec(few_root, variant="linear")) > 0
    assert set(rows[-3:]) == {(32, 96)}  # what the head reads
    assert [entry for entry in entries() if entry.kind == "features"] == []


def test_operations_of_a_linear_head_are_counted(few_root: Path) -> None:
    """Forward, and the gradient of its weight: two products of (32, 96) and (96, 10) or their like."""
    assert Sample(spec(few_root, variant="linear")).operations() == 2 * 2 * 96 * 10


def test_a_trial_is_measured_in_the_precision_that_it_has(few_root: Path) -> None:
    found = measured(spec(few_root, recipe=Recipe(precision="bf16")), 0.0)
    assert found.precision == "bf16" and found.training > 0 and found.scoring > 0 and found.memory
    assert found.operations > 16 * 2 * 467_616  # 16 tokens meet nearly every weight, more than once


def test_products_of_matrices_have_a_rate() -> None:
    assert products_per_second("fp32", torch.device("cpu"), 0.0) > 1e8

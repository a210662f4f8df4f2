"""Validation against test: worked out by hand, and against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.load import studies_of
from analysis.search.agreement import agreement, in_words
from analysis.search.trials import read_search
from tests.analysis.ledgers import TASKS


def test_agreement_worked_out_by_hand(alpha: Path) -> None:
    trials, later = read_search([alpha], studies_of([alpha]))
    found = agreement(trials, later)
    # base alone was searched: twin took its settings over and is not counted.
    assert found.pairs == [
        (task, "base", pytest.approx(80), pytest.approx(test))
        for task, test in zip(TASKS, (91, 61, 32, 42), strict=True)
    ]
    assert found.optimism == pytest.approx(80 - 56.5)
    assert found.over_all is None and found.within_tasks is None  # validation is the same everywhere
    assert "not known" in in_words(found)


def test_correlation_within_tasks_ignores_how_hard_they_are() -> None:
    search, finals = [], []
    for t, (task, level) in enumerate((("digits", 0.9), ("sprite_ori", 0.3))):
        for v, gain in enumerate((0.0, 0.02, 0.05)):
            own = {"study": "s", "variant": f"v{v}", "task": task}
            parent = f"{task}.v{v}.search.0000"
            search.append({**own, "trial_id": parent, "val_top1_last": level + gain})
            test = level - gain if t else level + 2 * gain
            final = {"stage": "final", "place": 1, "state": "completed", "val_top1_last": None}
            finals.append({**own, **final, "parent": parent, "test_top1": test})
    found = agreement(pd.DataFrame(search), pd.DataFrame(finals))
    gains = np.array([0, 2, 5.0]) - 7 / 3
    expected = np.corrcoef([*gains, *gains], [*(2 * gains), *(-gains)])[0, 1]
    assert found.within_tasks == pytest.approx(expected)
    assert found.over_all is not None and found.over_all > 0.7


def test_confirmed_accuracy_is_what_agreement_sets_against_test(extended: Path) -> None:
    found = agreement(*read_search([extended], studies_of([extended])))
    assert found.pairs == [
        ("digits", "base", pytest.approx(83), pytest.approx(61)),
        ("emoji_group", "base", pytest.approx(66), pytest.approx(56)),
    ]
    assert found.optimism == pytest.approx((22 + 10) / 2)

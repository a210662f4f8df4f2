"""Importances of searches whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.search import importance
from tests.analysis.ledgers import LR, alpha_study
from wst.study import Study


def _searched(trials: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    lr = 10 ** generator.uniform(-4, -1, trials)
    return pd.DataFrame(
        {
            "study": "alpha",
            "variant": "base",
            "task": "digits",
            "number": range(trials),
            "state": "completed",
            "attempts": 1,
            "val_top1_last": 0.9 - 0.1 * np.abs(np.log10(lr) + 2.5) + generator.normal(0, 0.005, trials),
            "hp_lr": lr,
            "hp_scale": generator.choice([0.1, 1.0, 10.0], trials),
        }
    )


@pytest.mark.parametrize("method", ["ped-anova", "fanova"])
def test_importance_finds_what_decides(method: importance.Method) -> None:
    if method == "fanova":
        pytest.importorskip("sklearn")
    (found,) = importance.importances(_searched(150), {"alpha": alpha_study()}, method)
    assert found.shares["lr"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1)


def test_importance_of_few_or_equal_trials_is_left_out() -> None:
    few = _searched(3)
    equal = _searched(20).assign(val_top1_last=0.5)
    for frame in (few, equal):
        (found,) = importance.importances(frame, {"alpha": alpha_study()})
        assert found.shares == {}
        assert "no importance" in importance.as_table([found], "ped-anova").notes[0]


def test_importance_leaves_out_values_outside_the_space() -> None:
    frame = _searched(60)
    frame.loc[0, "hp_lr"] = 5.0  # a warm start may lie elsewhere
    (found,) = importance.importances(frame, {"alpha": alpha_study()})
    assert found.shares["lr"] > 0.5


def _conditional(trials: int) -> tuple[pd.DataFrame, Study]:
    """A search with ``r`` where ``kind`` is low_rank, which decides there, and nothing else does."""
    generator = np.random.default_rng(1)
    kind = generator.choice(["low_rank", "none"], trials)
    r = generator.integers(1, 9, trials)
    accuracy = 0.7 + np.where(kind == "low_rank", 0.02 * r, 0.0) + generator.normal(0, 0.002, trials)
    frame = _searched(trials).drop(columns="hp_scale").assign(hp_kind=kind, val_top1_last=accuracy)
    frame["hp_r"] = pd.Series(r, dtype=float).where(frame["hp_kind"] == "low_rank")
    space = {
        "lr": LR,
        "kind": {"type": "categorical", "choices": ["low_rank", "none"]},
        "r": {"type": "int", "low": 1, "high": 8, "when": {"kind": ["low_rank"]}},
    }
    variants = {"base": {"method": "wst", "space": space}}
    return frame, alpha_study(variants=variants)


def test_a_conditional_hyperparameter_is_judged_where_it_applies() -> None:
    frame, study = _conditional(120)
    (found,) = importance.importances(frame, {"alpha": study})
    assert found.trials == 120
    assert set(found.shares) == {"lr", "kind"}
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["kind"] > 0.6
    share, trials = found.conditional["r"]
    assert trials == int(frame["hp_r"].notna().sum())
    assert share > 0.8
    table = importance.as_table([found], "ped-anova")
    assert table.rows[0]["r"] == pytest.approx(100 * share)
    assert table.rows[-1]["r"] is None  # in no mean
    assert any(
        f"r applies to some settings only: its share is that in the {trials} trials" in n for n in table.notes
    )


def test_a_conditional_hyperparameter_of_few_trials_has_no_share() -> None:
    frame, study = _conditional(40)
    frame["hp_r"] = frame["hp_r"].where(frame.index < 5)
    (found,) = importance.importances(frame, {"alpha": study})
    assert not found.conditional
    assert found.shares["kind"] > 0.5


def test_settings_that_came_again_count_once_in_importances() -> None:
    frame = _searched(40)
    again = frame.iloc[:20].assign(attempts=0, number=range(40, 60))
    (once,) = importance.importances(frame, {"alpha": alpha_study()})
    (found,) = importance.importances(pd.concat([frame, again]), {"alpha": alpha_study()})
    assert found == once


def test_importance_over_tasks_is_the_mean() -> None:
    found = [
        importance.Importance("s", "v", "digits", 9, {"lr": 0.8, "scale": 0.2}),
        importance.Importance("s", "v", "dtd", 9, {"lr": 0.4, "scale": 0.6}),
        importance.Importance("s", "v", "pets", 2, {}),
    ]
    assert importance.over_tasks(found) == {("s", "v"): pytest.approx({"lr": 0.6, "scale": 0.4})}
    table = importance.as_table(found, "ped-anova")
    assert table.rows[-1]["task"] == "mean of tasks"
    assert table.rows[-1]["lr"] == pytest.approx(60)

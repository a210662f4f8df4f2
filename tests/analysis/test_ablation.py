"""Paired comparisons of the hand-made ledger."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.ablation import ablation, as_table, read_ablation
from analysis.comparison import Comparison
from analysis.statistics import bootstrap_interval, half_width, wilcoxon
from wst.errors import InputError


def _comparisons(*folders: Path, baseline: str | None = None) -> dict[str, Comparison]:
    return {c.variant: c for c in read_ablation(folders, baseline).comparisons}


def test_the_baseline_is_the_variant_whose_settings_the_others_use(alpha: Path) -> None:
    assert read_ablation([alpha]).baseline == "base"


def test_a_difference_worked_out_by_hand(alpha: Path) -> None:
    lin = _comparisons(alpha)["lin"]
    assert lin.by_task == pytest.approx(
        {"digits": -21, "emoji_group": -11, "sprite_loc": -12, "sprite_ori": -22}
    )
    assert lin.difference == pytest.approx(-16.5)
    assert (lin.tasks, lin.pairs, lin.fewest_seeds) == (4, 8, 2)
    # Each task's two differences lie 1, 1, 2 and 2 from their mean: pooled variance 20 / 4, standard error
    # sqrt(5 * (4 / 2)) / 4, and Student's 97.5 % quantile with four degrees of freedom is 2.776445.
    assert lin.noise == pytest.approx(2.776445 * math.sqrt(10) / 4, rel=1e-6)
    # The extremes of a resample are every task's lower and higher difference.
    assert lin.low is not None and lin.high is not None
    assert -18 <= lin.low < -16.5 < lin.high <= -15
    assert lin.improvement == 0
    assert lin.p == pytest.approx(2 / 2**4)
    assert lin.verdict == "worse"


def test_equal_variants_differ_by_nothing(alpha: Path) -> None:
    twin = _comparisons(alpha)["twin"]
    assert twin.difference == 0
    assert twin.improvement == pytest.approx(0.5)
    assert twin.p == twin.p_holm == 1
    assert twin.verdict == "inside the noise"


def test_one_seed_gives_no_interval_and_says_so(alpha: Path) -> None:
    found = read_ablation([alpha])
    big = {c.variant: c for c in found.comparisons}["big"]
    assert big.difference == pytest.approx((-10 - 10 - 11 - 12) / 4)
    assert (big.pairs, big.fewest_seeds) == (7, 1)
    assert big.low is None and big.noise is None
    assert big.verdict == "one seed, noise not known"
    assert "With one seed on a task there is no interval over seeds." in found.caveats


def test_a_missing_task_is_left_out_and_named(alpha: Path) -> None:
    found = read_ablation([alpha])
    gap = {c.variant: c for c in found.comparisons}["gap"]
    assert gap.difference == pytest.approx((5 + 10 + 18) / 3)
    assert gap.improvement == 1
    assert gap.p == pytest.approx(2 / 2**3)
    assert gap.lacking == ("sprite_ori",)
    assert "gap: compared on 3 of 4 tasks (not sprite_ori)." in found.caveats


def test_holm_and_ranks_of_the_hand_made_ledger(alpha: Path) -> None:
    found = read_ablation([alpha])
    # p is 1/8 for lin and big, 1/4 for gap, 1 for twin: times 4, 3, 2 and 1, and never falling.
    assert {c.variant: c.p_holm for c in found.comparisons} == pytest.approx(
        {"lin": 0.5, "big": 0.5, "gap": 0.5, "twin": 1}
    )
    assert found.ranks == pytest.approx({"base": 2.5, "twin": 2.5, "gap": 1, "big": 4, "lin": 5})
    assert found.ranked_tasks == 3


def test_other_images_are_not_compared(alpha: Path, beta: Path) -> None:
    found = read_ablation([alpha, beta], "alpha: base")
    other = {c.variant: c for c in found.comparisons}["beta: wst5"]
    assert list(other.by_task) == ["emoji_group", "sprite_loc", "sprite_ori"]
    assert other.difference == pytest.approx(sum(other.by_task.values()) / 3)
    assert other.by_task["emoji_group"] == pytest.approx(-0.5)  # 60 and 61 against 60 and 62: seeds 1 and 2
    assert (
        "Not compared: beta: wst5 on digits, since they differ in data; --across data compares them."
        in found.caveats
    )


def test_bad_baselines_are_refused(alpha: Path, beta: Path) -> None:
    with pytest.raises(InputError, match=r"baseline: expected one of base, .*; found 'nobody'"):
        read_ablation([alpha], "nobody")
    with pytest.raises(
        InputError, match="expected at least two variants with completed final trials; found 1"
    ):
        read_ablation([beta])


def test_the_table_is_ordered_by_difference(alpha: Path) -> None:
    rows = as_table(read_ablation([alpha])).rows
    assert [row["variant"] for row in rows] == ["gap", "twin", "big", "lin"]


def _runs(accuracies: dict[str, dict[str, list[float]]]) -> pd.DataFrame:
    """Final trials of one study, by variant and task: test accuracies in percent of the seeds 1, 2, ..."""
    rows = [
        {"study": "s", "variant": variant, "task": task, "seed": seed, "test_top1": value / 100, "place": 1}
        for variant, tasks in accuracies.items()
        for task, values in tasks.items()
        for seed, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows).assign(state="completed", data_hash="d", reason="why")


def test_fractions_of_a_point_count_and_the_noise_of_sums_does_not() -> None:
    a, b = {"x": [50.1, 50.2, 50.4], "y": [70.0, 70.3]}, {"x": [50.3, 50.2, 50.5], "y": [70.1, 70.8]}
    (found,) = ablation(_runs({"a": a, "b": b}), {}, "mini", "a").comparisons
    differences = [np.array([0.2, 0.0, 0.1]), np.array([0.1, 0.5])]
    assert found.by_task == pytest.approx({"x": 0.1, "y": 0.3})
    assert found.difference == pytest.approx(0.2)
    # Of nine pairs on x six are won and one is even, of four on y three are won.
    assert found.improvement == pytest.approx((6.5 / 9 + 3 / 4) / 2)
    low, high = bootstrap_interval(differences)
    assert (found.low, found.high) == (pytest.approx(low, abs=2e-9), pytest.approx(high, abs=2e-9))
    assert found.noise == pytest.approx(half_width(differences), abs=2e-9)
    for value in (found.low, found.high, found.noise):
        assert value == round(value or 0.0, 9)
    assert (found.tasks, found.pairs, found.fewest_seeds, found.lacking) == (2, 5, 2, ())
    assert found.p == found.p_holm == wilcoxon([0.1, 0.3]) and found.note == "why"


def test_accuracies_that_are_equal_to_nine_decimals_are_even() -> None:
    a, b = {"x": [50.0, 60.0], "y": [70.0, 70.0]}, {"x": [50.0 + 3e-10, 60.0 + 3e-10], "y": [71.0, 71.0]}
    (found,) = ablation(_runs({"a": a, "b": b}), {}, "mini", "a").comparisons
    assert found.improvement == pytest.approx((0.5 + 1) / 2)
    assert found.difference == 0.5 and found.p == wilcoxon([0.0, 1.0])


def test_what_has_nothing_in_common_is_named_and_the_others_are_compared() -> None:
    trials = _runs(
        {
            "base": {"y": [50.0, 51.0], "x": [60.0, 61.0], "z": [1.0, 2.0]},
            "alone": {"w": [50.0]},
            "later": {"z": [2.0, 4.0], "x": [61.0, 62.0], "y": [51.0, 52.0]},
        }
    )
    found = ablation(trials, {}, "mini", "base")
    assert [(c.variant, c.note) for c in found.comparisons] == [("later", "why")]
    assert list(found.comparisons[0].by_task) == ["y", "x", "z"]  # in the order of the ledger
    assert "Not compared: alone: no task and seed in common." in found.caveats
    other = (trials["variant"] == "later") & trials["task"].isin(["x", "y"])
    found = ablation(trials.assign(data_hash=other.map({True: "e", False: "d"})), {}, "mini", "base")
    assert list(found.comparisons[0].by_task) == ["z"]
    assert (
        "Not compared: later on y, x, since they differ in data; --across data compares them."
        in found.caveats
    )

"""Paired comparisons: the hand-made ledger, and the statistics against scipy and their formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.ablation import Comparison, as_table, read_ablation
from analysis.statistics import (
    average_ranks,
    bootstrap_interval,
    half_width,
    holm,
    probability_of_improvement,
    wilcoxon,
)
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
    assert other.by_task["emoji_group"] == pytest.approx(-0.5)  # 60 and 61 against 60 and 62: seeds 1 and 2
    assert "beta: wst5: data of digits differ from alpha: base's; not compared there." in found.caveats


def test_bad_baselines_are_refused(alpha: Path, beta: Path) -> None:
    with pytest.raises(InputError, match=r"--baseline: expected one of base, .*; found 'nobody'"):
        read_ablation([alpha], "nobody")
    with pytest.raises(
        InputError, match="expected at least two variants with completed final trials; found 1"
    ):
        read_ablation([beta])


def test_the_table_is_ordered_by_difference(alpha: Path) -> None:
    rows = as_table(read_ablation([alpha])).rows
    assert [row["variant"] for row in rows] == ["gap", "twin", "big", "lin"]


runs = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=6)


@given(st.lists(st.tuples(runs, runs), min_size=1, max_size=5))
def test_probability_of_improvement_is_the_mean_of_mann_whitney_u(
    tasks: list[tuple[list[float], ...]],
) -> None:
    ours, theirs = zip(*[(np.array(a), np.array(b)) for a, b in tasks], strict=True)
    expected = np.mean([stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in tasks])
    assert probability_of_improvement(ours, theirs) == pytest.approx(float(expected))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_its_definition_rejects(values: list[float]) -> None:
    corrected = holm(values)
    for level in (0.01, 0.05, 0.2):
        rejected, order = set(), sorted(range(len(values)), key=lambda i: values[i])
        for rank, i in enumerate(order):
            if values[i] * (len(values) - rank) > level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(corrected) if p <= level} == rejected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-50, 50).filter(bool), min_size=3, max_size=10, unique_by=abs))
def test_wilcoxon_is_scipys_exact_test_without_ties(values: list[int]) -> None:
    exact = stats.wilcoxon(values, method="exact").pvalue
    assert wilcoxon([float(v) for v in values]) == pytest.approx(exact)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=8))
def test_wilcoxon_is_never_below_its_smallest_value(values: list[float]) -> None:
    assert wilcoxon(values) >= 2.0 ** (1 - len(values)) - 1e-12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(-5, 5), min_size=2, max_size=5), min_size=1, max_size=4))
def test_bootstrap_interval_lies_within_the_data_and_around_the_mean(tasks: list[list[float]]) -> None:
    arrays = [np.array(values) for values in tasks]
    low, high = bootstrap_interval(arrays, resamples=500)
    mean = float(np.mean([values.mean() for values in arrays]))
    assert low - 1e-9 <= mean <= high + 1e-9 or high - low < 1  # a skewed sample may leave its mean aside
    assert low >= np.mean([values.min() for values in arrays]) - 1e-9
    assert high <= np.mean([values.max() for values in arrays]) + 1e-9
    assert bootstrap_interval(arrays, resamples=500) == (low, high)


def test_bootstrap_interval_is_scipys_for_one_task() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    low, high = bootstrap_interval([values])
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(expected), abs=0.02)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20).filter(lambda v: np.ptp(v) > 1e-6))
def test_noise_of_one_task_is_students_interval(values: list[float]) -> None:
    found = half_width([np.array(values)])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found == pytest.approx((high - low) / 2, rel=1e-6)


def test_noise_covers_what_it_promises() -> None:
    generator, inside = np.random.default_rng(0), 0
    for _ in range(2_000):
        tasks = [generator.normal(0, 1, 2) for _ in range(5)]
        width = half_width(tasks)
        assert width is not None
        inside += abs(np.mean([t.mean() for t in tasks])) <= width
    assert 0.93 < inside / 2_000 < 0.97


def test_average_ranks_share_ties() -> None:
    ranks, tasks = average_ranks(
        {"a": {"x": 1.0, "y": 3.0}, "b": {"x": 1.0, "y": 2.0}, "c": {"x": 0.0, "y": 4.0}}
    )
    assert ranks == pytest.approx({"a": (1.5 + 2) / 2, "b": (1.5 + 3) / 2, "c": (3 + 1) / 2})
    assert tasks == 2

"""The statistics, against scipy and their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import (
    average_ranks,
    bootstrap_interval,
    half_width,
    holm,
    pearson,
    probability_of_improvement,
    spearman,
    wilcoxon,
)

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
    assert max(corrected) <= 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-50, 50).filter(bool), min_size=3, max_size=10, unique_by=abs))
def test_wilcoxon_is_scipys_exact_test_without_ties(values: list[int]) -> None:
    exact = stats.wilcoxon(values, method="exact").pvalue
    assert wilcoxon([float(v) for v in values]) == pytest.approx(exact)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=8))
def test_wilcoxon_is_never_below_its_smallest_value(values: list[float]) -> None:
    assert wilcoxon(values) >= 2.0 ** (1 - len(values)) - 1e-12


def _every_sign(differences: list[float]) -> float:
    """Two-sided p over all assignments of signs to the ranks, zeros' ranks counting half on either side."""
    values = np.array(differences)
    ranks = stats.rankdata(np.abs(values)) * (values != 0)
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(values))).reshape(len(values), -1)
    sums = ranks @ signs
    found = ranks @ np.sign(values)
    return min(1.0, 2 * min(np.mean(sums >= found - 1e-9), np.mean(sums <= found + 1e-9)))


TIED = [0.5, 0.5, 0.5, 1.0, 1.0, -0.5, 1.5, 0.0, 2.0, 2.0, -1.0, 0.5, 1.0]


@pytest.mark.parametrize("differences", [[1.0, 1.0], [1.0, 2.0, 2.0], [0.0, 1.0, -2.0, 2.0], TIED])
def test_wilcoxon_counts_every_assignment_of_signs_up_to_13_tasks(differences: list[float]) -> None:
    assert wilcoxon(differences) == pytest.approx(_every_sign(differences))
    assert wilcoxon([]) == wilcoxon([1.0]) == wilcoxon([0.0, 0.0]) == 1.0


def test_wilcoxon_is_scipys_choice_beyond() -> None:
    more = [*TIED, 1.5]
    assert wilcoxon(more) == stats.wilcoxon(more, zero_method="zsplit").pvalue
    assert wilcoxon(more) != pytest.approx(_every_sign(more), rel=1e-3)


def test_probability_of_improvement_wants_the_same_tasks_of_both() -> None:
    with pytest.raises(ValueError, match="shorter"):
        probability_of_improvement([np.array([1.0])] * 2, [np.array([1.0])])


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


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_bootstrap_interval_leaves_out_as_much_at_either_end(level: float) -> None:
    values = stats.norm.ppf((np.arange(200) + 0.5) / 200)  # as symmetric as can be
    low, high = bootstrap_interval([values, values + 1], level=level)
    width = stats.norm.ppf(1 - level / 2) * values.std() / np.sqrt(2 * len(values))
    assert (low, high) == pytest.approx((0.5 - width, 0.5 + width), abs=0.04 * width)
    assert bootstrap_interval([values, values + 1], level=level) == (low, high)


def test_bootstrap_is_drawn_by_its_seed_and_by_zero_unless_told() -> None:
    values = [np.arange(7.0)]
    assert bootstrap_interval(values, 50) == bootstrap_interval(values, 50, seed=0)
    assert bootstrap_interval(values, 50) != bootstrap_interval(values, 50, seed=1)


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


@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=9))
def test_correlations_are_scipys(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, float).T
    assume(np.ptp(one) and np.ptp(other))
    assert pearson(one, other) == pytest.approx(stats.pearsonr(one, other).statistic, abs=1e-12)
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic, abs=1e-12)


def test_average_ranks_share_ties() -> None:
    ranks, tasks = average_ranks(
        {"a": {"x": 1.0, "y": 3.0}, "b": {"x": 1.0, "y": 2.0}, "c": {"x": 0.0, "y": 4.0}}
    )
    assert ranks == pytest.approx({"a": (1.5 + 2) / 2, "b": (1.5 + 3) / 2, "c": (3 + 1) / 2})
    assert tasks == 2


def test_average_ranks_go_by_nine_decimals() -> None:
    """Equal means may differ in the sixteenth, by the order of their sums alone."""
    alike = {"a": {"x": 0.8}, "b": {"x": 0.8 + 3e-10}}
    assert average_ranks(alike) == ({"a": 1.5, "b": 1.5}, 1)
    assert average_ranks({"a": {"x": 0.8}, "b": {"x": 0.8 + 3e-9}}) == ({"a": 2.0, "b": 1.0}, 1)


def test_average_ranks_are_over_the_tasks_that_all_have() -> None:
    assert average_ranks({}) == ({}, 0)
    assert average_ranks({"a": {"x": 1.0}, "b": {"y": 1.0}}) == ({}, 0)
    assert average_ranks({"a": {"x": 1.0, "y": 9.0}, "b": {"x": 2.0}}) == ({"a": 2.0, "b": 1.0}, 1)

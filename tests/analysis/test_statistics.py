"""The statistics, against scipy and their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import (
    average_ranks,
    bootstrap_interval,
    half_width,
    holm,
    probability_of_improvement,
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

"""Intervals, paired tests, ranks and correlations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLES = 10_000
"""Of a bootstrap."""
LEVEL = 0.05
"""Significance: of a test, and the share of intervals that may miss what they are of."""

_Array = NDArray[np.float64]


def bootstrap_interval(
    differences: Sequence[_Array], resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean over strata of the mean within, resampled within each stratum.

    Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021,
    section 4.1, with tasks as strata and paired differences as runs.

    Args:
        differences: one array a task.
        resamples: bootstrap samples.
        level: probability outside the interval.
        seed: of the resampling.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for values in differences:
        total += generator.choice(values, (resamples, len(values))).mean(axis=1)
    low, high = np.quantile(total / len(differences), [level / 2, 1 - level / 2])
    return float(low), float(high)


def half_width(differences: Sequence[_Array], level: float = LEVEL) -> float | None:
    """Half the width of Student's interval of the mean over strata of the mean within.

    The variance within strata is pooled, so that tasks with two seeds each still give some degrees of
    freedom together.

    Args:
        differences: one array a task.
        level: probability outside the interval.

    Returns:
        None when no task has two differences.
    """
    from scipy import special

    freedom = sum(len(values) - 1 for values in differences)
    if freedom == 0:
        return None
    pooled = sum(float(((values - values.mean()) ** 2).sum()) for values in differences) / freedom
    error = math.sqrt(pooled * sum(1 / len(values) for values in differences)) / len(differences)
    return float(special.stdtrit(freedom, 1 - level / 2)) * error


def probability_of_improvement(ours: Sequence[_Array], theirs: Sequence[_Array]) -> float:
    """Mean over tasks of the probability that a run of ours beats one of theirs, ties counting a half.

    On one task it is Mann and Whitney's U over the number of pairs of runs (Agarwal et al. 2021,
    section 4.3).
    """
    return statistics.fmean(
        float((np.sign(a[:, None] - b[None, :]) + 1).mean() / 2) for a, b in zip(ours, theirs, strict=True)
    )


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; differences of zero are split between the signs.

    The samples are tasks (Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR
    2006).  Up to 13 tasks every assignment of signs is counted, so that ties keep the test exact; with n
    tasks no p is below 2 ** (1 - n).  Beyond, scipy chooses.
    """
    if len(differences) < 2 or not any(differences):
        return 1.0
    values = np.asarray(differences)
    if len(values) > 13:
        from scipy import stats  # which takes half a second to load

        return float(stats.wilcoxon(values, zero_method="zsplit").pvalue)
    ranks = ranked(np.abs(values)) * (values != 0)
    signs = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
    sums, found = signs @ ranks, np.sign(values) @ ranks  # halves, which floats add without error
    return min(1.0, 2 * float(min(np.mean(sums >= found), np.mean(sums <= found))))


def ranked(values: _Array) -> _Array:
    """Ranks along the first axis, 1 the smallest; those of ties are their mean."""
    return pd.DataFrame(values).rank().to_numpy().reshape(np.shape(values))


def pearson(one: _Array, other: _Array) -> float:
    """The correlation of values that vary."""
    return float(np.corrcoef(one, other)[0, 1])


def spearman(one: _Array, other: _Array) -> float:
    """The correlation of the ranks of values that vary."""
    return pearson(ranked(one), ranked(other))


def holm(values: Sequence[float]) -> list[float]:
    """p-values after Holm's step-down correction, in the given order."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    corrected, highest = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = highest
    return corrected


def average_ranks(means: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, float], int]:
    """Mean rank of each variant over the tasks that all have, 1 the highest mean; and those tasks' number.

    Args:
        means: accuracy by variant, then by task.
    """
    shared = sorted(set.intersection(*(set(by_task) for by_task in means.values()))) if means else []
    if not shared:
        return {}, 0
    table = np.array([[-round(means[name][task], 9) for task in shared] for name in means])
    ranks = ranked(table).mean(axis=1)
    return dict(zip(means, map(float, ranks), strict=True)), len(shared)

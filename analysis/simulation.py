"""Replayed searches compared: best accuracy against compute, and the compute that reaches a given accuracy.

All bands are percentile intervals of a bootstrap over repeats: of the replays' seeds, so of the luck of the
search alone.  Tasks and learning curves are taken as they were recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.tables import Cell, Column, Table
from wst.errors import InputError
from wst.simulation.replay import CellReplay
from wst.study import Study
from wst.suggest import one_of

SHARES = (1.0, 0.5, 0.25)
"""Shares of the baseline's compute whose accuracy the others are to reach."""
CONFIDENCE = 0.95
_RESAMPLES = 2_000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and its band; infinite where an accuracy is not reached."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Reach:
    """What a study needs for one accuracy.

    Attributes:
        accuracy: the accuracy, in per cent: what the baseline has on average after ``budget``.
        budget: in full trials a cell.
        compute: what the study needs until its mean over cells and repeats is as high, in full trials
            a cell.
        ratio: that, divided by what the baseline needs.
    """

    accuracy: float
    budget: float
    compute: Interval
    ratio: Interval


@dataclass(frozen=True)
class SpendingCurve:
    """Best validation accuracy so far (per cent, mean over cells and repeats) against full trials a cell.

    It begins where every replay has a completed trial in every cell, and ends at the study's mean total.
    """

    compute: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Simulated:
    """What came out for one study.

    Attributes:
        search: sampler, pruner and trials in words.
        repeats: replays.
        compute: spent by the whole search, in full trials a cell, mean.
        clock: virtual time of the whole search over all cells, mean, in epochs or seconds.
        pruned: share of the trials that were stopped.
        repeated: share of the trials that landed on a curve that their cell had had before.
        accuracy: best validation accuracy at the end, in per cent.
        reach: one entry for each of :data:`SHARES`.
    """

    name: str
    search: str
    repeats: int
    compute: float
    clock: float
    pruned: float
    repeated: float
    accuracy: Interval
    reach: list[Reach]
    curve: SpendingCurve


@dataclass(frozen=True)
class Comparison:
    """Studies replayed on the same learning curves; the baseline is one of them."""

    baseline: str
    tasks: list[str]
    studies: list[Simulated]


def best_so_far(cell: CellReplay, grid: Array) -> Array:
    """Highest accuracy (per cent) of the trials completed by each compute; NaN before the first."""
    best = np.maximum.accumulate(np.array([np.nan, *cell.accuracy])[1:]) if cell.accuracy else np.array([])
    done = np.searchsorted(np.array(cell.compute), grid + 1e-9, side="right")
    return 100 * np.concatenate([[np.nan], best])[done]


def first_reached(curves: Array, accuracies: Array, grid: Array) -> Array:
    """Compute at which each curve (rows) first has the accuracy of its row; infinite where it never has."""
    there = curves >= accuracies[:, None] - 1e-9
    return np.where(there.any(axis=1), grid[there.argmax(axis=1)], np.inf)


def compare(
    studies: Sequence[Study],
    replays: Mapping[str, Sequence[Sequence[CellReplay]]],
    baseline: str,
    *,
    seed: int = 0,
) -> Comparison:
    """Compare replayed studies.

    Args:
        studies: the studies, of different names and one recipe.
        replays: by name, the cells of each repeat; every study has the same cells and as many repeats.
        baseline: the study that gives the accuracies to be reached.
        seed: of the bootstrap.

    Raises:
        InputError: two studies have one name, the baseline is none of them, or cells or repeats differ.
    """
    names = [study.name for study in studies]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"studies: expected different names; found {name!r} twice")
    if baseline not in names:
        raise InputError(f"--baseline: {one_of(baseline, names)}")
    cells = {name: [(c.task, c.variant) for c in replays[name][0]] for name in names}
    for name in names:
        if set(cells[name]) != set(cells[baseline]):
            raise InputError(
                f"study {name!r}: expected the cells of {baseline!r} ({_words(cells[baseline])}); "
                f"found {_words(cells[name])}"
            )
        if len(replays[name]) != len(replays[baseline]):
            raise InputError(
                f"study {name!r}: expected {len(replays[baseline])} repeats; found {len(replays[name])}"
            )
    # All that can change happens at a whole number of epochs; with recorded seconds this is the resolution.
    epochs = studies[0].recipe.epochs
    longest = max(cell.total for repeats in replays.values() for repeat in repeats for cell in repeat)
    grid = np.arange(math.ceil(longest * epochs - 1e-6) + 1) / epochs
    repeats = len(replays[baseline])
    # Repeats of equal seed are resampled together: searches that begin alike share their luck.
    equal = np.full(repeats, 1 / repeats)
    counts = np.random.default_rng(seed).multinomial(repeats, equal, size=_RESAMPLES)
    weights = np.vstack([equal, counts / repeats])
    curves = {name: weights @ _mean_over_cells(replays[name], grid) for name in names}
    budgets = [share * _mean_total(replays[baseline]) for share in SHARES]
    found = [
        _simulated(study, replays[study.name], curves[study.name], curves[baseline], budgets, grid)
        for study in studies
    ]
    return Comparison(baseline, sorted({task for task, _ in cells[baseline]}), found)


def _words(cells: Sequence[tuple[str, str]]) -> str:
    return ", ".join(sorted(".".join(cell) for cell in cells))


def _mean_over_cells(replays: Sequence[Sequence[CellReplay]], grid: Array) -> Array:
    """Repeats by grid; NaN as long as a cell has no completed trial."""
    return np.array([np.mean([best_so_far(cell, grid) for cell in repeat], axis=0) for repeat in replays])


def _mean_total(replays: Sequence[Sequence[CellReplay]]) -> float:
    return float(np.mean([[cell.total for cell in repeat] for repeat in replays]))


def _interval(values: Array) -> Interval:
    """Estimate (the first value) and band (of the others, ends among them since some may be infinite)."""
    tail = (1 - CONFIDENCE) / 2
    low = np.quantile(values[1:], tail, method="lower")
    high = np.quantile(values[1:], 1 - tail, method="higher")
    return Interval(float(values[0]), float(low), float(high))


def _simulated(
    study: Study,
    replays: Sequence[Sequence[CellReplay]],
    curves: Array,
    baseline: Array,
    budgets: Sequence[float],
    grid: Array,
) -> Simulated:
    reach = []
    for budget in budgets:
        accuracies = baseline[:, np.searchsorted(grid, budget + 1e-9, side="right") - 1]
        compute = first_reached(curves, accuracies, grid)
        with np.errstate(invalid="ignore"):
            ratio = compute / first_reached(baseline, accuracies, grid)
        reach.append(Reach(float(accuracies[0]), budget, _interval(compute), _interval(ratio)))
    cells = [cell for repeat in replays for cell in repeat]
    trials = sum(len(cell.accuracy) + cell.pruned for cell in cells)
    total = _mean_total(replays)
    shown = np.flatnonzero(~np.isnan(curves[0]) & (grid <= total + 1e-9))
    low, high = np.quantile(curves[1:, shown], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return Simulated(
        name=study.name,
        search=search_in_words(study),
        repeats=len(replays),
        compute=total,
        clock=float(np.mean([max(cell.clock for cell in repeat) for repeat in replays])),
        pruned=sum(cell.pruned for cell in cells) / trials,
        repeated=sum(cell.repeated for cell in cells) / trials,
        accuracy=_interval(curves[:, -1]),
        reach=reach,
        curve=SpendingCurve(
            compute=grid[shown].tolist(),
            mean=curves[0, shown].tolist(),
            low=low.tolist(),
            high=high.tolist(),
        ),
    )


def search_in_words(study: Study) -> str:
    """Trials, sampler and pruner with their options."""
    assert study.search is not None
    parts = []
    for part in (study.search.sampler, study.search.pruner):
        given = part.model_dump(exclude={"type"}, exclude_none=True)
        options = ", ".join(f"{name} {value}" for name, value in given.items())
        parts.append(f"{part.type} ({options})" if options else part.type)
    trials = max(study.search_trials(name) for name in study.variants)
    return f"{trials} trials, sampler {parts[0]}, pruner {parts[1]}"


def as_table(found: Comparison) -> Table:
    """The comparison as a table: a row a study, a column an accuracy to be reached."""
    targets = found.studies[0].reach
    names = [f"compute to reach {target.accuracy:.2f} %" for target in targets]
    rows: list[dict[str, Cell]] = [
        {
            "study": one.name,
            "full trials": one.compute,
            "pruned": 100 * one.pruned,
            "best val": _in_words(one.accuracy, ".2f"),
            **{name: _in_words(reach.ratio, ".2f") for name, reach in zip(names, one.reach, strict=True)},
        }
        for one in found.studies
    ]
    budgets = ", ".join(f"{target.accuracy:.2f} % after {target.budget:.3g}" for target in targets)
    repeated = max(one.repeated for one in found.studies)
    return Table(
        title=f"Replayed searches, compute in units of what {found.baseline} needs",
        columns=[
            *(Column("study"), Column("full trials", "percent"), Column("pruned", "percent")),
            *(Column("best val"), *map(Column, names)),
        ],
        rows=rows,
        notes=[
            *(f"{one.name}: {one.search}" for one in found.studies),
            f"{found.baseline} has, in full trials a cell: {budgets}.",
            f"Mean over {len(found.tasks)} tasks ({', '.join(found.tasks)}) and {found.studies[0].repeats} "
            f"repeats; brackets: {100 * CONFIDENCE:.0f} % bootstrap intervals over the repeats.",
            "best val: the highest validation accuracy of a completed trial, which is lucky in part; every "
            "configuration has the seeds that were recorded, and a curve met again is charged again (up to "
            f"{100 * repeated:.0f} % of the trials here).",
        ],
    )


def _in_words(interval: Interval, spec: str) -> str:
    if math.isinf(interval.estimate):
        return "not reached"
    high = "..." if math.isinf(interval.high) else f"{interval.high:{spec}}"
    return f"{interval.estimate:{spec}} [{interval.low:{spec}}, {high}]"


def as_plain(found: Comparison) -> dict[str, Any]:
    """The comparison for JSON; what is never reached is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    described: dict[str, Any] = plain(asdict(found))
    return {**described, "confidence": CONFIDENCE}

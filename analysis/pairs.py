"""Every variant compared with every other."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd

from analysis.comparison import (
    COLUMNS,
    Comparison,
    check_found,
    check_several,
    compare,
    corrected,
    not_compared,
    runs_of,
    unlike_columns,
)
from analysis.load import common_suite, studies_of
from analysis.results import read_finals
from analysis.sameness import Aspect
from analysis.tables import Cell, Column, Table
from analysis.tuning import of_tuning
from wst.records import Tuning
from wst.study import Study


@dataclass(frozen=True)
class Pairs:
    """All comparisons of two variants.

    Attributes:
        labels: the variants, the highest mean over their tasks first.
        means: that mean, in per cent.
        comparisons: by label and other label, the one that stands first in ``labels`` first; pairs without a
            task and seed in common are missing.  ``p_holm`` is corrected for the number of pairs.
    """

    suite: str
    labels: tuple[str, ...]
    means: dict[str, float]
    comparisons: dict[tuple[str, str], Comparison]
    caveats: list[str]


def pairs(
    trials: pd.DataFrame, studies: Mapping[str, Study], suite: str, across: Collection[Aspect] = ()
) -> Pairs:
    """Compare every two variants.

    Args:
        trials: as :func:`analysis.comparison.runs_of`.
        studies: the studies by name.
        suite: name of the suite.
        across: in what variants that are compared may differ.

    Raises:
        InputError: fewer than two variants have completed trials.
    """
    runs = runs_of(trials, studies)
    check_several(runs)
    means = {label: statistics.fmean(tasks.values()) for label, tasks in runs.means.items()}
    labels = tuple(sorted(means, key=lambda label: (-means[label], label)))
    compared = {both: compare(runs, *both, across) for both in combinations(labels, 2)}
    found = {both: comparison for both, (comparison, _) in compared.items() if comparison is not None}
    named = ((f"{one} with {other}", *made) for (one, other), made in compared.items())
    lines = not_compared(named, "pairs")
    check_found("two variants to compare", found.values(), lines)
    held = dict(zip(found, corrected(list(found.values())), strict=True))
    return Pairs(suite, labels, means, held, [*runs.made.line(), *lines])


def read_pairs(
    folders: Sequence[Path], tuning: Tuning | None = None, across: Collection[Aspect] = ()
) -> Pairs:
    """Compare every two variants of the studies in these folders.

    Raises:
        InputError: the folders are no studies, or there is nothing to compare.
    """
    studies = studies_of(folders)
    finals = of_tuning(read_finals(folders, studies, COLUMNS), studies, tuning)
    return pairs(finals, studies, common_suite(studies, folders).name, across)


def as_matrix(found: Pairs) -> Table:
    """A matrix: points of the row above the column, in brackets where they are inside the noise."""
    numbers = {label: str(place) for place, label in enumerate(found.labels, 1)}
    rows: list[dict[str, Cell]] = []
    for one in found.labels:
        row: dict[str, Cell] = {"variant": f"{numbers[one]} {one}"}
        row |= {numbers[other]: _cell(found, one, other) for other in found.labels}
        rows.append(row)
    certain = sum(c.verdict in ("better", "worse") for c in found.comparisons.values())
    return Table(
        title=f"Points of test accuracy of the row above the column, suite {found.suite} (paired)",
        columns=[Column("variant"), *(Column(number) for number in numbers.values())],
        rows=rows,
        notes=[
            "(in brackets): inside the noise, or with one seed, so that the noise is not known.",
            f"{certain} of {len(found.comparisons)} pairs are apart by more than the noise.",
            *found.caveats,
        ],
    )


def as_list(found: Pairs) -> Table:
    """A row a pair, with all numbers."""
    unlike = unlike_columns(found.comparisons.values())
    return Table(
        title=f"Pairs of variants, suite {found.suite} (points of test accuracy, paired)",
        columns=[
            Column("variant"),
            Column("other"),
            Column("difference", "difference"),
            Column("± noise", "decimal"),
            Column("P(improvement)", "decimal"),
            Column("p (Holm)", "p"),
            Column("tasks", "count"),
            Column("pairs", "count"),
            Column("verdict"),
            *unlike,
        ],
        rows=[
            {
                "variant": one,
                "other": other,
                "difference": c.difference,
                "± noise": c.noise,
                "P(improvement)": c.improvement,
                "p (Holm)": c.p_holm,
                "tasks": c.tasks,
                "pairs": c.pairs,
                "verdict": c.verdict,
                **{column.name: c.made[column.name] for column in unlike},  # type: ignore[index]
            }
            for (one, other), c in found.comparisons.items()
        ],
        notes=found.caveats,
        keys=2,
    )


def _cell(found: Pairs, one: str, other: str) -> Cell:
    sign, comparison = 1, found.comparisons.get((one, other))
    if comparison is None:
        sign, comparison = -1, found.comparisons.get((other, one))
    if comparison is None:
        return None
    words = f"{sign * comparison.difference:+.1f}"
    return words if comparison.verdict in ("better", "worse") else f"({words})"

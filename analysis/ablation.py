"""Variants compared with a baseline."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
from analysis.statistics import LEVEL, average_ranks
from analysis.tables import Column, Table
from analysis.tuning import of_tuning
from wst.errors import InputError
from wst.records import Tuning
from wst.study import Study
from wst.suggest import one_of


@dataclass(frozen=True)
class Ablation:
    """All comparisons with one baseline, and every variant's average rank.

    Attributes:
        ranks: mean over tasks of the variant's rank by mean accuracy, 1 the best, ties shared; over the
            tasks on which every variant was compared.
        ranked_tasks: number of those tasks.
    """

    suite: str
    baseline: str
    comparisons: list[Comparison]
    ranks: dict[str, float]
    ranked_tasks: int
    caveats: list[str]


def ablation(
    trials: pd.DataFrame,
    studies: Mapping[str, Study],
    suite: str,
    baseline: str | None = None,
    across: Collection[Aspect] = (),
) -> Ablation:
    """Compare every variant with the baseline.

    Args:
        trials: as :func:`analysis.comparison.runs_of`.
        studies: the studies by name.
        suite: name of the suite.
        baseline: a variant (``study: variant`` where several studies have one of that name); by default the
            one whose settings the others take over, else the first of the first study.
        across: in what variants that are compared may differ.

    Raises:
        InputError: there is no such baseline, or nothing to compare it with.
    """
    runs = runs_of(trials, studies)
    check_several(runs)
    labels = list(runs.accuracies)
    name = _baseline(baseline, labels, studies)
    compared = [(other, *compare(runs, other, name, across)) for other in labels if other != name]
    found = [comparison for _, comparison, _ in compared if comparison is not None]
    lines = not_compared(compared, "variants")
    check_found(f"a variant to compare with {name}", found, lines)
    means, on = runs.means, {c.variant: c.by_task for c in found}
    alike = {label: {task: means[label][task] for task in tasks} for label, tasks in on.items()}
    ranks, ranked_tasks = average_ranks({name: means[name], **alike})
    caveats = [*runs.made.line(), *lines, *_caveats(found)]
    return Ablation(suite, name, corrected(found), ranks, ranked_tasks, caveats)


def _baseline(asked: str | None, labels: list[str], studies: Mapping[str, Study]) -> str:
    if asked is not None:
        if asked not in labels:
            raise InputError(f"baseline: {one_of(asked, labels)}")
        return asked
    for study in studies.values():
        sources = [v.settings_from for v in study.variants.values() if v.settings_from]
        for source in [*sources, *study.variants]:
            for label in (source, f"{study.name}: {source}"):
                if label in labels:
                    return label
    return labels[0]


def _caveats(found: Sequence[Comparison]) -> list[str]:
    lines = []
    for c in found:
        if c.lacking:
            there, lacking = f"{c.tasks} of {c.tasks + len(c.lacking)}", ", ".join(c.lacking)
            lines.append(f"{c.variant}: compared on {there} tasks (not {lacking}).")
    few = max((c.tasks for c in found), default=0)
    if found and 2.0 ** (1 - few) >= LEVEL:
        lines.append(
            f"With {few} tasks Wilcoxon's p cannot be below {2.0 ** (1 - few):.3g}: the verdict rests on the "
            "interval over seeds, and speaks of these tasks alone."
        )
    if any(c.noise is None for c in found):
        lines.append("With one seed on a task there is no interval over seeds.")
    return lines


def read_ablation(
    folders: Sequence[Path],
    baseline: str | None = None,
    tuning: Tuning | None = None,
    across: Collection[Aspect] = (),
) -> Ablation:
    """Compare the variants of the studies in these folders; of the ledgers, only what it needs is read.

    Args:
        folders: output folders of studies.
        baseline: as in :func:`ablation`.
        tuning: only variants whose settings come about in this way.
        across: in what variants that are compared may differ.

    Raises:
        InputError: the folders are no studies, or there is nothing to compare.
    """
    studies = studies_of(folders)
    finals = of_tuning(read_finals(folders, studies, COLUMNS), studies, tuning)
    return ablation(finals, studies, common_suite(studies, folders).name, baseline, across)


def _baseline_rank(found: Ablation) -> list[str]:
    if not found.ranks:
        return []
    rank, number = found.ranks[found.baseline], len(found.ranks)
    return [
        f"Average rank of {found.baseline}: {rank:.3g} of {number} variants, over {found.ranked_tasks} tasks."
    ]


def as_table(found: Ablation) -> Table:
    """The comparisons as a table, the largest difference first."""
    unlike = unlike_columns(found.comparisons)
    ordered = sorted(found.comparisons, key=lambda c: -c.difference)
    return Table(
        title=f"Test accuracy against {found.baseline}, suite {found.suite} (points, paired)",
        columns=[
            Column("variant"),
            Column("difference", "difference", best=True),
            Column("95 % from", "difference"),
            Column("to", "difference"),
            Column("± noise", "decimal"),
            Column("P(improvement)", "decimal"),
            Column("p (Wilcoxon)", "p"),
            Column("p (Holm)", "p"),
            Column("average rank", "decimal"),
            Column("tasks", "count"),
            Column("pairs", "count"),
            Column("verdict"),
            *unlike,
        ],
        rows=[
            {
                "variant": c.variant,
                "difference": c.difference,
                "95 % from": c.low,
                "to": c.high,
                "± noise": c.noise,
                "P(improvement)": c.improvement,
                "p (Wilcoxon)": c.p,
                "p (Holm)": c.p_holm,
                "average rank": found.ranks.get(c.variant),
                "tasks": c.tasks,
                "pairs": c.pairs,
                "verdict": c.verdict,
                **{column.name: c.made[column.name] for column in unlike},  # type: ignore[index]
            }
            for c in ordered
        ],
        notes=[
            *_baseline_rank(found),
            *(f"{c.variant}: {c.note}." for c in ordered if c.note.startswith("settings found")),
            *found.caveats,
        ],
    )

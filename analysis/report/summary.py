"""What a reader wants to know first: what won, by how much, whether seeds alone explain it, what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.ablation import Ablation, read_ablation
from analysis.comparison import Comparison
from analysis.leaderboard.board import Leaderboard
from analysis.report.page import Section
from wst.errors import InputError

_MOST_NAMES = 8
"""Variants named in a sentence; more are counted."""


def summary(folders: Sequence[Path], board: Leaderboard, cost: str) -> list[str]:
    """Sentences on the best variant that is complete, by the mean over groups of tasks.

    Args:
        folders: of the studies.
        board: our own rows.
        cost: of all trials, in words.
    """
    rows = [row for row in board.rows if row.complete]
    if not rows:
        return ["No variant has a final trial on every task yet.", f"It cost {cost}."]
    labels = [f"{row.study}: {row.variant}" if board.several else row.variant for row in rows]
    best, label = rows[0], labels[0]
    average = best.mean_of_groups(board.suite) or best.mean_of_tasks()
    accuracy = f"{average.mean:.1f} % test accuracy, mean of groups" if average else "no mean over its tasks"
    parameters = best.trainable()
    own = "" if parameters is None else f", with {parameters:,.0f} trainable parameters without the head"
    lines = [f"{label} is ahead of {len(rows) - 1} others: {accuracy}{own}."]
    if len(rows) == 1:
        lines = [f"{label}: {accuracy}{own}. Nothing else is complete to compare it with."]
    else:
        try:
            lines += _apart(read_ablation(folders, label), labels)
        except InputError:
            lines.append("What it is ahead by cannot be compared seed by seed.")
    return [*lines, f"All trials together cost {cost}."]


def _apart(found: Ablation, labels: Sequence[str]) -> list[str]:
    """How far behind the next is, and which ones the noise over seeds does not tell from the first."""
    best = labels[0]
    ordered = sorted((c for c in found.comparisons if c.variant in labels), key=lambda c: -c.difference)
    if not ordered:
        return []
    nearest, level = ordered[0], [c.variant for c in ordered if c.verdict not in ("better", "worse")]
    side = "behind" if nearest.difference <= 0 else "ahead by the mean of tasks"
    lines = [
        f"Next is {nearest.variant}, {abs(nearest.difference):.1f} points {side}, which is {_words(nearest)}."
    ]
    if len(level) > _MOST_NAMES:
        lines.append(f"{len(level)} variants cannot be told from {best}, over seeds and tasks.")
    elif len(level) > 1:
        lines.append(f"Not to be told from {best}, over seeds and tasks: {', '.join(level)}.")
    return lines


def _words(comparison: Comparison) -> str:
    if comparison.noise is None:
        return "from one seed a task, so that the noise is not known"
    if comparison.verdict == "inside the noise":
        return f"inside the noise over seeds (±\u00a0{comparison.noise:.1f}): no winner yet"
    return f"more than the noise over seeds (±\u00a0{comparison.noise:.1f})"


def without_repeats(sections: Sequence[Section], lead: str, studies: int) -> list[Section]:
    """The sections without what stands above already: notes, and the name of the only study in every row."""
    seen = set[str]()
    found = []
    for section in sections:
        parts = []
        for part in section.parts:
            if part.table is not None:
                fresh = [note for note in part.table.notes if note not in seen and note not in lead]
                seen.update(fresh)
                shown = replace(part.table, notes=fresh)
                if studies == 1:
                    shown = replace(shown, columns=[c for c in shown.columns if c.name != "study"])
                part = replace(part, table=shown)
            parts.append(part)
        found.append(replace(section, parts=parts))
    return found
